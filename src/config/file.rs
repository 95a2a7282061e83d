//! Reads the settings file (TOML).

use std::io::Read as _;
use std::path::Path;

use super::private_file::open_regular;
use super::{Layer, SettingsError, in_words};

/// The largest settings file; all settings together are a few lines.
const MAX_BYTES: u64 = 1024 * 1024;

/// The settings that the file says. Errors name the line and its key, and never quote a value: it may
/// be a password.
pub(super) fn read(path: &Path) -> Result<Layer, SettingsError> {
    let refuse = |why: String| SettingsError(format!("settings file {}: {why}", path.display()));
    let (file, metadata) = open_regular(path).map_err(refuse)?;
    if metadata.len() > MAX_BYTES {
        return Err(refuse(format!("is larger than {MAX_BYTES} bytes")));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| refuse(in_words(&error)))?;
    parse(&text).map_err(refuse)
}

fn parse(text: &str) -> Result<Layer, String> {
    let mut layer: Layer = toml::from_str(text).map_err(|error| in_our_words(text, &error))?;
    layer.gateway.check(text)?;
    Ok(layer)
}

fn in_our_words(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim();
    let message = error.message();
    let problem = if message.starts_with("unknown field") {
        "is no setting; `countersign serve --help` lists them all".to_owned()
    } else if message.starts_with("invalid type") {
        // "invalid type: string \"…\", expected u32": only the second half is free of the value.
        message.split(", ").last().unwrap_or("has the wrong type").to_owned()
    } else if message.starts_with("unknown variant") {
        let expected = message.split(", ").skip(1).collect::<Vec<_>>().join(", ");
        if expected.is_empty() { "has an unknown value".to_owned() } else { expected }
    } else {
        message.to_owned()
    };
    format!("line {number}: {key}: {}", problem.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_can_be_said() {
        let layer = parse(
            "listen = \"0.0.0.0:1\"\nbrands = [\"acme\", \"cs\"]\nverify-auth = \"off\"\nlog-format = \"json\"",
        )
        .expect("a good file");
        assert_eq!(layer.brands, Some(vec!["acme".to_owned(), "cs".to_owned()]));
        assert!(layer.listen.is_some() && layer.data_dir.is_none());
    }

    #[test]
    fn errors_name_the_line_and_the_key_but_never_the_value() {
        let error = |text| parse(text).expect_err("a bad file");
        assert_eq!(
            error("# a comment\nlissten = \"x\""),
            "line 2: lissten: is no setting; `countersign serve --help` lists them all"
        );
        assert_eq!(error("database-url = 7"), "line 1: database-url: expected a string");
        let wrong = error("max-connections = \"postgres://u:hunter2@db/x\"");
        assert!(wrong.starts_with("line 1: max-connections: expected"), "{wrong}");
        assert!(!wrong.contains("hunter2"), "{wrong}");
        assert!(error("verify-auth = \"maybe\"").contains("expected one of"));
        assert!(error("listen = \"nowhere\"").starts_with("line 1: listen:"));
        assert!(error("listen = ").starts_with("line 1: listen:"));
    }

    #[test]
    fn routes_are_read_and_what_is_wrong_with_them_names_their_lines() {
        let route = |path: &str| format!("[[gateway.routes]]\npath = \"{path}\"\nscopes = []\n\n");
        let good = format!("log = \"info\"\n\n{}{}", route("/a"), route("/b"));
        let settings = crate::config::Settings::from_layer(parse(&good).expect("a good file"));
        assert_eq!(settings.expect("good settings").gateway.routes.len(), 2);
        let error = |text: &str| parse(text).expect_err("a bad file");
        assert_eq!(
            error(&format!("log = \"info\"\n\n{}{}{}", route("/a"), route("/b"), route("/{x}"))),
            "the routes of line 3 (any method /a) and of line 11 (any method /{x}) overlap: a request could be for \
             either"
        );
        assert!(error(&route("a")).starts_with("line 1: path must begin"));
        let missing = error("[[gateway.routes]]\npath = \"/a\"");
        assert!(missing.contains("missing field `scopes`"), "{missing}");
        let unknown = error("[[gateway.routes]]\npath = \"/a\"\nscope = []");
        assert!(unknown.starts_with("line 3: scope: is no setting"), "{unknown}");
        assert!(error("[gateway]\nlisten = 1").contains("is no setting"));
    }

    #[test]
    fn a_password_in_a_broken_line_is_not_quoted() {
        let wrong =
            parse("database-url = \"postgres://u:hunter2@db/x").expect_err("no closing quote");
        assert!(!wrong.contains("hunter2"), "{wrong}");
    }
}
