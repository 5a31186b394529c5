//! What a person is told who starts the gateway in dev mode: where the agent page is, a token for it, and what to dial.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::Facts;
use crate::config::{AuthConfig, Config, Secret};
use crate::demo;

/// Who the dev token is for.
const AGENT: &str = "1001";
const TENANT: &str = "demo";

/// How long the dev token is good for.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The words of a start in dev mode. They hold a token: for the terminal, never for a log.
pub struct Banner {
    token: Option<String>,
    secret: Option<Secret>,
}

impl Banner {
    /// Makes the token.
    pub fn new(config: &Config) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { token: token(&config.auth, now), secret: config.auth.secret_made.then(|| config.auth.secret.clone()) }
    }

    /// The words, once it is known where everything is.
    pub fn text(&self, facts: &Facts, demo_pbx: Option<SocketAddr>) -> String {
        let mut text = format!("\nDevelopment mode. Do not put this on a network.\n\n  Agent page  {}/\n", facts.http);
        // Writing to a String never fails.
        if let Some(token) = &self.token {
            let _ = writeln!(text, "  Dev token   {token}\n              agent {AGENT} of tenant {TENANT}, for 24 hours");
        }
        if let Some(secret) = &self.secret {
            let _ = writeln!(text, "  JWT_SECRET  {} (made for this start)", secret.expose());
        }
        if let Some(address) = demo_pbx {
            let _ = writeln!(text, "  Demo PBX    {address}, numbers to dial:");
            demo::NUMBERS.iter().for_each(|(number, what)| text.push_str(&format!("              {number}  {what}\n")));
            text.push_str("              any other number rings 1 s, is answered and echoes\n");
        }
        text.push('\n');
        text
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    sub: &'a str,
    agent_id: &'a str,
    tenant_id: &'a str,
    role: &'a str,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// `None` when it cannot be signed; the page needs none in dev mode.
fn token(auth: &AuthConfig, now: Duration) -> Option<String> {
    let exp = (now + TOKEN_LIFE).as_secs();
    let (iss, aud) = (auth.issuer.as_deref(), auth.audience.as_deref());
    let claims = Claims { sub: AGENT, agent_id: AGENT, tenant_id: TENANT, role: "agent", exp, iss, aud };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(auth.secret.expose().as_bytes())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_name_the_page_a_token_and_every_number() {
        let auth = AuthConfig { secret: Secret::new("x".repeat(32)), secret_made: true, issuer: Some("me".to_owned()), audience: None };
        let banner = Banner { token: token(&auth, Duration::from_secs(1_700_000_000)), secret: Some(auth.secret.clone()) };
        let facts = Facts { http: "http://127.0.0.1:3005".to_owned(), sip: "127.0.0.1:5070".parse().unwrap(), shards: 1, calls_max: 1 };
        let text = banner.text(&facts, Some("127.0.0.1:6000".parse().unwrap()));
        for part in ["http://127.0.0.1:3005/", "eyJ", "127.0.0.1:6000", "9196", "7001"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let mut validation = jsonwebtoken::Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_issuer(&["me"]);
        let key = jsonwebtoken::DecodingKey::from_secret(auth.secret.expose().as_bytes());
        let claims = jsonwebtoken::decode::<serde_json::Value>(banner.token.as_deref().unwrap(), &key, &validation).unwrap().claims;
        assert_eq!(claims["tenantId"], TENANT);
        assert_eq!(claims["exp"], 1_700_086_400);
    }
}
