//! The tables, as SeaORM sees them. They leave this room only as types of the domain.
//!
//! Times are microseconds since the Unix epoch. A revision fits 63 bits: a log of a million changes a second would
//! take 292,000 years to need more.

#![expect(
    unreachable_pub,
    reason = "SeaORM's derives want public types; this module is private to the store"
)]

pub mod audit_event;
pub mod data_key;
pub mod epoch;
pub mod key;
pub mod key_label;
pub mod key_scope;
pub mod key_secret;
pub mod replica;
pub mod reply;
pub mod store;
pub mod tombstone;
pub mod tree_hash;
