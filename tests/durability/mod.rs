//! What was acknowledged stays, and what was not is whole or absent: under kill -9, lost replies,
//! calls given up half-way, and several writers at once.

mod aborted;
mod ended_at_once;
mod kill9;
mod ledger;
mod log;
mod lost_replies;
mod one_server;
pub mod seeded;
mod startup;
mod two_writers;
mod writes;
