//! Who may ask: pages of this server, from this machine. A page of somebody else's, open in the same browser, can send requests
//! here too; it cannot hide where it comes from.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

/// Lets through what comes from our own pages, and tells browsers to load nothing from elsewhere.
pub(crate) async fn own_pages_only(
    State(address): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if !is_ours(address, request.headers()) {
        let error = "this page belongs to somebody else: only the notes' own pages may ask here";
        return (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response();
    }
    let is_api = request.uri().path().contains("/api/");
    let mut response = next.run(request).await;
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_api && response.status().is_client_error() && !is_json {
        // What axum says of a request that no function of ours has seen.
        let said = axum::body::to_bytes(std::mem::take(response.body_mut()), 4096).await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let error = if said.is_empty() { response.status().to_string() } else { said };
        response = (response.status(), Json(json!({ "error": error }))).into_response();
    }
    let headers = response.headers_mut();
    let mut set = |name: header::HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; img-src 'self' data:; style-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
    );
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-cache");
    response
}

/// A name that leads here by DNS, set up by somebody else, arrives as a foreign `Host`; a foreign page's request says
/// where it comes from in `Origin`, and browsers say in `Sec-Fetch-Site` what they think of it.
fn is_ours(address: SocketAddr, headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).unwrap_or_default();
    let (name, port) = host.rsplit_once(':').filter(|(name, _)| !name.ends_with(':')).unwrap_or((host, "80"));
    let is_here = match name {
        "localhost" | "127.0.0.1" | "[::1]" => true,
        // Served to others on purpose: then by an address, which nobody can lead elsewhere.
        other => {
            let address_given =
                other.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
            !address.ip().is_loopback() && address_given.is_ok()
        }
    };
    let same_origin = text(header::ORIGIN).is_none_or(|origin| origin == format!("http://{host}"));
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
    let not_foreign = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
    is_here && port == address.port().to_string() && same_origin && not_foreign
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)))
            .collect();
        is_ours(([127, 0, 0, 1], 7430).into(), &headers)
    }

    #[test]
    fn own_pages_and_commands_on_this_machine_may_ask() {
        assert!(asked(&[("host", "127.0.0.1:7430")]));
        assert!(asked(&[
            ("host", "localhost:7430"),
            ("origin", "http://localhost:7430"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(asked(&[("host", "[::1]:7430"), ("sec-fetch-site", "none")]));
    }

    #[test]
    fn pages_of_others_may_not() {
        assert!(!asked(&[("host", "127.0.0.1:7430"), ("origin", "https://example.org")]));
        assert!(!asked(&[("host", "127.0.0.1:7430"), ("origin", "null")]));
        assert!(!asked(&[("host", "127.0.0.1:7430"), ("origin", "http://127.0.0.1:7431")]));
        assert!(!asked(&[("host", "127.0.0.1:7430"), ("sec-fetch-site", "cross-site")]));
        assert!(!asked(&[("host", "127.0.0.1:7430"), ("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn a_foreign_name_that_leads_here_is_no_name_of_ours() {
        assert!(!asked(&[("host", "notes.example.org:7430"), ("origin", "http://notes.example.org:7430")]));
        assert!(!asked(&[("host", "192.168.1.10:7430")]));
        assert!(!asked(&[("host", "127.0.0.1:80")]));
        assert!(!asked(&[]));
    }
}
