//! Who is asking: tokens and what they let see.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, FORWARDED, HOST};
use axum::http::uri::Authority;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::call::command::{Role, Scope};
use crate::call::error::{Code, Refusal};
use crate::config::{AuthConfig, Mode};
use crate::ids::{AgentId, TenantId, UserId};

/// What a client gives in `auth`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthPayload {
    pub(super) token: Option<String>,
    pub(super) agent_id: Option<String>,
    pub(super) tenant_id: Option<String>,
    pub(super) user_id: Option<String>,
}

/// An agent who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) tenant: TenantId,
    pub(super) agent: AgentId,
    pub(super) user: UserId,
    pub(super) role: Role,
    /// When the token expires; a dev token never does.
    pub(super) expires_at: Option<SystemTime>,
}

/// Checks tokens.
pub(super) struct Verifier {
    key: DecodingKey,
    validation: Validation,
    dev: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    sub: Option<String>,
    user_id: Option<String>,
    agent_id: Option<String>,
    tenant_id: Option<String>,
    role: Option<String>,
    exp: f64,
}

impl Verifier {
    pub(super) fn new(config: &AuthConfig, mode: Mode) -> Self {
        // The algorithm is ours to choose, never the token's.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp"]);
        validation.leeway = CLOCK_SKEW_SECONDS;
        validation.validate_nbf = true;
        match &config.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Self { key: DecodingKey::from_secret(config.secret.expose().as_bytes()), validation, dev: mode == Mode::Dev }
    }

    /// Lets an agent's socket in. `local`: the request comes from this machine.
    ///
    /// # Errors
    /// `AUTH_REQUIRED`, `AUTH_INVALID`, `AUTH_EXPIRED`, `AUTH_MISMATCH`.
    pub(super) fn admit(&self, auth: &AuthPayload, local: bool) -> Result<Admission, Refusal> {
        let token = auth.token.as_deref().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Refusal::new(Code::AuthRequired, "auth.token is missing"))?;
        if self.takes_dev_tokens(local) && !is_jwt(token) {
            return dev_admission(auth);
        }
        let claims = self.claims(token)?;
        let admission = admission(&claims)?;
        let same = |given: &Option<String>, claimed: &str| given.as_deref().is_none_or(|given| given == claimed);
        let ids = [
            ("agentId", same(&auth.agent_id, admission.agent.as_str())),
            ("tenantId", same(&auth.tenant_id, admission.tenant.as_str())),
            ("userId", same(&auth.user_id, admission.user.as_str())),
        ];
        match ids.into_iter().find(|(_, same)| !same) {
            Some((name, _)) => Err(Refusal::new(Code::AuthMismatch, format!("auth.{name} is not the token's"))),
            None => Ok(admission),
        }
    }

    /// Whether a token that is no JWT lets in. `local`: the request comes from this machine.
    pub(super) fn takes_dev_tokens(&self, local: bool) -> bool {
        self.dev && local
    }

    /// What a REST request may see.
    ///
    /// # Errors
    /// `AUTH_REQUIRED`, `AUTH_INVALID`, `AUTH_EXPIRED`.
    pub(super) fn scope(&self, headers: &HeaderMap, local: bool) -> Result<Scope, Refusal> {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match token.map(|(_, token)| token.trim()) {
            Some(token) if !self.takes_dev_tokens(local) || is_jwt(token) => scope(&self.claims(token)?),
            Some(_) => Ok(Scope::Everything),
            None if self.takes_dev_tokens(local) => Ok(Scope::Everything),
            None => Err(Refusal::new(Code::AuthRequired, "an Authorization header with a bearer token is missing")),
        }
    }

    fn claims(&self, token: &str) -> Result<Claims, Refusal> {
        jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).map(|data| data.claims).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => Refusal::new(Code::AuthExpired, "the token has expired"),
            ErrorKind::InvalidIssuer => invalid("the token is of another issuer"),
            ErrorKind::InvalidAudience => invalid("the token is for another audience"),
            ErrorKind::ImmatureSignature => invalid("the token is not valid yet"),
            ErrorKind::MissingRequiredClaim(claim) => invalid(format!("the token has no {claim}")),
            // The kinds are the library's and grow; which of them it was helps only somebody who forges tokens.
            _ => invalid("the token is not valid here"),
        })
    }
}

fn admission(claims: &Claims) -> Result<Admission, Refusal> {
    let agent = claims.agent_id.as_deref().ok_or_else(|| invalid("the token has no agentId"))?;
    let tenant = claims.tenant_id.as_deref().ok_or_else(|| invalid("the token has no tenantId"))?;
    let user = claims.user_id.as_deref().or(claims.sub.as_deref()).ok_or_else(|| invalid("the token has neither sub nor userId"))?;
    let expires_at = Duration::try_from_secs_f64(claims.exp).ok().and_then(|exp| SystemTime::UNIX_EPOCH.checked_add(exp));
    Ok(Admission {
        tenant: id("tenantId", tenant)?.into(),
        agent: id("agentId", agent)?.into(),
        user: id("userId", user)?.into(),
        role: role(claims)?,
        expires_at: Some(expires_at.ok_or_else(|| invalid("the token's exp is no time"))?),
    })
}

fn dev_admission(auth: &AuthPayload) -> Result<Admission, Refusal> {
    let given = |name: &str, text: &Option<String>| {
        let text =
            text.as_deref().ok_or_else(|| invalid(format!("auth.{name} is missing: with a dev token the ids of auth are the identity")))?;
        id(name, text).map(str::to_owned)
    };
    let agent = given("agentId", &auth.agent_id)?;
    let user = if auth.user_id.is_some() { given("userId", &auth.user_id)? } else { agent.clone() };
    Ok(Admission {
        tenant: given("tenantId", &auth.tenant_id)?.as_str().into(),
        agent: agent.as_str().into(),
        user: user.as_str().into(),
        role: Role::Agent,
        expires_at: None,
    })
}

fn scope(claims: &Claims) -> Result<Scope, Refusal> {
    let tenant = || claims.tenant_id.as_deref().map(TenantId::from).ok_or_else(|| invalid("the token has no tenantId"));
    match role(claims)? {
        Role::Admin => Ok(Scope::Everything),
        Role::Supervisor => Ok(Scope::Tenant(tenant()?)),
        Role::Agent => {
            let agent = claims.agent_id.as_deref().ok_or_else(|| invalid("the token has no agentId"))?;
            Ok(Scope::Agent(tenant()?, agent.into()))
        }
    }
}

fn role(claims: &Claims) -> Result<Role, Refusal> {
    match claims.role.as_deref() {
        None | Some("agent") => Ok(Role::Agent),
        Some("supervisor") => Ok(Role::Supervisor),
        Some("admin") => Ok(Role::Admin),
        Some(_) => Err(invalid("the token's role is none of agent, supervisor, admin")),
    }
}

/// Ids end up in SIP addresses, logs and keys: short, and nothing that could break out of a line.
fn id<'a>(name: &str, text: &'a str) -> Result<&'a str, Refusal> {
    let fits = !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    fits.then_some(text).ok_or_else(|| invalid(format!("{name} has to be 1 to {ID_BYTES_MAX} bytes without white space")))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::AuthInvalid, message)
}

/// Three parts with dots between (RFC 7515 section 7.1): whatever looks like a JWT is verified as one, even in dev mode.
fn is_jwt(token: &str) -> bool {
    let is_base64url =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let parts: Vec<&str> = token.split('.').collect();
    parts.len() == 3 && parts.into_iter().all(is_base64url)
}

/// Whether a request comes from this machine and from no other on its behalf.
///
/// A proxy on this machine speaks for others, and a page of a foreign name that resolves to loopback (DNS rebinding) is same-origin with
/// us: its `Host` gives it away.
pub(super) fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
    let forwarded = headers.contains_key(FORWARDED) || headers.contains_key("x-forwarded-for") || headers.contains_key("x-real-ip");
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    let names_us = host.is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    peer.to_canonical().is_loopback() && !forwarded && names_us
}

/// How far the clock of who made the token may be off.
const CLOCK_SKEW_SECONDS: u64 = 5;

/// Longer than any id of the platform.
const ID_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Secret;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn verifier(mode: Mode) -> Verifier {
        Verifier::new(&AuthConfig { secret: Secret::new(SECRET), secret_made: false, issuer: None, audience: None }, mode)
    }

    fn in_seconds(seconds: i64) -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(now.as_secs()).unwrap() + seconds
    }

    fn claims(extra: Value) -> Value {
        let mut claims = json!({"sub": "u1", "agentId": "a1", "tenantId": "t1", "exp": in_seconds(600)});
        for (key, value) in extra.as_object().unwrap() {
            claims[key] = value.clone();
        }
        claims
    }

    fn token(claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    }

    fn auth(token: impl Into<String>) -> AuthPayload {
        AuthPayload { token: Some(token.into()), ..AuthPayload::default() }
    }

    fn code(result: Result<Admission, Refusal>) -> Code {
        result.expect_err("is refused").code
    }

    #[test]
    fn the_token_is_the_truth() {
        let admission = verifier(Mode::Production).admit(&auth(token(&claims(json!({"role": "supervisor"})))), false).unwrap();
        assert_eq!((admission.agent.as_str(), admission.tenant.as_str(), admission.user.as_str()), ("a1", "t1", "u1"));
        assert_eq!(admission.role, Role::Supervisor);
        let left = admission.expires_at.unwrap().duration_since(SystemTime::now()).unwrap();
        assert!(left > Duration::from_secs(590) && left <= Duration::from_secs(600));
    }

    #[test]
    fn ids_beside_the_token_have_to_be_the_tokens() {
        let verifier = verifier(Mode::Dev);
        let given = |agent: &str, tenant: &str| AuthPayload {
            agent_id: Some(agent.into()),
            tenant_id: Some(tenant.into()),
            user_id: Some("u1".into()),
            ..auth(token(&claims(json!({}))))
        };
        assert!(verifier.admit(&given("a1", "t1"), true).is_ok());
        assert_eq!(code(verifier.admit(&given("a2", "t1"), true)), Code::AuthMismatch);
        assert_eq!(code(verifier.admit(&given("a1", "t2"), true)), Code::AuthMismatch);
    }

    #[test]
    fn what_is_wrong_with_a_token_decides_the_code() {
        let verifier = verifier(Mode::Production);
        let refused = |claims: Value| code(verifier.admit(&auth(token(&claims)), true));
        assert_eq!(code(verifier.admit(&AuthPayload::default(), true)), Code::AuthRequired);
        assert_eq!(code(verifier.admit(&auth(""), true)), Code::AuthRequired);
        assert_eq!(refused(claims(json!({"exp": in_seconds(-60)}))), Code::AuthExpired);
        assert_eq!(refused(json!({"sub": "u1", "agentId": "a1", "tenantId": "t1"})), Code::AuthInvalid);
        assert_eq!(refused(claims(json!({"nbf": in_seconds(600)}))), Code::AuthInvalid);
        assert_eq!(refused(claims(json!({"role": "root"}))), Code::AuthInvalid);
        assert_eq!(refused(claims(json!({"agentId": null}))), Code::AuthInvalid);
        assert_eq!(refused(claims(json!({"agentId": "a\r\n1"}))), Code::AuthInvalid);
        assert_eq!(refused(claims(json!({"tenantId": "t".repeat(129)}))), Code::AuthInvalid);
        assert_eq!(refused(claims(json!({"exp": 1e300}))), Code::AuthInvalid);
    }

    #[test]
    fn a_forged_or_unsigned_token_is_refused_in_dev_mode_too() {
        let verifier = verifier(Mode::Dev);
        let good = token(&claims(json!({})));
        let foreign =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(json!({})), &EncodingKey::from_secret(b"other")).unwrap();
        let other_algorithm =
            jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims(json!({})), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
        let (head, tail) = good.split_once('.').unwrap();
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.x", tail.split('.').next().unwrap());
        for token in [foreign, other_algorithm, unsigned, format!("{head}.{head}.{head}")] {
            assert_eq!(code(verifier.admit(&auth(token), true)), Code::AuthInvalid);
        }
    }

    #[test]
    fn issuer_and_audience_are_demanded_where_configured() {
        let config =
            AuthConfig { secret: Secret::new(SECRET), secret_made: false, issuer: Some("nexus".into()), audience: Some("gateway".into()) };
        let verifier = Verifier::new(&config, Mode::Production);
        let admit = |extra: Value| verifier.admit(&auth(token(&claims(extra))), false);
        assert!(admit(json!({"iss": "nexus", "aud": ["other", "gateway"]})).is_ok());
        for wrong in [json!({}), json!({"iss": "nexus"}), json!({"aud": "gateway"}), json!({"iss": "x", "aud": "gateway"})] {
            assert_eq!(code(admit(wrong)), Code::AuthInvalid);
        }
    }

    #[test]
    fn the_readmes_token_is_good_for_dev_mode_on_loopback_only() {
        let readme = AuthPayload {
            token: Some("your-jwt-token".into()),
            agent_id: Some("agent-uuid".into()),
            tenant_id: Some("tenant-uuid".into()),
            user_id: Some("user-uuid".into()),
        };
        let admission = verifier(Mode::Dev).admit(&readme, true).unwrap();
        assert_eq!((admission.agent.as_str(), admission.expires_at), ("agent-uuid", None));
        assert_eq!(code(verifier(Mode::Dev).admit(&readme, false)), Code::AuthInvalid);
        assert_eq!(code(verifier(Mode::Production).admit(&readme, true)), Code::AuthInvalid);
        assert_eq!(code(verifier(Mode::Dev).admit(&auth("your-jwt-token"), true)), Code::AuthInvalid);
    }

    #[test]
    fn rest_shows_what_the_role_may_see() {
        let header = |value: String| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        let bearer = |extra: Value| header(format!("Bearer {}", token(&claims(extra))));
        let production = verifier(Mode::Production);
        assert_eq!(production.scope(&bearer(json!({})), true), Ok(Scope::Agent("t1".into(), "a1".into())));
        assert_eq!(production.scope(&bearer(json!({"role": "supervisor"})), true), Ok(Scope::Tenant("t1".into())));
        assert_eq!(production.scope(&bearer(json!({"role": "admin"})), true), Ok(Scope::Everything));
        assert_eq!(production.scope(&HeaderMap::new(), true).unwrap_err().code, Code::AuthRequired);
        assert_eq!(production.scope(&header("Bearer dev".into()), true).unwrap_err().code, Code::AuthInvalid);
        let dev = verifier(Mode::Dev);
        assert_eq!(dev.scope(&HeaderMap::new(), true), Ok(Scope::Everything));
        assert_eq!(dev.scope(&HeaderMap::new(), false).unwrap_err().code, Code::AuthRequired);
        assert_eq!(dev.scope(&bearer(json!({})), true), Ok(Scope::Agent("t1".into(), "a1".into())));
    }

    #[test]
    fn local_means_from_this_machine_and_for_nobody_else() {
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap())).collect()
        };
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        for host in ["localhost:3005", "127.0.0.1:3005", "[::1]:3005", "localhost"] {
            assert!(is_local(loopback, &headers(&[("host", host)])), "{host}");
        }
        assert!(is_local("::ffff:127.0.0.1".parse().unwrap(), &headers(&[("host", "localhost")])));
        assert!(!is_local("10.0.0.1".parse().unwrap(), &headers(&[("host", "localhost")])));
        assert!(!is_local(loopback, &headers(&[("host", "evil.example:3005")])));
        assert!(!is_local(loopback, &headers(&[])));
        assert!(!is_local(loopback, &headers(&[("host", "localhost"), ("x-forwarded-for", "203.0.113.1")])));
    }
}
