//! The credential of a request, from its two headers or from one.

use http::header::AUTHORIZATION;

use super::Settings;
use super::attempt::{Headers, Unreadable};
use crate::domain::credential::{Brands, Presented, from_pair, from_token};

/// What a request presents.
pub(super) struct Credential<'a> {
    /// The credential.
    pub(super) presented: Presented<'a>,
    /// Whether the header of the public half holds both halves, and so is as secret as the other.
    pub(super) in_one_header: bool,
}

/// Reads the credential. What is there twice, or unreadable, is malformed and never half believed.
pub(super) fn read<'a>(
    headers: &Headers<'a>,
    settings: &Settings,
    brands: &Brands,
) -> Credential<'a> {
    let key = headers.only(settings.key_header.as_str());
    let secret = headers.only(settings.secret_header.as_str());
    let key = key.map(|value| value.and_then(|value| of_its_scheme(value, settings)));
    let presented = match (key, secret) {
        (Err(Unreadable), _) | (_, Err(Unreadable)) => Presented::Malformed,
        (Ok(None), _) => Presented::Missing,
        // Gateways join the headers of one name with a comma, which no key id holds.
        (Ok(Some(key)), _) if key.contains(',') => Presented::Malformed,
        (Ok(Some(key)), Ok(Some(secret))) => from_pair(key, secret, brands),
        (Ok(Some(key)), Ok(None)) if key.contains('.') => {
            return Credential { presented: from_token(key, brands), in_one_header: true };
        }
        (Ok(Some(_)), Ok(None)) => Presented::Missing,
    };
    Credential { presented, in_one_header: false }
}

/// What follows `Bearer` in `authorization` (RFC 6750, section 2.1); another scheme is no credential of ours. Any other
/// header holds nothing else.
fn of_its_scheme<'a>(value: &'a str, settings: &Settings) -> Option<&'a str> {
    if settings.key_header != AUTHORIZATION {
        return Some(value.trim_matches(' ')).filter(|value| !value.is_empty());
    }
    let (scheme, credential) = value.split_once(' ')?;
    let credential = credential.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use proptest::prelude::*;

    const ID: &str = "Bearer csk_live_0000000000000000000000";

    fn says(headers: &[(&str, &[u8])], settings: &Settings) -> &'static str {
        let headers: Headers<'_> = headers.iter().copied().collect();
        match read(&headers, settings, &Brands::default()) {
            Credential { presented: Presented::Missing, .. } => "missing",
            Credential { presented: Presented::Malformed, .. } => "malformed",
            Credential { in_one_header: true, .. } => "one",
            Credential { in_one_header: false, .. } => "two",
        }
    }

    #[test]
    fn a_credential_comes_in_two_headers_or_in_one() {
        let settings = Settings::default();
        let (own, secret) = ("authorization", ("X-Secret-Key", &b"elsewhere"[..]));
        let long = vec![b'a'; 64 * 1024];
        let two = format!("{ID},{ID}");
        for (headers, expected) in [
            (&[(own, ID.as_bytes()), secret][..], "two"),
            (&[(own, b"bearer  my.id"), secret], "two"),
            (&[(own, b"BEARER an-id.a-secret")], "one"),
            (&[], "missing"),
            (&[secret], "missing"),
            (&[(own, b""), secret], "missing"),
            (&[(own, b"Bearer "), secret], "missing"),
            (&[(own, b"Basic YTpi"), secret], "missing"),
            (&[(own, ID.as_bytes())], "missing"),
            (&[(own, ID.as_bytes()), ("x-secret-key", b"")], "missing"),
            (&[(own, ID.as_bytes()), (own, ID.as_bytes()), secret], "malformed"),
            (&[(own, ID.as_bytes()), secret, secret], "malformed"),
            (&[(own, two.as_bytes()), secret], "malformed"),
            (&[(own, "Bearer \u{fc}".as_bytes()), secret], "malformed"),
            (&[(own, b"Bearer \xff"), secret], "malformed"),
            (&[(own, ID.as_bytes()), ("x-secret-key", &long)], "malformed"),
            (&[(own, b"Bearer an-id.a-secret"), ("x-secret-key", b"css_live_x")], "malformed"),
        ] {
            assert_eq!(says(headers, &settings), expected, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(key: Vec<u8>, secret: Vec<u8>, near in "[Bb]earer [a-z_., ]{0,20}") {
            let settings = Settings::default();
            says(&[("authorization", &key), ("x-secret-key", &secret)], &settings);
            says(&[("authorization", near.as_bytes()), ("x-secret-key", &secret)], &settings);
            says(&[("authorization", near.as_bytes())], &settings);
        }
    }

    #[test]
    fn headers_of_other_names_hold_the_bare_halves() {
        let settings = Settings {
            key_header: HeaderName::from_static("x-api-key"),
            secret_header: HeaderName::from_static("x-api-secret"),
            ..Settings::default()
        };
        assert_eq!(says(&[("x-api-key", b"an-id"), ("x-api-secret", b"s")], &settings), "two");
        assert_eq!(says(&[("x-api-key", b"an-id.s")], &settings), "one");
        assert_eq!(
            says(&[("authorization", ID.as_bytes()), ("x-secret-key", b"s")], &settings),
            "missing"
        );
        assert_eq!(
            says(&[("x-api-key", ID.as_bytes()), ("x-api-secret", b"s")], &settings),
            "malformed"
        );
    }
}
