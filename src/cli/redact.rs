//! What is said on standard error, without secrets: an argument may be one that somebody put in the wrong place, and
//! messages quote arguments.

use crate::domain::credential::without_secrets;

/// The text without whatever has the form of a secret of ours, without user and password of URLs, and without a
/// password among their parameters.
pub(super) fn redacted(text: &str) -> String {
    without_passwords(&without_users(&without_secrets(text)))
}

/// What ends a URL within a sentence.
fn ends_url(letter: char) -> bool {
    letter.is_whitespace() || "'\"`<>,;".contains(letter)
}

/// A user alone, of a database, is what an operator has to know; with anything else it may be a password.
fn without_users(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(ends_url).unwrap_or(after.len());
        let (url, next) = after.split_at(end);
        shown.push_str(before);
        shown.push_str("://");
        let of_database = before.ends_with("postgres") || before.ends_with("postgresql");
        match url.rsplit_once('@') {
            Some((user, place)) if user.contains(':') || !of_database => {
                shown.push_str("(redacted)@");
                shown.push_str(place);
            }
            _ => shown.push_str(url),
        }
        rest = next;
    }
    shown.push_str(rest);
    shown
}

fn without_passwords(text: &str) -> String {
    const PASSWORD: &str = "password=";
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(PASSWORD) {
        let (before, value) = rest.split_at(at + PASSWORD.len());
        let end = value.find(|letter| letter == '&' || ends_url(letter)).unwrap_or(value.len());
        shown.push_str(before);
        if end > 0 {
            shown.push_str("(redacted)");
        }
        rest = &value[end..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_of_urls_are_not_shown() {
        for (text, shown) in [
            ("at http://u:sekret@h:1, sorry", "at http://(redacted)@h:1, sorry"),
            ("'http://sekret@h' found", "'http://(redacted)@h' found"),
            ("postgres://u:se/k@ret@h/d", "postgres://(redacted)@h/d"),
            ("postgres://app@h/d refuses", "postgres://app@h/d refuses"),
            ("'postgres://h/d?password=x&user=y'", "'postgres://h/d?password=(redacted)&user=y'"),
            ("no http://127.0.0.1:1; a@b", "no http://127.0.0.1:1; a@b"),
            ("http://a:b@c http://d:e@f", "http://(redacted)@c http://(redacted)@f"),
            ("://", "://"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
