//! Where a node's gRPC API is: what `--endpoint` takes.

use std::{fmt, str::FromStr};

use tonic::transport::Uri;

/// The port of the gRPC API where none is given.
const PORT: u16 = 7600;

/// The gRPC address of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Host and port, as shown to people.
    shown: String,
    uri: Uri,
}

impl Target {
    /// What tonic connects to.
    pub(super) fn uri(&self) -> Uri {
        self.uri.clone()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl FromStr for Target {
    type Err = String;

    /// Takes `host`, `host:port` and `http://host:port`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('/');
        if text.starts_with("https://") {
            return Err("TLS is not built yet: use http://".to_owned());
        }
        let wrong = || "use HOST:PORT, such as 10.5.0.4:7600".to_owned();
        let bare = text.strip_prefix("http://").unwrap_or(text);
        if bare.is_empty() || bare.contains("://") || bare.contains('/') || bare.contains('@') {
            return Err(wrong());
        }
        let shown = match bare.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]:{PORT}"),
            Err(_) if has_port(bare) => bare.to_owned(),
            Err(_) => format!("{bare}:{PORT}"),
        };
        let uri: Uri = format!("http://{shown}").parse().map_err(|_| wrong())?;
        match (uri.host(), uri.port_u16()) {
            (Some(host), Some(port)) if !host.is_empty() && port > 0 => Ok(Self { shown, uri }),
            _ => Err(wrong()),
        }
    }
}

fn has_port(bare: &str) -> bool {
    // In `[fd00::4]` the last colon belongs to the address.
    bare.rsplit(']').next().is_some_and(|rest| rest.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_port_may_be_left_out() {
        let of = |text: &str| text.parse::<Target>().map(|target| target.uri().to_string());
        for (text, uri) in [
            ("n1", "http://n1:7600/"),
            ("n1:7610", "http://n1:7610/"),
            ("http://10.5.0.4:7600", "http://10.5.0.4:7600/"),
            ("http://10.5.0.4/", "http://10.5.0.4:7600/"),
            ("[fd00::4]", "http://[fd00::4]:7600/"),
            ("[fd00::4]:1", "http://[fd00::4]:1/"),
            ("fd00::4", "http://[fd00::4]:7600/"),
        ] {
            assert_eq!(of(text), Ok(uri.to_owned()), "{text}");
        }
        for bad in ["", "https://n1:7600", "ftp://n1", "n1:0", "n1:x", "n1:7600/api", "a b"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
