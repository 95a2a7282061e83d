//! A request that wants through, as a gateway tells of it.

use std::net::IpAddr;

use crate::domain::route::Demand;

/// Headers by which a client tells some servers another method or path than the request has. A gateway routes by one
/// of the two, the server behind it serves the other.
pub const SAY_ANOTHER_REQUEST: [&str; 5] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// A request that wants through.
pub(super) struct Attempt<'a> {
    /// The method, as it was sent.
    pub(super) method: &'a str,
    /// Path and query, as they were sent.
    pub(super) target: &'a str,
    /// All headers that the gateway told.
    pub(super) headers: Headers<'a>,
    /// Where the request comes from, if that is known.
    pub(super) client: Option<IpAddr>,
    /// What the gateway itself says that its route needs.
    pub(super) said: Said,
}

/// What a gateway says of its route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// What the route needs.
    pub(super) demand: Demand,
    /// Whether the scopes are said, be there none. A route that is silent about them is none that is known.
    pub(super) names_scopes: bool,
}

/// Headers by name and value, in their order. Gateways that join several of one name put commas between them.
pub(super) struct Headers<'a>(Vec<(&'a str, &'a [u8])>);

/// A header that stands there twice, or holds what no text of ours does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl<'a> Headers<'a> {
    /// The one value of a header, if it is there.
    pub(super) fn only(&self, name: &str) -> Result<Option<&'a str>, Unreadable> {
        let mut values = self.values(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() || !value.is_ascii() {
            return Err(Unreadable);
        }
        std::str::from_utf8(value).map(Some).map_err(|_| Unreadable)
    }

    /// All values of a header, in their order.
    pub(super) fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let is_it = move |(own, value): &(&'a str, &'a [u8])| {
            own.eq_ignore_ascii_case(name).then_some(*value)
        };
        self.0.iter().filter_map(is_it)
    }

    /// The names of all headers.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(name, _)| *name)
    }

    /// Whether one of them has a server take the request for another.
    pub(super) fn say_another_request(&self) -> bool {
        let is_one = |name: &str| {
            let mut bad = SAY_ANOTHER_REQUEST.iter();
            bad.any(|bad| name.len() == bad.len() && begins_as(name, bad))
        };
        self.names().any(is_one)
    }
}

/// Whether servers behind CGI and its like may read a header's name as one that begins so. They make variables of names
/// (`HTTP_X_COUNTERSIGN_ACCOUNT`), so letters have no case, and some put `_` for every byte that a variable can't have:
/// `-`, `_` and `.`, but also `!` or `~`.
pub(super) fn begins_as(name: &str, beginning: &str) -> bool {
    let read = |byte: u8| {
        if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
    };
    name.len() >= beginning.len()
        && name.bytes().zip(beginning.bytes()).all(|(one, other)| read(one) == other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_read_if_there_is_one_of_it() {
        let headers: Headers<'_> =
            [("A", &b"1"[..]), ("b", b"2"), ("B", b"3"), ("c", "\u{e4}".as_bytes())]
                .into_iter()
                .collect();
        assert_eq!(headers.only("a"), Ok(Some("1")));
        assert_eq!(headers.only("b"), Err(Unreadable));
        assert_eq!(headers.only("c"), Err(Unreadable));
        assert_eq!(headers.only("d"), Ok(None));
        assert!(!headers.say_another_request());
    }

    #[test]
    fn headers_that_say_another_request_are_noticed_however_they_are_spelt() {
        for name in SAY_ANOTHER_REQUEST.into_iter().chain(["X_HTTP_Method_Override"]) {
            assert!(says_another_request(name), "{name}");
            assert!(says_another_request(&name.replace('-', ".")), "{name}");
            assert!(!says_another_request(&format!("{name}-2")), "{name}");
        }
    }

    fn says_another_request(name: &str) -> bool {
        let headers: Headers<'_> = [(name, &b"DELETE"[..])].into_iter().collect();
        headers.say_another_request()
    }

    /// What CGI makes of a header's name (RFC 3875, section 4.1.18), done as Apache does it.
    fn variable(name: &str) -> String {
        let byte = |byte: char| if byte.is_ascii_alphanumeric() { byte } else { '_' };
        name.to_ascii_uppercase().chars().map(byte).collect()
    }

    proptest! {
        /// Over all bytes that a header's name may hold (RFC 9110, section 5.6.2).
        #[test]
        fn names_that_become_one_variable_are_one(
            name in "[xX][!#$%&'*+.^_`|~-][cC][oO][!#$%&'*+.^_`|~0-9A-Za-z-]{0,3}",
            marks in "[!#$%&'*+.^_`|~-]{5}",
        ) {
            for beginning in ["x-co", "x-co-a"] {
                let is_one = variable(&name).starts_with(&variable(beginning));
                prop_assert_eq!(begins_as(&name, beginning), is_one, "{} {}", name, beginning);
            }
            for known in SAY_ANOTHER_REQUEST {
                let mut marks = marks.chars().cycle();
                let mut spelt = |letter| if letter == '-' { marks.next().expect("a mark") } else { letter };
                let name: String = known.chars().map(&mut spelt).collect();
                prop_assert!(says_another_request(&name), "{}", name);
            }
        }
    }
}
