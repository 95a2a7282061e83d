//! The RFC 6962 Merkle tree over the events, in the storage layout of transparency logs: every hash
//! of a completed subtree is stored once, at a position that never changes, and never rewritten.
//!
//! The event of revision `r` is leaf `r - 1`.

use std::collections::HashMap;

use tlog_tiles::tlog;

/// A hash of the tree.
pub type TreeHash = [u8; 32];

/// Hashes of the tree are missing from the store or do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored tree lacks a hash that it must have")]
pub struct IncompleteTree;

/// RFC 6962, section 2.1: SHA-256(0x00 ‖ data).
pub fn leaf_hash(data: &[u8]) -> TreeHash {
    tlog::record_hash(data).0
}

/// Positions of the stored hashes that appending leaf `index` (from 0) needs.
pub fn needed_to_append(index: u64) -> Vec<u64> {
    let completed = (index + 1).trailing_zeros();
    (0..completed)
        .map(|level| {
            tlog::stored_hash_index(u8::try_from(level).unwrap_or(u8::MAX), (index >> level) - 1)
        })
        .collect()
}

/// The hashes that leaf `index` completes, with their positions: the leaf first, then each subtree.
/// `stored` holds at least what [`needed_to_append`] names.
pub fn append(
    index: u64,
    leaf: TreeHash,
    stored: &HashMap<u64, TreeHash>,
) -> Result<Vec<(u64, TreeHash)>, IncompleteTree> {
    let hashes = tlog::stored_hashes_for_record_hash(index, tlog::Hash(leaf), &Reader(stored))
        .map_err(|_| IncompleteTree)?;
    let first = tlog::stored_hash_index(0, index);
    Ok((first..).zip(hashes.into_iter().map(|hash| hash.0)).collect())
}

/// How many hashes a tree of `size` leaves has stored, at positions 0 to that number.
pub fn stored_count(size: u64) -> u64 {
    tlog::stored_hash_count(size)
}

/// Positions of the stored hashes that the root of a tree of `size` leaves needs.
pub fn needed_for_root(size: u64) -> Vec<u64> {
    if size == 0 { Vec::new() } else { tlog::sub_tree_index(0, size, Vec::new()) }
}

/// The root of a tree of `size` leaves: SHA-256 of nothing for the empty one.
pub fn root(size: u64, stored: &HashMap<u64, TreeHash>) -> Result<TreeHash, IncompleteTree> {
    tlog::tree_hash(size, &Reader(stored)).map(|hash| hash.0).map_err(|_| IncompleteTree)
}

struct Reader<'a>(&'a HashMap<u64, TreeHash>);

impl tlog::HashReader for Reader<'_> {
    fn read_hashes(&self, positions: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        let read = |position: &u64| self.0.get(position).map(|hash| tlog::Hash(*hash));
        positions.iter().map(read).collect::<Option<_>>().ok_or(tlog::Error::MalformedHash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves and roots of the test tree that certificate transparency implementations share
    /// (RFC 6962's reference implementation, `merkle_tree_test.cc`).
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
            .collect()
    }

    #[test]
    fn the_known_test_vectors_come_out_leaf_by_leaf() {
        let mut stored = HashMap::new();
        for (index, leaf) in LEAVES.iter().enumerate() {
            let size = index as u64;
            assert_eq!(root(size, &stored).expect("complete").to_vec(), hex(ROOTS[index]));
            let needed = needed_to_append(size);
            let only_needed = stored.iter().filter(|(at, _)| needed.contains(at));
            let only_needed = only_needed.map(|(at, hash)| (*at, *hash)).collect();
            stored.extend(append(size, leaf_hash(&hex(leaf)), &only_needed).expect("complete"));
            assert_eq!(stored.len() as u64, stored_count(size + 1));
        }
        assert_eq!(root(8, &stored).expect("complete").to_vec(), hex(ROOTS[8]));
    }

    #[test]
    fn a_missing_hash_is_an_error_and_no_panic() {
        assert_eq!(append(1, [0; 32], &HashMap::new()), Err(IncompleteTree));
        assert_eq!(root(3, &HashMap::new()), Err(IncompleteTree));
    }
}
