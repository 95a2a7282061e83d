//! Files that hold a credential: the two lines of `admin.env`, or the JSON of `keys mint --json`.

use std::path::Path;

use zeroize::Zeroizing;

use super::{SettingsError, private_file};

const KEY_ID: &str = "COUNTERSIGN_KEY_ID=";
const SECRET: &str = "COUNTERSIGN_SECRET=";

/// A key id and its secret, as they stood in a file. Nothing of their form is known.
pub struct Credential {
    /// The public half.
    pub key_id: String,
    /// The private half.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({}, redacted)", self.key_id)
    }
}

/// The credential in a file that others can't read.
pub fn read(path: &Path) -> Result<Credential, SettingsError> {
    let text = private_file::read("credential file", path)?;
    parse(&text).ok_or_else(|| {
        SettingsError(format!(
            "credential file {} must hold the lines {KEY_ID}… and {SECRET}…, or the JSON \
             {{\"key_id\": …, \"secret\": …}}; `countersign keys mint` prints one",
            path.display()
        ))
    })
}

/// The text of an `admin.env`: exactly two lines.
pub fn admin_env(key_id: &str, secret: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{KEY_ID}{key_id}\n{SECRET}{secret}\n"))
}

fn parse(text: &str) -> Option<Credential> {
    let text = text.trim();
    if text.starts_with('{') {
        return parse_json(text);
    }
    let (mut key_id, mut secret) = (None, None);
    for line in
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        // A file that is sourced by a shell may say `export`, and may quote.
        let line = line.strip_prefix("export ").unwrap_or(line);
        let slot = if line.starts_with(KEY_ID) { &mut key_id } else { &mut secret };
        let value = line.strip_prefix(KEY_ID).or_else(|| line.strip_prefix(SECRET))?;
        if slot.replace(unquoted(value)).is_some() {
            return None;
        }
    }
    Some(Credential { key_id: key_id?.to_owned(), secret: Zeroizing::new(secret?.to_owned()) })
}

fn unquoted(value: &str) -> &str {
    let stripped = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    stripped('"').or_else(|| stripped('\'')).unwrap_or(value)
}

fn parse_json(text: &str) -> Option<Credential> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        key_id: String,
        secret: String,
    }
    let pair: Pair = serde_json::from_str(text).ok()?;
    Some(Credential { key_id: pair.key_id, secret: Zeroizing::new(pair.secret) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> Option<(String, String)> {
        parse(text).map(|credential| (credential.key_id, credential.secret.to_string()))
    }

    #[test]
    fn both_forms_say_the_same() {
        let expected = Some(("id".to_owned(), "s=ecret".to_owned()));
        assert_eq!(pair(&admin_env("id", "s=ecret")), expected);
        assert_eq!(
            pair(
                "# made by hand\nexport COUNTERSIGN_SECRET='s=ecret'\n\nCOUNTERSIGN_KEY_ID=\"id\""
            ),
            expected
        );
        assert_eq!(pair("{\"key_id\": \"id\", \"secret\": \"s=ecret\"}\n"), expected);
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "COUNTERSIGN_KEY_ID=id",
            "COUNTERSIGN_SECRET=s",
            "COUNTERSIGN_KEY_ID=a\nCOUNTERSIGN_KEY_ID=b\nCOUNTERSIGN_SECRET=s",
            "COUNTERSIGN_KEY_ID=a\nCOUNTERSIGN_SECRET=s\nPATH=/",
            "{\"key_id\": \"id\"}",
            "{",
        ] {
            assert_eq!(pair(bad), None, "{bad:?} passed");
        }
    }
}
