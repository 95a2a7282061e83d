//! Each RPC against the real server, one file each: what it does, and what it says to bad input. A
//! test in `permissions` finds an RPC that has no file here.

mod admin_listen;
mod callers;
mod check;
mod create_key;
mod delete_key;
mod disable_key;
mod enable_key;
mod expire_secret;
mod get_key;
mod list_audit_events;
mod list_keys;
mod list_replicas;
mod revoke_key;
mod rotate_key;
mod update_key;
mod verify;
mod verify_credentials;
mod waiting;
mod watch_audit_events;

pub mod at_least;
pub mod batch_verify;
pub mod refusal;
pub mod verbs;
pub mod watchers;
pub mod watching;
