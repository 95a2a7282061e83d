//! Between the messages on the wire and the words of the domain.
//!
//! In: a message as it was sent. Out: what `control` or `verify` takes, or every violation found. Only
//! what a message can say and a domain type can't is checked here (numbers of enums, ranges of times,
//! masks, output-only fields); the domain checks the rest. And back, where nothing can fail.

mod admin;
mod event;
mod key;
mod mask;
mod time;
mod verify;
mod wait;

pub(super) use key::number as secret_number;
pub(super) use time::{duration_to_proto, to_proto as time_to_proto};
pub(super) use verify::{Asked, presented};
pub(super) use wait::{Change, Settled};
