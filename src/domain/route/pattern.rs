//! The path of an entry of the route table.

use std::fmt;

use super::target::{Path, stands_for_itself};

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// No `/` at its beginning.
    #[error("path must begin with '/'")]
    Form,
    /// `**` that is not the last segment.
    #[error("'**' stands for all that follows, so it must be the last segment")]
    Rest,
    /// A segment that no request can have, or that mixes a name in braces with other characters.
    #[error(
        "segment '{0}' must be '{{name}}', '**' at the end, or characters that a path may hold as they are"
    )]
    Segment(
        /// The segment.
        String,
    ),
    /// Two captures of one name.
    #[error("the name '{0}' stands twice")]
    Twice(
        /// The name.
        String,
    ),
}

/// A path with captures: `/accounts/{account}/transactions`, `/static/**`.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// This text.
    Literal(String),
    /// Any text but none, under a name.
    Capture(String),
    /// One segment or more, of any text. Only the last.
    Rest,
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let parts: Vec<&str> =
            text.strip_prefix('/').ok_or(InvalidPattern::Form)?.split('/').collect();
        let mut segments = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            let segment = match *part {
                "**" if is_last => Segment::Rest,
                "**" => return Err(InvalidPattern::Rest),
                "" if is_last => Segment::Literal(String::new()),
                part => named(part)
                    .or_else(|| literal(part))
                    .ok_or_else(|| InvalidPattern::Segment(part.to_owned()))?,
            };
            if matches!(segment, Segment::Capture(_)) && segments.contains(&segment) {
                return Err(InvalidPattern::Twice((*part).to_owned()));
            }
            segments.push(segment);
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// The text that the capture of that name holds, for a path that matches.
    pub(super) fn capture<'t>(&self, name: &str, path: &Path<'t>) -> Option<&'t str> {
        let is_it = |segment: &Segment| matches!(segment, Segment::Capture(own) if own == name);
        let index = self.segments.iter().position(is_it)?;
        path.segments().get(index).copied()
    }

    /// Whether there is a capture of that name.
    pub(super) fn captures(&self, name: &str) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Capture(own) if own == name))
    }

    /// Whether the pattern is one for this path.
    pub fn matches(&self, path: &Path<'_>) -> bool {
        let (mut segments, mut parts) = (self.segments.iter(), path.segments().iter());
        loop {
            match (segments.next(), parts.next()) {
                (None, None) => return true,
                (Some(Segment::Rest), Some(_)) => return true,
                (Some(Segment::Literal(text)), Some(part)) if text == part => {}
                (Some(Segment::Capture(_)), Some(part)) if !part.is_empty() => {}
                _ => return false,
            }
        }
    }

    /// Whether some path matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.segments.iter(), other.segments.iter());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(Segment::Rest), Some(_)) | (Some(_), Some(Segment::Rest)) => return true,
                (Some(Segment::Literal(one)), Some(Segment::Literal(another)))
                    if one != another =>
                {
                    return false;
                }
                (Some(Segment::Capture(_)), Some(Segment::Literal(text)))
                | (Some(Segment::Literal(text)), Some(Segment::Capture(_)))
                    if text.is_empty() =>
                {
                    return false;
                }
                _ => {}
            }
        }
    }
}

fn named(part: &str) -> Option<Segment> {
    let name = part.strip_prefix('{')?.strip_suffix('}')?;
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_name.then(|| Segment::Capture(name.to_owned()))
}

fn literal(part: &str) -> Option<Segment> {
    let can_arrive =
        !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(stands_for_itself);
    (can_arrive && part != "*").then(|| Segment::Literal(part.to_owned()))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn matches(text: &str, target: &str) -> bool {
        pattern(text).matches(&Path::of(target).expect("a path"))
    }

    #[test]
    fn a_pattern_matches_what_it_says_and_nothing_else() {
        for (text, yes, no) in [
            ("/", &["/", "/?a"][..], &["/a"][..]),
            ("/v1/a", &["/v1/a"], &["/v1/a/", "/v1", "/v1/A", "/v1/a/b"]),
            ("/v1/a/", &["/v1/a/"], &["/v1/a"]),
            ("/x/{id}", &["/x/1", "/x/a%20b"], &["/x/", "/x", "/x/1/2"]),
            ("/x/{id}/y", &["/x/1/y"], &["/x/1/z", "/x/1"]),
            ("/s/**", &["/s/", "/s/a", "/s/a/b/"], &["/s", "/t/a"]),
        ] {
            for target in yes {
                assert!(matches(text, target), "{text} {target}");
            }
            for target in no {
                assert!(!matches(text, target), "{text} {target}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let says = |text| Pattern::parse(text).expect_err("a bad pattern").to_string();
        assert_eq!(says("v1"), "path must begin with '/'");
        assert!(says("/**/a").contains("must be the last"));
        assert!(says("/{id}/{id}").contains("stands twice"));
        for bad in [
            "//", "/a//b", "/a/..", "/a{id}", "/{ID}", "/{}", "/a;b", "/a%20b", "/*", "/a?b",
            "/\u{e9}",
        ] {
            assert!(says(bad).starts_with("segment"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn patterns_that_match_one_path_overlap(
            one in "(/(a|b|\\{x\\})){1,3}(/\\*\\*|/)?",
            another in "(/(a|b|\\{x\\})){1,3}(/\\*\\*|/)?",
            target in "(/[ab]){1,4}/?",
        ) {
            if let (Ok(one), Ok(another)) = (Pattern::parse(&one), Pattern::parse(&another)) {
                let path = Path::of(&target).expect("a path");
                prop_assert_eq!(one.overlaps(&another), another.overlaps(&one));
                if one.matches(&path) && another.matches(&path) {
                    prop_assert!(one.overlaps(&another), "{} {} {}", one, another, target);
                }
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*", near in "[/a{}*.]{0,12}") {
            let _ = (Pattern::parse(&text), Pattern::parse(&near));
        }
    }
}
