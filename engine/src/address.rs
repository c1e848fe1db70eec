//! `ws://host:port/<space>`: where a space is.

use driftless_protocol::SpaceName;
use url::Url;

use crate::config::SyncConfig;
use crate::error::{Error, Result};

/// A checked address.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) url: Url,
}

impl Address {
    /// Fails with [`Error::BadUrl`], saying what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| Error::BadUrl { url: text.to_owned(), why };
        // Not by the scheme: in `localhost:7420/notes` that would be `localhost`.
        let begins_with = |scheme: &str| {
            text.trim_start().get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        };
        if !begins_with("ws://") && !begins_with("wss://") {
            return Err(bad("it begins with neither ws:// nor wss://".into()));
        }
        let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no host".into()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it has something after '?' or '#'".into()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it has a user name in it; pass a token instead".into()));
        }
        let name = url.path().trim_start_matches('/');
        if name.is_empty() {
            return Err(bad("it names no space after the host".into()));
        }
        if name.ends_with('/') {
            return Err(bad("it has a '/' after the name of the space".into()));
        }
        name.parse::<SpaceName>().map_err(|error| bad(error.to_string()))?;
        Ok(Self { url })
    }

    /// The name of the space.
    pub(crate) fn space(&self) -> &str {
        self.url.path().trim_start_matches('/')
    }

    /// The address of the space of this name on the same relay.
    pub(crate) fn with_space(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(name);
        url
    }
}

impl SyncConfig {
    /// Checks the address without connecting. Fails with [`Error::BadUrl`].
    pub fn check(&self) -> Result<()> {
        Address::parse(&self.url).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_a_space_are_accepted() {
        for good in ["ws://127.0.0.1:7420/notes", "wss://relay.example/a.b-c", "ws://[::1]:1/x"] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "notes",
            "http://host/notes",
            "ws://host",
            "ws://host/",
            "ws://host/a/b",
            "ws://host/a/",
            "ws://host/a?b",
            "ws://user:pw@host/a",
            "ws:///a",
            "file:///etc/passwd",
            "ws://host/%2e%2e",
            "ws:host/notes",
        ];
        for bad in bad {
            assert!(matches!(Address::parse(bad), Err(Error::BadUrl { .. })), "{bad}");
        }
    }

    #[test]
    fn an_address_without_its_scheme_is_said_to_lack_that() {
        for text in
            ["127.0.0.1:7420/notes", "localhost:7420/notes", "relay.example/notes", "https://host/notes"]
        {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(error.contains("begins with neither ws:// nor wss://"), "{error}");
        }
    }
}
