//! Secrets of ours that stand where none belongs: in a name, in a comment, in an argument.

use std::ops::Range;

use super::brands::Brands;

/// So many digits of a secret are more than a word that happens to look like its beginning.
const TOO_MANY_DIGITS: usize = 16;

/// Whether a text holds a secret of one of these brands, or a good part of one.
pub fn holds_secret(text: &str, brands: &Brands) -> bool {
    let mut from = 0;
    while let Some(found) = find(text, from) {
        let is_ours = |brand: &str| brands.iter().any(|own| brand.ends_with(own));
        if found.digits.len() >= TOO_MANY_DIGITS && is_ours(&text[found.brand]) {
            return true;
        }
        from = found.digits.end;
    }
    false
}

/// The text without whatever has the form of a secret of any brand.
pub fn without_secrets(text: &str) -> String {
    let (mut shown, mut from) = (String::with_capacity(text.len()), 0);
    while let Some(Found { brand, digits }) = find(text, from) {
        if brand.is_empty() || digits.is_empty() {
            shown.push_str(&text[from..digits.end]);
        } else {
            shown.push_str(&text[from..brand.start]);
            shown.push_str("(a secret)");
        }
        from = digits.end;
    }
    shown.push_str(&text[from..]);
    shown
}

/// What stands on both sides of `s_live_` or `s_test_`.
struct Found {
    /// What may end in a brand.
    brand: Range<usize>,
    digits: Range<usize>,
}

fn find(text: &str, from: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let next = |mark: &str| text[from..].find(mark).map(|at| (from + at, from + at + mark.len()));
    let (start, end) = [next("s_live_"), next("s_test_")].into_iter().flatten().min()?;
    let is_brand = |byte: &&u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let brand = bytes[from..start].iter().rev().take_while(is_brand).count();
    let digits = bytes[end..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    Some(Found { brand: start - brand..start, digits: end..end + digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "css_live_00000000000000000000000000000000000000000000gEBBN";

    #[test]
    fn a_secret_of_ours_is_found_wherever_it_stands() {
        let brands = Brands::new(vec!["acme".to_owned(), "cs".to_owned()]).expect("valid");
        let half = &SECRET[..30];
        for text in
            [SECRET, half, &format!("key: {SECRET}."), &format!("s_live_ s_test_x {SECRET}")]
        {
            assert!(holds_secret(text, &brands), "{text}");
        }
        assert!(holds_secret(&SECRET.replace("css_live", "acmes_test"), &brands));
        for text in ["", "css_live_", "css_live_traffic", "csk_live_5TVkPZAyJPqlmmoJpjLLHs"] {
            assert!(!holds_secret(text, &brands), "{text}");
        }
        assert!(!holds_secret(&SECRET.replace("css", "others"), &brands), "of no brand of ours");
    }

    #[test]
    fn what_looks_like_a_secret_is_not_shown() {
        let pair = format!("'csk_live_5TV.{SECRET}' ä {SECRET}, acmes_test_9");
        assert_eq!(without_secrets(&pair), "'csk_live_5TV.(a secret)' ä (a secret), (a secret)");
        for text in ["", "s_live_9 is no secret", "css_live_…", "css_test_ ss_live_"] {
            assert_eq!(without_secrets(text), text);
        }
    }
}
