//! Tokens as the platform signs them.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::gateway::SECRET;
use crate::phone::auth;

/// A token of user u1 as this agent, in the agent's tenant, that expires so many seconds from now.
pub fn token(agent: &str, role: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let lifetime = Duration::from_secs(seconds.unsigned_abs());
    let expires = if seconds < 0 { now - lifetime } else { now + lifetime };
    let claims = json!({"sub": "u1", "agentId": agent, "tenantId": auth(agent)["tenantId"], "role": role, "exp": expires.as_secs()});
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signed")
}
