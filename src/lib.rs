//! Countersign issues API keys and verifies them.
//!
//! The rooms of this house, and who may use whom (a test enforces it; `ARCHITECTURE.md` says why):
//!
//! | room | what it is for | uses |
//! |---|---|---|
//! | [`domain`] | the rules, pure | nothing |
//! | [`store`] | the two databases and the one transaction shape | `domain` |
//! | [`log`] | the one follower of the log, and its subscribers | `domain`, `store` |
//! | [`verify`] | the index in memory and the straight line of a verification | `domain` |
//! | [`control`] | one file per admin verb, each taking a principal | `domain`, `store`, `log` |
//! | [`tasks`] | one file per background loop | `domain`, `store`, `log`, `verify`, `control` |
//! | [`rpc`] | the contract's generated code, conversions, and the services | `domain`, `log`, `verify`, `control` |
//! | [`middleware`] | what every request passes | `domain`, `verify`, `rpc::status` |
//! | [`transport`] | sockets, runtimes, shutdown | `domain` |
//! | [`telemetry`] | what the operators see | nothing |
//! | [`config`] | flags, environment and file | the rooms' `Settings` |
//! | [`cli`] | the commands; `serve` composes everything | all |

pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
pub mod log;
pub mod middleware;
pub mod rpc;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod transport;
pub mod verify;
