//! When something new comes into use: not before every live replica can read it.
//!
//! ```text
//!  replica A   root keys 1 2  ─┐
//!  replica B   root keys 1    ─┴─►  sealed with 1
//!  replica B   is updated: 1 2 ──►  from now on with 2, and the store notes that
//! ```
//!
//! Who writes looks at the rows in the transaction that writes. A replica that comes later holds the version that the
//! store notes, or is refused: when it starts, and, since it may have stood still meanwhile, with every poll.

/// The newest version of the root key that a writer holds and that every live replica holds too. `own` in ascending
/// order; `None` if there is no such version.
pub fn agreed_root_key<'r>(
    own: &[u32],
    replicas: impl IntoIterator<Item = &'r [u32]>,
) -> Option<u32> {
    let mut common: Vec<u32> = own.to_vec();
    for versions in replicas {
        common.retain(|version| versions.contains(version));
    }
    common.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_key_is_used_once_all_have_it() {
        let agreed = |own: &[u32], rows: &[&[u32]]| agreed_root_key(own, rows.iter().copied());
        assert_eq!(agreed(&[1, 2], &[]), Some(2), "nobody else is there");
        assert_eq!(agreed(&[1, 2], &[&[1, 2], &[1]]), Some(1), "one has only the older");
        assert_eq!(agreed(&[1, 2], &[&[1, 2], &[2, 3]]), Some(2));
        assert_eq!(agreed(&[1], &[&[1, 2], &[1, 2]]), Some(1), "what the writer does not have");
        assert_eq!(agreed(&[1, 2, 5], &[&[1, 2, 4, 5], &[1, 2, 4]]), Some(2));
        assert_eq!(agreed(&[2], &[&[1]]), None);
        assert_eq!(agreed(&[1, 2], &[&[]]), None, "a row that says nothing");
    }
}
