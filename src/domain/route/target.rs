//! The target of a request (RFC 9112, section 3.2), read only where all readers agree.
//!
//! A gateway, this service and the server behind them each take the path apart by themselves. Where they would not see
//! the same one (`//`, `..`, `%2e`, `%2f`, `;`, `\`), a caller would be allowed one thing and get another. Nothing is
//! normalised here: such a target is refused.

/// The longest path that is read, in bytes. Servers take 8 KiB of a request's first line by default.
pub const MAX_PATH: usize = 8 * 1024;

/// Why a target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// It does not begin with `/`: an authority, a whole URL, or `*`.
    #[error("the path must begin with '/'")]
    Form,
    /// It is longer than [`MAX_PATH`].
    #[error("the path is longer than {MAX_PATH} bytes")]
    Length,
    /// A segment that some readers drop: empty (unless it is the last), `.` or `..`.
    #[error("the path has a segment that is empty, '.' or '..'")]
    Segment,
    /// A character that has no place in a path, or that some readers take for its end.
    #[error("the path has a character that some servers read as another, or as its end")]
    Character,
    /// A percent-encoded character that could have been written as it is, or that separates once it is decoded.
    #[error("the path has a percent-encoded character that some servers decode and others don't")]
    Encoding,
}

/// The path of a target, as every reader sees it. The query is left aside: no route is decided on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'t> {
    segments: Vec<&'t str>,
}

impl<'t> Path<'t> {
    /// Reads the path of a target.
    pub fn of(target: &'t str) -> Result<Self, Ambiguous> {
        let path = target.split('?').next().unwrap_or_default();
        let rest = path.strip_prefix('/').ok_or(Ambiguous::Form)?;
        if path.len() > MAX_PATH {
            return Err(Ambiguous::Length);
        }
        let segments: Vec<&str> = rest.split('/').collect();
        let last = segments.len() - 1;
        for (index, segment) in segments.iter().enumerate() {
            if matches!(*segment, "." | "..") || (segment.is_empty() && index != last) {
                return Err(Ambiguous::Segment);
            }
            check(segment)?;
        }
        Ok(Self { segments })
    }

    /// What stands between the slashes. The last is empty if the path ends with one.
    pub fn segments(&self) -> &[&'t str] {
        &self.segments
    }
}

/// Whether a byte stands in a path for itself: RFC 3986's `pchar` without `%`, and without `;`, from which on some
/// servers see parameters.
pub(super) fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

fn check(segment: &str) -> Result<(), Ambiguous> {
    if segment.bytes().all(stands_for_itself) {
        return Ok(());
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digits = bytes.next().zip(bytes.next()).ok_or(Ambiguous::Encoding)?;
                encoded(digits).ok_or(Ambiguous::Encoding)?
            }
            byte if stands_for_itself(byte) => byte,
            _ => return Err(Ambiguous::Character),
        };
        decoded.push(byte);
    }
    // Overlong forms decode to what they hide only with careless readers.
    std::str::from_utf8(&decoded).map(drop).map_err(|_| Ambiguous::Encoding)
}

/// The byte behind a `%`, if it can be written in no other way and separates nothing: a space, a letter beyond ASCII.
fn encoded((high, low): (u8, u8)) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    let has_a_plain_form = stands_for_itself(byte);
    let separates = byte.is_ascii_control() || b"/\\?#%;[]".contains(&byte);
    (!has_a_plain_form && !separates).then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_its_segments() {
        for (target, segments) in [
            ("/", &[""][..]),
            ("/v1/transactions", &["v1", "transactions"]),
            ("/v1/transactions/", &["v1", "transactions", ""]),
            ("/v1?a=/../b;c#", &["v1"]),
            ("/a:b@c/~d!$&'()*+,=", &["a:b@c", "~d!$&'()*+,="]),
            ("/caf%C3%A9/a%20b", &["caf%C3%A9", "a%20b"]),
            ("/...", &["..."]),
        ] {
            assert_eq!(Path::of(target).as_ref().map(Path::segments), Ok(segments), "{target}");
        }
    }

    #[test]
    fn what_two_readers_may_read_differently_is_refused() {
        use Ambiguous::{Character, Encoding, Form, Segment};
        for (target, why) in [
            ("", Form),
            ("*", Form),
            ("v1", Form),
            ("http://a/v1", Form),
            ("//v1", Segment),
            ("/v1//a", Segment),
            ("/v1/a//", Segment),
            ("/v1/../a", Segment),
            ("/v1/./a", Segment),
            ("/v1/..", Segment),
            ("/v1/%2e%2e/a", Encoding),
            ("/v1/.%2E/a", Encoding),
            ("/v1%2fa", Encoding),
            ("/v1%5ca", Encoding),
            ("/v1/%61", Encoding),
            ("/v1/a%3Ab", Encoding),
            ("/v1/a%3bb", Encoding),
            ("/v1/a%00", Encoding),
            ("/v1/a%0d%0a", Encoding),
            ("/v1/%252e", Encoding),
            ("/v1/a%3fb", Encoding),
            ("/v1/%c0%ae", Encoding),
            ("/v1/%e9", Encoding),
            ("/v1/%", Encoding),
            ("/v1/%2", Encoding),
            ("/v1/%zz", Encoding),
            ("/v1/%+1", Encoding),
            ("/v1/a;b=c", Character),
            ("/v1\\a", Character),
            ("/v1#a", Character),
            ("/v1/a b", Character),
            ("/v1/caf\u{e9}", Character),
            ("/v1/a\0", Character),
            ("/v1/[a]", Character),
        ] {
            assert_eq!(Path::of(target), Err(why), "{target:?}");
        }
        assert_eq!(Path::of(&format!("/{}", "a".repeat(MAX_PATH))), Err(Ambiguous::Length));
    }

    /// What a careless server would make of a path: decoded twice, cut at `;`, slashes merged, dots resolved.
    fn careless(path: &str) -> Vec<String> {
        let decode = |text: &str| {
            let (mut out, bytes, mut at) = (Vec::new(), text.as_bytes(), 0);
            while at < bytes.len() {
                let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => (out.push(byte), at += 3).1,
                    None => (out.push(bytes[at]), at += 1).1,
                }
            }
            String::from_utf8_lossy(&out).into_owned()
        };
        let text = decode(&decode(path)).replace('\\', "/");
        let mut segments: Vec<String> = Vec::new();
        for segment in text.split('/').map(|segment| segment.split(';').next().unwrap_or("")) {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                _ => segments.push(segment.to_owned()),
            }
        }
        segments
    }

    proptest! {
        #[test]
        fn a_careless_server_sees_as_many_segments(near in "/[a./%;\\\\2eEfFc0]{0,12}", text in ".*") {
            let _ = Path::of(&text);
            if let Ok(path) = Path::of(&near) {
                let ours: Vec<&str> = path.segments().iter().copied().filter(|one| !one.is_empty()).collect();
                let theirs = careless(&near);
                prop_assert_eq!(ours.len(), theirs.len(), "{}", near);
                for (ours, theirs) in ours.iter().zip(theirs) {
                    prop_assert!(ours.contains('%') || *ours == theirs, "{}", near);
                }
            }
        }
    }
}
