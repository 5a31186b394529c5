//! The agent page, as it was built into the binary.

use axum::http::HeaderMap;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

/// `web/dist`; empty where the page was not built, and then `/` answers JSON only.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Files;

/// The page itself.
pub(super) fn index(request: &HeaderMap) -> Option<Response> {
    file("index.html", request)
}

/// A file of the page, packed if the browser unpacks it; `None` where there is none of that name.
pub(super) fn file(path: &str, request: &HeaderMap) -> Option<Response> {
    let packed = if accepts_gzip(request) { Files::get(&format!("{path}.gz")) } else { None };
    let encoding = packed.is_some().then_some([(CONTENT_ENCODING, "gzip")]);
    let file = packed.or_else(|| Files::get(path))?;
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    // The bundler puts a hash of the content into these names, so they never change.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (CONTENT_TYPE, kind.as_ref()),
        (CACHE_CONTROL, cache),
        (VARY, "accept, accept-encoding"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut response = (headers, file.data.into_owned()).into_response();
    if let Some(encoding) = encoding {
        response = (encoding, response).into_response();
    }
    Some(response)
}

/// A browser that does not want it leaves it out: none sends `gzip;q=0`.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let listed = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    listed.map(|coding| coding.split(';').next().unwrap_or("").trim()).any(|coding| coding.eq_ignore_ascii_case("gzip"))
}

/// The page loads and reaches nothing but this gateway, and no text becomes code in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What a telephone needs, and nothing else.
const PERMISSIONS: &str = "microphone=(self), speaker-selection=(self), autoplay=(self), camera=(), geolocation=(), display-capture=()";
