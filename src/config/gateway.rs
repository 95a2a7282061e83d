//! What is set about gateways: their headers, and the route table of the settings file.

use http::HeaderName;
use serde::Deserialize;
use toml::Spanned;

use super::{Layer, SettingsError, UnknownRoutes};
use crate::domain::route::{Entry, Routes};
use crate::rpc::gateway;

/// The table `[gateway]` of the settings file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// The entries, `[[gateway.routes]]`.
    routes: Vec<Spanned<Entry>>,
    /// The same, checked, with the lines that they stand in.
    #[serde(skip)]
    table: Routes,
}

impl Gateway {
    /// Checks the entries; `text` is that of the file.
    pub(super) fn check(&mut self, text: &str) -> Result<(), String> {
        let entries = std::mem::take(&mut self.routes).into_iter().map(|entry| {
            let before = text.get(..entry.span().start).unwrap_or_default();
            (before.matches('\n').count() + 1, entry.into_inner())
        });
        self.table = Routes::new(entries)?;
        Ok(())
    }
}

/// Headers that HTTP itself needs, or that say something else already.
const NOT_FOR_CREDENTIALS: [&str; 8] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
    "cookie",
    "x-forwarded-for",
];

/// The settings of the gateways, after all layers.
pub(super) fn settings(layer: &Layer) -> Result<gateway::Settings, SettingsError> {
    let default = gateway::Settings::default();
    let key_header =
        header("gateway-key-header", layer.gateway_key_header.as_deref(), default.key_header)?;
    let secret_header = header(
        "gateway-secret-header",
        layer.gateway_secret_header.as_deref(),
        default.secret_header,
    )?;
    if key_header == secret_header {
        return Err(SettingsError(format!(
            "gateway-key-header and gateway-secret-header are both {key_header}; each half needs a header of its own"
        )));
    }
    Ok(gateway::Settings {
        key_header,
        secret_header,
        trusted_hops: layer.gateway_trusted_hops.unwrap_or(default.trusted_hops),
        unknown_routes: match layer.gateway_unknown_routes {
            Some(UnknownRoutes::Verify) => gateway::UnknownRoutes::Verify,
            Some(UnknownRoutes::Deny) | None => gateway::UnknownRoutes::Deny,
        },
        routes: layer.gateway.table.clone(),
    })
}

fn header(
    name: &str,
    text: Option<&str>,
    default: HeaderName,
) -> Result<HeaderName, SettingsError> {
    let Some(text) = text else { return Ok(default) };
    let header: Result<HeaderName, _> = text.to_ascii_lowercase().parse();
    let header = header.ok().filter(|header| {
        let header = header.as_str();
        !NOT_FOR_CREDENTIALS.contains(&header)
            && !header.starts_with("x-countersign-")
            && !header.contains('_')
    });
    header.ok_or_else(|| {
        SettingsError(format!(
            "{name} must be the name of a header that is free for credentials, e.g. x-api-key"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn refused(layer: Layer) -> String {
        Settings::from_layer(layer).expect_err("bad settings").to_string()
    }

    #[test]
    fn a_header_for_credentials_is_one_that_is_free() {
        for bad in ["", "a b", "Host", "x-countersign-key-id", "x_api_key", "transfer-encoding"] {
            let layer = Layer { gateway_key_header: Some(bad.to_owned()), ..Layer::default() };
            assert!(refused(layer).starts_with("gateway-key-header must be"), "{bad}");
        }
        let layer =
            Layer { gateway_key_header: Some("X-Secret-Key".to_owned()), ..Layer::default() };
        assert!(refused(layer).contains("are both x-secret-key"));
        let layer = Layer { gateway_key_header: Some("X-API-Key".to_owned()), ..Layer::default() };
        let settings = Settings::from_layer(layer).expect("good settings");
        assert_eq!(settings.gateway.key_header, "x-api-key");
    }
}
