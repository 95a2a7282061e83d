//! What a person sees on the terminal once the server is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::doors::Addresses;
use super::first_start::Whereabouts;
use crate::cli::output;
use crate::config::{Settings, quoted};

/// The request of the first command: a key that a person can play with.
const FIRST_KEY: &str = r#"{"key": {"account_id": "acme", "application_id": "billing", "environment": "ENVIRONMENT_LIVE", "display_name": "my first key", "scopes": ["transactions:read"]}}"#;

/// Prints it.
pub(super) fn print(text: &str) {
    // Nobody has to watch a server start.
    if let Err(error) = output::text(text) {
        tracing::debug!(%error, "nobody reads standard output");
    }
}

/// What a server says once it is ready.
pub(super) fn text(settings: &Settings, addresses: Addresses, credential: &Whereabouts) -> String {
    let Addresses { grpc, admin, http, gateways } = addresses;
    let verify = if settings.middleware.require_verify_credential {
        "callers need a credential with countersign.verify:call"
    } else {
        "open to every caller that reaches it"
    };
    let mut lines = vec![
        format!("Countersign {}", env!("CARGO_PKG_VERSION")),
        String::new(),
        format!("  gRPC        {grpc}"),
    ];
    lines.extend(admin.map(|address| format!("  KeyAdmin    {address}")));
    lines.push(format!("  HTTP        {http}"));
    lines.extend(gateways.map(|address| format!("  gateways    {address}")));
    lines.extend([
        format!("  database    {}", settings.store.url),
        format!("  Verify      {verify}"),
        format!(
            "  revocation  at the latest {} s after losing touch with the database, answers end",
            settings.log.max_staleness.as_secs_f64()
        ),
    ]);
    match credential {
        Whereabouts::File(file) => {
            lines.push(format!("  credential  {}", file.display()));
            lines.push(String::new());
            lines.push("Create a first key:".to_owned());
            lines.push(String::new());
            lines.push(format!("  {}", first_command(admin.unwrap_or(grpc), Some(file))));
        }
        Whereabouts::Elsewhere => {
            lines.push("  credential  with whoever bootstrapped this store".to_owned());
        }
        Whereabouts::Nowhere => {
            lines.push("  credential  none yet; make one with `countersign bootstrap`".to_owned());
        }
    }
    lines.push(String::new());
    lines.push("ready".to_owned());
    lines.join("\n") + "\n"
}

/// One line for a shell, to be pasted where the server was started. It runs in a subshell, so that no
/// variable is left behind, and grpcurl reads them itself, so that no secret is an argument.
fn first_command(admin: SocketAddr, file: Option<&Path>) -> String {
    let source = file.map(|file| format!("set -a; . {}; ", quoted(&with_folder(file))));
    format!(
        "({}grpcurl -plaintext -expand-headers -H 'authorization: Bearer ${{COUNTERSIGN_KEY_ID}}' \
         -H 'x-secret-key: ${{COUNTERSIGN_SECRET}}' -d '{FIRST_KEY}' {} \
         countersign.v1.KeyAdmin/CreateKey)",
        source.unwrap_or_default(),
        reachable(admin),
    )
}

/// `.` searches PATH for a name without a slash.
fn with_folder(file: &Path) -> PathBuf {
    if file.components().count() > 1 { file.to_owned() } else { Path::new(".").join(file) }
}

/// Where a client on this machine reaches a server that listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    #[test]
    fn scripts_and_people_find_what_they_need() {
        let settings = Settings::from_layer(Layer::default()).expect("the defaults are good");
        let grpc = SocketAddr::from(([0, 0, 0, 0], 50051));
        let http = SocketAddr::from(([127, 0, 0, 1], 8080));
        let file = Whereabouts::File("my data/admin.env".into());
        let gateways = Some(SocketAddr::from(([127, 0, 0, 1], 8081)));
        let addresses = Addresses { grpc, admin: None, http, gateways };
        let apart = Addresses { admin: Some(SocketAddr::from(([0; 4], 50052))), ..addresses };
        let apart = text(&settings, apart, &file);
        assert!(
            apart.contains("\n  gRPC        0.0.0.0:50051\n  KeyAdmin    0.0.0.0:50052\n"),
            "{apart}"
        );
        assert!(
            apart.contains("\n  HTTP        127.0.0.1:8080\n  gateways    127.0.0.1:8081\n"),
            "{apart}"
        );
        assert!(apart.contains(" 127.0.0.1:50052 countersign.v1.KeyAdmin/CreateKey)"), "{apart}");
        let text = text(&settings, addresses, &file);
        assert!(text.contains("\n  gRPC        0.0.0.0:50051\n"), "{text}");
        assert!(
            text.contains("\n  HTTP        127.0.0.1:8080\n  gateways    127.0.0.1:8081\n"),
            "{text}"
        );
        assert!(text.contains("(set -a; . 'my data/admin.env'; grpcurl "), "{text}");
        assert!(text.contains(" 127.0.0.1:50051 countersign.v1.KeyAdmin/CreateKey)"), "{text}");
        assert!(text.ends_with("\nready\n"), "{text}");
    }
}
