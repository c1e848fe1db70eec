//! Why no connection to a relay came about, in words for people.

use tokio_tungstenite::tungstenite::Error as WsError;

/// Says what happened and, where it can be guessed, what to do. `secure`: whether the address begins with `wss:`.
pub(super) fn words(error: &WsError, secure: bool) -> String {
    match error {
        WsError::Http(response) if response.status().is_server_error() => {
            format!("HTTP {}: what stands in front of the relay does not reach it", response.status())
        }
        WsError::Http(response) => format!("HTTP {}: {NO_RELAY}", response.status()),
        WsError::Io(error) if secure && speaks_no_tls(error) => {
            "what answers there speaks no TLS: if it is a relay without it, the address begins with ws://"
                .into()
        }
        WsError::Io(error) if certificate_error(error).is_some() => format!(
            "its certificate is not trusted ({error}): it has to be one of a public authority, and for this host name"
        ),
        WsError::Io(error) => error.to_string(),
        WsError::Protocol(_) if !secure => {
            format!("{NO_RELAY} ({error}); if the relay is reached by TLS, the address begins with wss://")
        }
        WsError::Protocol(_) => format!("{NO_RELAY} ({error})"),
        other => other.to_string(),
    }
}

const NO_RELAY: &str = "what answers there is no Driftless relay";

/// Why a relay does not let anybody in, in its words; `None` if something else answered, which has pages for browsers.
pub(super) fn refusal(body: &[u8]) -> Option<String> {
    let body = String::from_utf8_lossy(body);
    let body = body.trim();
    (!body.is_empty() && !body.starts_with('<')).then(|| body.to_owned())
}

/// Whether the other side answered in something else than TLS.
fn speaks_no_tls(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(_)))
}

/// What is wrong with the other side's certificate.
fn certificate_error(error: &std::io::Error) -> Option<&rustls::CertificateError> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => Some(error),
        _ => None,
    }
}
