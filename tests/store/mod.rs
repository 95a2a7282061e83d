//! The store, on both databases: each test runs on SQLite and on PostgreSQL and expects the same.

mod bench;
mod changes;
mod check_log;
mod dropped;
mod epochs;
mod faults;
mod filters;
mod following;
mod later_release;
mod load;
mod model;
mod opening;
mod own_way;
mod pages;
mod pooler;
mod recovery;
mod replies;
mod root_keys;
mod seals;
mod silence;
mod wake_ups;
mod writers;
