//! The agent page, as it was built into the binary.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

/// `web/dist`; empty where the page was not built, and then `/` answers JSON only.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Files;

/// The page itself.
pub(super) fn index() -> Option<Response> {
    file("index.html")
}

/// A file of the page; `None` where there is none of that name.
pub(super) fn file(path: &str) -> Option<Response> {
    let file = Files::get(path)?;
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    // The bundler puts a hash of the content into these names, so they never change.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (CONTENT_TYPE, kind.as_ref().to_owned()),
        (CACHE_CONTROL, cache.to_owned()),
        (CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (VARY, "accept".to_owned()),
    ];
    Some((headers, file.data.into_owned()).into_response())
}

/// The page loads nothing from elsewhere; it may talk to another gateway's Socket.IO.
const POLICY: &str = "default-src 'self'; connect-src 'self' http: https: ws: wss:; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
