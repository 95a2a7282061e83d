//! Reading the headers that say who calls. A complaint never repeats anything of them.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use crate::domain::Error;
use crate::domain::credential::{Brands, Presented, from_pair, from_token};

/// The header of the private half.
pub(super) const SECRET_KEY: HeaderName = HeaderName::from_static("x-secret-key");

/// Most bytes of the `user-agent` header that are kept.
const MAX_USER_AGENT: usize = 256;

/// The credential in the two headers, or in the one; `None` if there is neither.
pub(super) fn presented<'h>(
    headers: &'h HeaderMap,
    brands: &Brands,
) -> Result<Option<Presented<'h>>, Error> {
    let authorization = only(
        headers,
        &AUTHORIZATION,
        "more than one authorization header",
        MALFORMED_AUTHORIZATION,
    )?;
    let secret = only(
        headers,
        &SECRET_KEY,
        "more than one x-secret-key header",
        "the x-secret-key header holds characters that no secret has",
    )?;
    let presented = match (authorization, secret) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            return Err(Error::Unauthenticated("the authorization header is missing"));
        }
        (Some(authorization), secret) => {
            let credential =
                bearer(authorization).ok_or(Error::Unauthenticated(MALFORMED_AUTHORIZATION))?;
            match secret {
                // A second secret behind the key id's dot makes the id malformed, so it is noticed.
                Some(secret) => from_pair(credential, secret, brands),
                None if credential.contains('.') => from_token(credential, brands),
                None => return Err(Error::Unauthenticated(MISSING_SECRET)),
            }
        }
    };
    match presented {
        Presented::Missing => Err(Error::Unauthenticated("half of the credential is empty")),
        Presented::Malformed => Err(Error::Unauthenticated("the credential is malformed")),
        Presented::Credential { .. } => Ok(Some(presented)),
    }
}

const MALFORMED_AUTHORIZATION: &str =
    "the authorization header must be 'Bearer <key id>' or 'Bearer <key id>.<secret>'";
const MISSING_SECRET: &str =
    "the x-secret-key header is missing, and the authorization header holds no '.' before a secret";

/// The one value of a header, if it is there.
fn only<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    repeated: &'static str,
    unprintable: &'static str,
) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::Unauthenticated(repeated));
    }
    value.to_str().map(Some).map_err(|_| Error::Unauthenticated(unprintable))
}

/// What follows the scheme, whose letters may be of either case (RFC 9110, section 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, credential) = authorization.split_once(' ')?;
    let credential = credential.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}

/// The beginning of the `user-agent` header. gRPC libraries put their name and version there.
pub(super) fn user_agent(headers: &HeaderMap) -> String {
    let Some(value) = headers.get(http::header::USER_AGENT) else { return String::new() };
    let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    text.truncate(text.floor_char_boundary(MAX_USER_AGENT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::{mint_key_id, mint_secret};
    use crate::domain::ids::Environment;
    use http::HeaderValue;

    fn minted() -> (String, String) {
        let brands = Brands::default();
        let key_id = mint_key_id(&brands, Environment::Live, [1; 16]);
        let secret = mint_secret(&brands, Environment::Live, [2; 32]);
        (key_id.to_string(), secret.expose().to_owned())
    }

    /// What is said about these headers: the key id that was read, "nobody", or the complaint.
    fn says(pairs: &[(&'static str, &[u8])]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a header's value"));
        }
        match presented(&headers, &Brands::default()) {
            Ok(Some(Presented::Credential { key_id, .. })) => key_id.to_owned(),
            Ok(Some(other)) => panic!("{other:?} got through"),
            Ok(None) => "nobody".to_owned(),
            Err(error) => {
                let complaint = error.to_string();
                for (_, value) in pairs.iter().filter(|(_, value)| value.len() > 12) {
                    assert!(!complaint.contains(&*String::from_utf8_lossy(value)), "{complaint}");
                }
                assert!(!complaint.contains("cs"), "{complaint} repeats the input");
                complaint
            }
        }
    }

    #[test]
    fn a_credential_comes_in_two_headers_or_in_one() {
        let (key_id, secret) = minted();
        for scheme in ["Bearer", "bearer", "BEARER", "Bearer "] {
            let id = format!("{scheme} {key_id}");
            assert_eq!(
                says(&[("authorization", id.as_bytes()), ("x-secret-key", secret.as_bytes())]),
                key_id
            );
            let whole = format!("{scheme} {key_id}.{secret}");
            assert_eq!(says(&[("authorization", whole.as_bytes())]), key_id);
        }
        assert_eq!(says(&[("user-agent", b"curl")]), "nobody");
    }

    #[test]
    fn two_headers_of_one_name_are_refused() {
        let (key_id, secret) = minted();
        let (id, secret) = (format!("Bearer {key_id}"), secret.as_bytes());
        let id = id.as_bytes();
        let twice = says(&[("authorization", id), ("authorization", id), ("x-secret-key", secret)]);
        assert_eq!(twice, "unauthenticated: more than one authorization header");
        let twice =
            says(&[("authorization", id), ("x-secret-key", secret), ("x-secret-key", secret)]);
        assert_eq!(twice, "unauthenticated: more than one x-secret-key header");
    }

    #[test]
    fn half_a_credential_is_missing_the_other() {
        let (key_id, secret) = minted();
        let id = format!("Bearer {key_id}");
        assert!(
            says(&[("authorization", id.as_bytes())]).contains("x-secret-key header is missing")
        );
        assert!(
            says(&[("x-secret-key", secret.as_bytes())])
                .contains("authorization header is missing")
        );
        assert!(
            says(&[("authorization", id.as_bytes()), ("x-secret-key", b"")])
                .contains("half of the")
        );
        let dot = format!("{id}.");
        assert!(says(&[("authorization", dot.as_bytes())]).contains("half of the"));
    }

    #[test]
    fn what_is_no_bearer_credential_is_malformed() {
        let (key_id, secret) = minted();
        let basic = format!("Basic {key_id}.{secret}");
        let bare = format!("{key_id}.{secret}");
        let two = format!("Bearer {key_id}.{secret}, Bearer {key_id}.{secret}");
        for bad in
            [basic.as_bytes(), bare.as_bytes(), b"", b"Bearer", b"Bearer ", "Bearer ü".as_bytes()]
        {
            assert!(says(&[("authorization", bad)]).contains("must be 'Bearer"), "{bad:?}");
        }
        assert!(says(&[("authorization", two.as_bytes())]).contains("is malformed"));
    }

    #[test]
    fn a_secret_in_both_places_is_malformed() {
        let (key_id, secret) = minted();
        let whole = format!("Bearer {key_id}.{secret}");
        let both = [("authorization", whole.as_bytes()), ("x-secret-key", secret.as_bytes())];
        assert!(says(&both).contains("is malformed"));
        let id = format!("Bearer {key_id}");
        let unprintable = [("authorization", id.as_bytes()), ("x-secret-key", "ü".as_bytes())];
        assert!(says(&unprintable).contains("characters that no secret has"));
    }

    #[test]
    fn a_user_agent_is_cut_between_characters() {
        let agent = |value: &str| {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header's value");
            user_agent(&HeaderMap::from_iter([(http::header::USER_AGENT, value)]))
        };
        assert_eq!(agent("grpc-go/1.80"), "grpc-go/1.80");
        let long = format!("a{}", "ü".repeat(200));
        assert_eq!(agent(&long), format!("a{}", "ü".repeat(127)));
        assert_eq!(user_agent(&HeaderMap::new()), "");
    }
}
