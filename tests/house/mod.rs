//! The house's own laws: who may use whom, who may name which crate, and where a secret is shown.
//! They are read off the tokens of the source, so comments do not count and macros do.

mod tokens;

use std::collections::BTreeSet;
use std::path::PathBuf;

use tokens::Source;

/// Left may use right. Rooms that are not named here are `cli`, which may use all.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("domain", &[]),
    ("store", &["domain"]),
    ("log", &["domain", "store"]),
    ("verify", &["domain"]),
    ("control", &["domain", "store", "log"]),
    ("tasks", &["domain", "store", "log", "verify", "control"]),
    ("rpc", &["domain", "log", "verify", "control"]),
    ("middleware", &["domain", "verify", "rpc"]),
    ("transport", &["domain"]),
    ("telemetry", &[]),
    ("config", &["domain", "store", "log", "middleware", "rpc", "telemetry", "transport"]),
];

/// Crates that only these rooms may name.
const ONLY_IN: [(&str, &[&str]); 4] = [
    ("sea_orm", &["store"]),
    ("sea_orm_migration", &["store"]),
    ("sqlx", &["store"]),
    ("tonic", &["rpc", "middleware", "transport", "cli"]),
];

/// Crates that the pure room never names.
const NOT_IN_DOMAIN: [&str; 6] = ["tokio", "tonic", "sea_orm", "tracing", "axum", "hyper"];

/// The files in which the plain text of a secret is taken out, and why there.
const SHOWS_A_SECRET: [&str; 7] = [
    // To hash it.
    "src/verify/mod.rs",
    "src/control/create_key.rs",
    "src/control/rotate_key.rs",
    "src/control/bootstrap.rs",
    // To seal the reply that may be asked for again.
    "src/control/remember.rs",
    // To hand it over, once.
    "src/rpc/convert/wait.rs",
    "src/cli/first_credential.rs",
];

fn sources() -> Vec<Source> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = tokens::read_all(&root.join("src"), &root);
    assert!(found.len() > 80, "only {} source files found: is this the right folder?", found.len());
    found
}

#[test]
fn rooms_use_only_the_rooms_that_the_import_law_lets_them() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(room) = source.room() else { continue };
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            assert_eq!(room, "cli", "the room {room} has no place in the import law");
            continue;
        };
        for used in source.rooms_used() {
            if used != room && !allowed.contains(&used.as_str()) {
                broken.push(format!("{} uses {used}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "the import law is broken:\n{}", broken.join("\n"));
}

#[test]
fn middleware_uses_of_rpc_only_its_status_table() {
    let paths =
        sources().into_iter().filter(|source| source.room().as_deref() == Some("middleware"));
    let used: BTreeSet<String> = paths.flat_map(|source| source.items_used_of("rpc")).collect();
    assert_eq!(used, BTreeSet::from(["status".to_owned()]));
}

#[test]
fn crates_are_named_only_where_they_belong() {
    let mut broken = Vec::new();
    for source in sources() {
        let room = source.room().unwrap_or_default();
        for (name, rooms) in ONLY_IN {
            if source.names(name) && !rooms.contains(&room.as_str()) {
                broken.push(format!("{} names {name}", source.path));
            }
        }
        if room == "domain" {
            let impure = NOT_IN_DOMAIN.iter().filter(|name| source.names(name));
            broken.extend(impure.map(|name| format!("{} names {name}", source.path)));
        }
    }
    assert!(broken.is_empty(), "crates are named where they do not belong:\n{}", broken.join("\n"));
}

#[test]
fn a_secret_is_shown_only_where_it_must_be() {
    let shows = sources().into_iter().filter(|source| source.calls("expose"));
    let shows: BTreeSet<String> = shows.map(|source| source.path).collect();
    let expected = SHOWS_A_SECRET.map(str::to_owned).into();
    let unexpected: Vec<_> = shows.difference(&expected).collect();
    let idle: Vec<_> = expected.difference(&shows).collect();
    assert!(unexpected.is_empty(), "these show a secret and are not on the list: {unexpected:?}");
    assert!(idle.is_empty(), "these are on the list and show no secret: {idle:?}");
}

#[test]
fn no_function_on_the_path_of_a_verification_is_async() {
    for source in sources().iter().filter(|source| source.room().as_deref() == Some("verify")) {
        assert!(!source.names("async"), "{} has something async", source.path);
    }
}

#[test]
fn source_files_stay_below_400_lines() {
    let long = sources().into_iter().filter(|source| source.lines > 400);
    let long: Vec<_> = long.map(|source| format!("{} ({})", source.path, source.lines)).collect();
    assert!(long.is_empty(), "rooms with too many things in them: {long:?}");
}

#[test]
fn the_reader_of_tokens_sees_what_it_should() {
    let source = Source::parse(
        "src/log/deep/file.rs",
        "use crate::{store::Store, domain::{Error, Timestamp}};\n\
         /// crate::control is only spoken of\n\
         fn f() { let x = super::super::super::verify::y(); trace!(\"{}\", crate::rpc::status::z); \
         secret.expose(); sea_orm::query(); }",
    );
    assert_eq!(source.room().as_deref(), Some("log"));
    let used: Vec<_> = source.rooms_used().into_iter().collect();
    assert_eq!(used, ["domain", "rpc", "store", "verify"]);
    assert_eq!(source.items_used_of("rpc"), ["status"]);
    assert!(source.calls("expose") && source.names("sea_orm") && !source.names("control"));
}
