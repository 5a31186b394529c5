//! REST: each question goes to every shard, and their answers are joined.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::header::ACCEPT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use tokio::time::Instant;

use super::auth::is_local;
use super::hub::Hub;
use super::metrics::metrics;
use super::page;
use super::requests::overloaded;
use super::server::Peer;
use crate::call::command::{Query as Question, QueryReply, Scope, Session, ShardStats};
use crate::call::error::{Code, Refusal};
use crate::ids::{CallId, TenantId};
use crate::wire;

/// All routes.
pub(super) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/", get(service))
        .route("/api/webrtc/health", get(health))
        .route("/api/webrtc/health/live", get(live))
        .route("/api/webrtc/health/ready", get(health))
        .route("/api/webrtc/capabilities/{tenant}", get(capabilities))
        .route("/api/webrtc/sessions", get(sessions))
        .route("/api/webrtc/sessions/{call}", get(session))
        .route("/api/webrtc/sessions/{call}/terminate", post(terminate))
        .route("/api/webrtc/stats", get(stats))
        .route("/api/webrtc/stats/agent/{agent}", get(agent_stats))
        .route("/metrics", get(metrics))
        .fallback(get(file))
        .method_not_allowed_fallback(async || {
            failed(StatusCode::METHOD_NOT_ALLOWED, &Refusal::new(Code::BadRequest, "not with this method"))
        })
        .with_state(hub)
}

/// The answer to a request that is refused.
pub(super) fn refused(refusal: &Refusal) -> Response {
    failed(StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), refusal)
}

fn failed(status: StatusCode, refusal: &Refusal) -> Response {
    (status, Json(wire::FailureBody::from(refusal))).into_response()
}

type Answer<T> = Result<Json<T>, Refused>;

struct Refused(Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refused(&self.0)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

/// What the caller may see; a handler that takes it is closed to everybody else.
struct Visible(Scope);

impl FromRequestParts<Arc<Hub>> for Visible {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, Refused> {
        let local = parts.extensions.get::<Peer>().is_some_and(|peer| is_local(peer.0, &parts.headers));
        let scope = hub.verifier.scope(&parts.headers, local)?;
        match &scope {
            Scope::Tenant(tenant) | Scope::Agent(tenant, _) if !hub.directories.knows_tenant(tenant) => {
                Err(Refused(Refusal::new(Code::TenantUnknown, "this tenant is not served here")))
            }
            Scope::Everything | Scope::Tenant(_) | Scope::Agent(..) => Ok(Self(scope)),
        }
    }
}

async fn service(State(hub): State<Arc<Hub>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    let wants_page = headers.get_all(ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")));
    let page = if wants_page { page::index(&headers) } else { None };
    page.unwrap_or_else(|| {
        let facts = wire::ServiceFacts {
            node_id: &hub.config.node_id,
            dev_sign_in: hub.verifier.takes_dev_tokens(is_local(peer.0, &headers)),
            demo_numbers: hub.demo_numbers,
        };
        ([("vary", "accept")], Json(wire::Service::new(facts))).into_response()
    })
}

async fn file(uri: Uri, headers: HeaderMap) -> Response {
    let file = page::file(uri.path().trim_start_matches('/'), &headers);
    file.unwrap_or_else(|| refused(&Refusal::new(Code::NotFound, "there is nothing at this path")))
}

/// Alive is who answers.
async fn live() -> Json<impl Serialize> {
    #[derive(Serialize)]
    struct Live {
        status: &'static str,
    }
    Json(Live { status: "live" })
}

async fn health(State(hub): State<Arc<Hub>>) -> Response {
    // Held while the shards are asked: others who come meanwhile get the same answer.
    let mut known = hub.health.lock().await;
    let health = match &mut *known {
        Some((at, health)) if at.elapsed() < HEALTH_KEPT => health,
        slot => {
            let (answered, _) = shard_stats(&hub, Scope::Everything).await;
            &slot.insert((Instant::now(), wire::HealthBody::new(&answered, hub.requests.shards(), hub.started.elapsed()))).1
        }
    };
    let status = StatusCode::from_u16(health.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    (status, Json(health)).into_response()
}

async fn capabilities(State(hub): State<Arc<Hub>>, Visible(scope): Visible, Path(tenant): Path<String>) -> Answer<wire::CapabilitiesBody> {
    let tenant = TenantId::from(tenant.as_str());
    let visible = match &scope {
        Scope::Everything => hub.directories.knows_tenant(&tenant),
        Scope::Tenant(own) | Scope::Agent(own, _) => *own == tenant,
    };
    if !visible {
        return Err(Refused(Refusal::new(Code::NotFound, "no such tenant")));
    }
    let replies = hub.requests.ask_all(Question::Capabilities).await;
    let capabilities = replies.into_iter().flatten().find_map(|reply| match reply {
        QueryReply::Capabilities(capabilities) => Some(capabilities),
        QueryReply::Sessions(_) | QueryReply::Session(_) | QueryReply::Stats(_) | QueryReply::AgentStats(_) | QueryReply::Terminated(_) => {
            None
        }
    });
    capabilities.map(|capabilities| Json(wire::CapabilitiesBody::new(capabilities))).ok_or_else(|| Refused(overloaded()))
}

async fn sessions(
    State(hub): State<Arc<Hub>>,
    Visible(scope): Visible,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<wire::SessionsBody> {
    let filter = Filter::read(&query)?;
    let replies = hub.requests.ask_all(Question::Sessions(scope)).await;
    let mut found: Vec<Session> = Vec::new();
    for reply in replies {
        // A list that silently lacks one shard's calls would be a wrong answer.
        match reply {
            Some(QueryReply::Sessions(sessions)) => found.extend(sessions.into_iter().filter(|session| filter.fits(session))),
            Some(
                QueryReply::Capabilities(_)
                | QueryReply::Session(_)
                | QueryReply::Stats(_)
                | QueryReply::AgentStats(_)
                | QueryReply::Terminated(_),
            )
            | None => return Err(Refused(overloaded())),
        }
    }
    // Ids are UUIDv7: their order is the order of time.
    found.sort_by_key(|session| session.call.call);
    let more = found.len() > filter.limit;
    found.truncate(filter.limit);
    let cursor = found.last().map(|session| session.call.call).filter(|_| more);
    let views = found.iter().map(|session| wire::SessionView::listed(session, &hub.config.node_id)).collect();
    Ok(Json(wire::SessionsBody::new(views, cursor)))
}

/// `?agentId=&state=&limit=&cursor=`
struct Filter {
    agent: Option<String>,
    state: Option<String>,
    limit: usize,
    after: Option<CallId>,
}

impl Filter {
    fn read(query: &HashMap<String, String>) -> Result<Self, Refusal> {
        let given = |name: &str| query.get(name).filter(|value| !value.is_empty());
        let wrong = |message: String| Refusal::new(Code::BadRequest, message);
        let limit = given("limit").map(|limit| limit.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit)));
        let cursor = given("cursor").map(|cursor| CallId::parse(cursor));
        let state = given("state").cloned();
        if state.as_ref().is_some_and(|state| !STATES.contains(&state.as_str())) {
            return Err(wrong(format!("state: must be one of {}", STATES.join(", "))));
        }
        Ok(Self {
            agent: given("agentId").cloned(),
            state,
            limit: limit.unwrap_or(Some(PAGE)).ok_or_else(|| wrong(format!("limit: must be 1 to {PAGE_MAX}")))?,
            after: cursor.map(|cursor| cursor.ok_or_else(|| wrong("cursor: is none of ours".to_owned()))).transpose()?,
        })
    }

    fn fits(&self, session: &Session) -> bool {
        self.agent.as_deref().is_none_or(|agent| agent == session.agent.as_str())
            && self.state.as_deref().is_none_or(|state| state == session.call.state.as_str())
            && self.after.is_none_or(|after| session.call.call > after)
    }
}

async fn session(State(hub): State<Arc<Hub>>, Visible(scope): Visible, Path(call): Path<String>) -> Answer<wire::SessionBody> {
    let call = call_id(&call)?;
    let replies = hub.requests.ask_all(Question::Session { scope, call }).await;
    let silent = replies.iter().any(Option::is_none);
    let found = replies.into_iter().flatten().find_map(|reply| match reply {
        QueryReply::Session(session) => session,
        QueryReply::Capabilities(_)
        | QueryReply::Sessions(_)
        | QueryReply::Stats(_)
        | QueryReply::AgentStats(_)
        | QueryReply::Terminated(_) => None,
    });
    let found = found.ok_or_else(|| not_found(silent, Code::CallNotFound, "no such call"))?;
    Ok(Json(wire::SessionBody::new(wire::SessionView::detailed(&found, &hub.config.node_id))))
}

async fn terminate(State(hub): State<Arc<Hub>>, Visible(scope): Visible, Path(call): Path<String>) -> Answer<wire::TerminatedBody> {
    let call = call_id(&call)?;
    let replies = hub.requests.ask_all(Question::Terminate { scope, call }).await;
    let silent = replies.iter().any(Option::is_none);
    let known = replies.into_iter().flatten().any(|reply| match reply {
        QueryReply::Terminated(known) => known,
        QueryReply::Capabilities(_)
        | QueryReply::Sessions(_)
        | QueryReply::Session(_)
        | QueryReply::Stats(_)
        | QueryReply::AgentStats(_) => false,
    });
    match known {
        true => Ok(Json(wire::TerminatedBody::new(call))),
        false => Err(Refused(not_found(silent, Code::CallNotFound, "no such call"))),
    }
}

async fn stats(State(hub): State<Arc<Hub>>, Visible(scope): Visible) -> Answer<wire::StatsBody> {
    let (answered, complete) = shard_stats(&hub, scope).await;
    match complete {
        true => Ok(Json(wire::StatsBody::new(answered, &hub.config.node_id, hub.started.elapsed()))),
        false => Err(Refused(overloaded())),
    }
}

async fn agent_stats(
    State(hub): State<Arc<Hub>>,
    Visible(scope): Visible,
    Path(agent): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<wire::AgentStatsBody> {
    // Agents are unique within a tenant only; who sees several may name one.
    let scope = match (scope, query.get("tenantId")) {
        (Scope::Everything, Some(tenant)) => Scope::Tenant(tenant.as_str().into()),
        (scope, _) => scope,
    };
    let replies = hub.requests.ask_all(Question::AgentStats { scope, agent: agent.as_str().into() }).await;
    let silent = replies.iter().any(Option::is_none);
    let found = replies.into_iter().flatten().filter_map(|reply| match reply {
        QueryReply::AgentStats(stats) => stats,
        QueryReply::Capabilities(_)
        | QueryReply::Sessions(_)
        | QueryReply::Session(_)
        | QueryReply::Stats(_)
        | QueryReply::Terminated(_) => None,
    });
    let found = found.max_by_key(|stats| (stats.connected, stats.connected_at));
    let found = found.ok_or_else(|| not_found(silent, Code::NotFound, "no such agent"))?;
    Ok(Json(wire::AgentStatsBody::from(&found)))
}

/// The figures of the shards that answered, and whether all did.
pub(super) async fn shard_stats(hub: &Hub, scope: Scope) -> (Vec<ShardStats>, bool) {
    let replies = hub.requests.ask_all(Question::Stats(scope)).await;
    let stats = |reply| match reply {
        QueryReply::Stats(stats) => Some(stats),
        QueryReply::Capabilities(_)
        | QueryReply::Sessions(_)
        | QueryReply::Session(_)
        | QueryReply::AgentStats(_)
        | QueryReply::Terminated(_) => None,
    };
    let answered: Vec<ShardStats> = replies.into_iter().flatten().filter_map(stats).collect();
    let complete = answered.len() == hub.requests.shards();
    (answered, complete)
}

fn call_id(text: &str) -> Result<CallId, Refusal> {
    CallId::parse(text).ok_or_else(|| Refusal::new(Code::CallNotFound, "no such call"))
}

/// What no shard has is unknown, unless one of them has not been heard.
fn not_found(silent: bool, code: Code, message: &str) -> Refusal {
    if silent { overloaded() } else { Refusal::new(code, message) }
}

/// Sessions on one page: by default, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

/// What `?state=` may be.
const STATES: [&str; 8] = ["dialing", "ringing", "early", "incoming", "answered", "held", "ended", "failed"];

/// How long a health check is good for.
const HEALTH_KEPT: Duration = Duration::from_secs(1);
