//! Digest authentication as a client (RFC 3261 section 22, RFC 7616, RFC 8760): MD5 and SHA-256, qop auth or none.

use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::field::{quote, unquote};
use super::message::{Headers, Response};
use super::normalise::split_outside_quotes;
use super::user_agent::Credentials;

/// How many challenges of one response are looked at.
const CHALLENGES_MAX: usize = 8;

/// The hash functions, weakest first (RFC 8760 section 2.4 wants the client to take the one on top that it knows; we take the strongest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    fn hash(self, text: &str) -> String {
        match self {
            Algorithm::Md5 => hex::encode(Md5::digest(text.as_bytes())),
            Algorithm::Sha256 => hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes())),
        }
    }
}

/// One challenge that we know how to answer, and how often its nonce has been used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// 407: answered in Proxy-Authorization. Else 401.
    proxy: bool,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// The algorithm's name as the challenge spelt it; absent if it named none.
    algorithm_name: Option<String>,
    /// A1 is made with the nonces (`-sess`).
    session: bool,
    qop_auth: bool,
    /// Our credentials were right, only the nonce is too old.
    pub stale: bool,
    used: u32,
}

/// The strongest challenge of each realm in a 401 or 407 that these credentials answer.
pub(super) fn challenges(response: &Response, credentials: &Credentials) -> Vec<Challenge> {
    let (proxy, name) = if response.status == 407 { (true, "Proxy-Authenticate") } else { (false, "WWW-Authenticate") };
    let mut best: Vec<Challenge> = Vec::new();
    for value in response.headers.all(name).take(CHALLENGES_MAX) {
        let Some(challenge) = Challenge::parse(value, proxy) else { continue };
        if credentials.realm.as_ref().is_some_and(|realm| *realm != challenge.realm) {
            continue;
        }
        match best.iter_mut().find(|other| other.realm == challenge.realm) {
            Some(other) if other.algorithm < challenge.algorithm => *other = challenge,
            Some(_) => {}
            None => best.push(challenge),
        }
    }
    best
}

impl Challenge {
    fn parse(value: &str, proxy: bool) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(char::is_whitespace)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let (mut realm, mut nonce, mut opaque, mut algorithm_name, mut qop, mut stale) = (None, None, None, None, None, false);
        for part in split_outside_quotes(rest, ',') {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = unquote(value.trim());
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "nonce" => nonce = Some(value),
                "opaque" => opaque = Some(value),
                "algorithm" => algorithm_name = Some(value),
                "qop" => qop = Some(value),
                "stale" => stale = value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        let (algorithm, session) = match algorithm_name.as_deref().map(str::to_ascii_uppercase).as_deref() {
            None | Some("MD5") => (Algorithm::Md5, false),
            Some("MD5-SESS") => (Algorithm::Md5, true),
            Some("SHA-256") => (Algorithm::Sha256, false),
            Some("SHA-256-SESS") => (Algorithm::Sha256, true),
            Some(_) => return None,
        };
        let qop_auth = match &qop {
            None => false,
            Some(offered) if offered.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth")) => true,
            // Only auth-int, or something newer.
            Some(_) => return None,
        };
        Some(Self { proxy, realm: realm?, nonce: nonce?, opaque, algorithm, algorithm_name, session, qop_auth, stale, used: 0 })
    }

    /// Whether this challenge is the successor of another one: the same asker.
    pub fn replaces(&self, other: &Challenge) -> bool {
        self.proxy == other.proxy && self.realm == other.realm
    }

    /// Puts the answer into a request's header fields; the nonce counts as used once more.
    pub fn answer(&mut self, headers: &mut Headers, credentials: &Credentials, method: &str, uri: &str, cnonce: &str) {
        self.used += 1;
        let Credentials { username, password, .. } = credentials;
        let hash = |text: &str| self.algorithm.hash(text);
        let mut a1 = hash(&Zeroizing::new(format!("{username}:{}:{password}", self.realm)));
        if self.session {
            a1 = hash(&format!("{a1}:{}:{cnonce}", self.nonce));
        }
        let a2 = hash(&format!("{method}:{uri}"));
        let count = format!("{:08x}", self.used);
        let response = if self.qop_auth {
            hash(&format!("{a1}:{}:{count}:{cnonce}:auth:{a2}", self.nonce))
        } else {
            hash(&format!("{a1}:{}:{a2}", self.nonce))
        };
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quote(username),
            quote(&self.realm),
            quote(&self.nonce),
            quote(uri),
        );
        if let Some(name) = &self.algorithm_name {
            value.push_str(&format!(", algorithm={name}"));
        }
        if self.qop_auth || self.session {
            value.push_str(&format!(", cnonce={}", quote(cnonce)));
        }
        if self.qop_auth {
            value.push_str(&format!(", qop=auth, nc={count}"));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque={}", quote(opaque)));
        }
        headers.push(if self.proxy { "Proxy-Authorization" } else { "Authorization" }, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenged(status: u16, values: &[&str]) -> Response {
        let name = if status == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" };
        let headers = Headers(values.iter().map(|value| (name.to_owned(), (*value).to_owned())).collect());
        Response { status, phrase: String::new(), headers, body: Vec::new() }
    }

    fn credentials(username: &str, password: &str) -> Credentials {
        Credentials { username: username.to_owned(), password: password.to_owned(), realm: None }
    }

    /// RFC 7616 section 3.9.1.
    #[test]
    fn the_examples_of_rfc_7616_come_out() {
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let parts = format!(
            "realm=\"http-auth@example.org\", qop=\"auth, auth-int\", nonce=\"{nonce}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        );
        let mufasa = credentials("Mufasa", "Circle of Life");
        for (algorithm, expected) in
            [("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"), ("MD5", "8ca523f5e9506fed4657c9700eebdbec")]
        {
            let response = challenged(401, &[&format!("Digest {parts}, algorithm={algorithm}")]);
            let mut challenge = challenges(&response, &mufasa).remove(0);
            let mut headers = Headers::default();
            challenge.answer(&mut headers, &mufasa, "GET", "/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ");
            let value = headers.get("Authorization").unwrap();
            assert!(value.contains(&format!("response=\"{expected}\"")), "{algorithm}");
            assert!(value.contains("nc=00000001") && value.contains("qop=auth,") && value.contains("opaque="));
            challenge.answer(&mut headers, &mufasa, "GET", "/dir/index.html", "other");
            assert!(headers.all("Authorization").nth(1).unwrap().contains("nc=00000002"));
        }
    }

    /// RFC 2617 section 3.5 without qop is RFC 2069; the value is that of its erratum 749.
    #[test]
    fn a_challenge_without_qop_is_answered_as_rfc_2069_did() {
        let mufasa = credentials("Mufasa", "CircleOfLife");
        let value = "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let mut challenge = challenges(&challenged(407, &[value]), &mufasa).remove(0);
        let mut headers = Headers::default();
        challenge.answer(&mut headers, &mufasa, "GET", "/dir/index.html", "unused");
        let answer = headers.get("Proxy-Authorization").unwrap();
        assert!(answer.contains("response=\"1949323746fe6a43ef61f9606e7febea\""), "{answer}");
        assert!(!answer.contains("cnonce") && !answer.contains("qop") && !answer.contains("algorithm"));
    }

    #[test]
    fn the_strongest_challenge_of_each_realm_is_taken_and_unknown_ones_are_left() {
        let user = credentials("u", "p");
        let response = challenged(
            401,
            &[
                "Digest realm=\"a\", nonce=\"1\", algorithm=MD5, qop=\"auth\"",
                "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-256, qop=\"auth\"",
                "Digest realm=\"b\", nonce=\"3\", algorithm=SHA-512-256",
                "Digest realm=\"c\", nonce=\"4\", qop=\"auth-int\"",
                "Basic realm=\"d\"",
                "Digest nonce=\"5\"",
            ],
        );
        let taken = challenges(&response, &user);
        assert_eq!(taken.iter().map(|challenge| challenge.nonce.as_str()).collect::<Vec<_>>(), ["2"]);
        let mut elsewhere = user;
        elsewhere.realm = Some("z".to_owned());
        assert!(challenges(&response, &elsewhere).is_empty());
    }
}
