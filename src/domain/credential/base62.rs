//! Base62 of fixed width: digits `0-9A-Za-z` in this order of value, most significant first, padded
//! with zeros. A value above the range of its type is refused, never wrapped.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The largest number of 128 bits, as digits.
const MAX_128: [u8; 22] = encode([0xff; 16]);
/// The largest number of 256 bits, as digits.
const MAX_256: [u8; 43] = encode([0xff; 32]);

/// 22 digits of a big-endian 128-bit number.
pub(super) fn encode_128(number: [u8; 16]) -> [u8; 22] {
    encode(number)
}

/// 43 digits of a big-endian 256-bit number.
pub(super) fn encode_256(number: [u8; 32]) -> [u8; 43] {
    encode(number)
}

/// 6 digits of a 32-bit number. By itself, since every presented secret is held against its checksum.
pub(super) fn encode_32(mut number: u32) -> [u8; 6] {
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[number as usize % 62];
        number /= 62;
    }
    digits
}

/// Whether these are the digits of a number of 128 bits.
pub(super) fn is_128(digits: &[u8]) -> bool {
    is_at_most(digits, &MAX_128)
}

/// Whether these are the digits of a number of 256 bits.
pub(super) fn is_256(digits: &[u8]) -> bool {
    is_at_most(digits, &MAX_256)
}

/// The digits stand in ASCII order, so that texts of one width compare as the numbers do, and a
/// range is checked without decoding. All of them are looked at, which takes a few steps for sixteen at a time;
/// stopping at the first that is none would take one step for each.
fn is_at_most(digits: &[u8], max: &[u8]) -> bool {
    let are_digits = || digits.iter().fold(true, |all, digit| all & digit.is_ascii_alphanumeric());
    digits.len() == max.len() && are_digits() && digits <= max
}

/// Long division, a byte at a time; every caller's `N` digits hold its `B` bytes. The number is all
/// zeros at the end, so no copy of it stays behind.
const fn encode<const B: usize, const N: usize>(mut number: [u8; B]) -> [u8; N] {
    let mut digits = [b'0'; N];
    let mut at = N;
    while at > 0 {
        at -= 1;
        let mut remainder = 0;
        let mut i = 0;
        while i < B {
            let part = (remainder << 8) | number[i] as usize;
            number[i] = (part / 62) as u8;
            remainder = part % 62;
            i += 1;
        }
        digits[at] = DIGITS[remainder];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The number that digits stand for, by the obvious method, with 32 bits of room above 256.
    fn decode(digits: &[u8]) -> [u8; 36] {
        let mut number = [0_u8; 36];
        for digit in digits {
            let mut carry = DIGITS.iter().position(|d| d == digit).expect("a digit");
            for byte in number.iter_mut().rev() {
                carry += usize::from(*byte) * 62;
                *byte = u8::try_from(carry % 256).expect("below 256");
                carry /= 256;
            }
            assert_eq!(carry, 0, "overflow of the reference");
        }
        number
    }

    /// The digits of `max` plus one.
    fn successor(max: &[u8]) -> Vec<u8> {
        let mut digits = max.to_vec();
        for digit in digits.iter_mut().rev() {
            let value = DIGITS.iter().position(|d| d == digit).expect("a digit");
            *digit = DIGITS[(value + 1) % 62];
            if value < 61 {
                break;
            }
        }
        digits
    }

    #[test]
    fn known_vectors() {
        // Computed with Python's unlimited integers.
        assert_eq!(&encode_32(u32::MAX), b"4gfFC3");
        assert_eq!(&encode_32(61), b"00000z");
        assert_eq!(&encode_32(62), b"000010");
        assert_eq!(&MAX_128, b"7n42DGM5Tflk9n8mt7Fhc7");
        assert_eq!(&MAX_256, b"yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
    }

    #[test]
    fn the_range_ends_exactly_at_the_largest_number() {
        assert!(is_128(&MAX_128) && !is_128(&successor(&MAX_128)) && !is_128(&[b'z'; 22]));
        assert!(is_256(&MAX_256) && !is_256(&successor(&MAX_256)) && !is_256(&[b'z'; 43]));
    }

    #[test]
    fn other_bytes_and_other_widths_are_refused() {
        for byte in (0..=255).filter(|byte| !DIGITS.contains(byte)) {
            let mut digits = [b'0'; 22];
            digits[11] = byte;
            assert!(!is_128(&digits), "byte {byte} passed as a digit");
        }
        assert!(
            !is_128(b"") && !is_128(&[b'0'; 21]) && !is_128(&[b'0'; 23]) && !is_256(&[b'0'; 42])
        );
    }

    proptest! {
        #[test]
        fn digits_stand_for_their_number(number: [u8; 32], half: [u8; 16], short: u32) {
            prop_assert_eq!(&decode(&encode_256(number))[4..], &number[..]);
            prop_assert_eq!(&decode(&encode_128(half))[20..], &half[..]);
            prop_assert_eq!(&decode(&encode_32(short))[32..], &short.to_be_bytes()[..]);
            prop_assert!(is_256(&encode_256(number)) && is_128(&encode_128(half)));
        }

        #[test]
        fn the_range_check_agrees_with_arithmetic(digits in "[0-9A-Za-z]{43}", short in "[0-9A-Za-z]{22}") {
            prop_assert_eq!(is_256(digits.as_bytes()), decode(digits.as_bytes())[..4] == [0; 4]);
            prop_assert_eq!(is_128(short.as_bytes()), decode(short.as_bytes())[..20] == [0; 20]);
        }
    }
}
