//! The note of how far a replica has come: it can't be passed over, and is closed to others.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{refuses, serve, served_before};
use crate::harness::Program;
use crate::on_both_databases;

/// Without what a server warns of on PostgreSQL.
fn quietly(program: Program) -> Program {
    program.env("COUNTERSIGN_LOG", "error")
}

on_both_databases! {
    async fn a_high_water_mark_that_cannot_be_read_is_named_with_what_to_do(db: Database) {
        let store = served_before(db).await;
        let mark = store.data_dir.join("high-water.json");
        let mode = fs::metadata(&mark).expect("it was kept").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{mode:o}");
        let path = mark.display().to_string();
        let good = fs::read_to_string(&mark).expect("it is text");
        for bad in ["", "junk", &good[..good.len() / 2]] {
            fs::write(&mark, bad).expect("our own file");
            refuses(quietly(serve(&store)), &[&path, "can't be read", "remove it"]);
        }
        fs::remove_file(&mark).expect("our own file");
        fs::create_dir(&mark).expect("our own folder");
        refuses(quietly(serve(&store)), &[&path, "can't be read", "remove it"]);
    }
}
