//! A service in another language: Python with grpcio and stubs made from `proto/`, as the README tells
//! it. What it demands stands in `client.py`, beside this file.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use countersign::domain::tree;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::Value;

use crate::harness::{Output, Server, run, tools};
use crate::{on_both_databases, readme};

/// A folder with the stubs and with the README's own Python in it.
fn project() -> PathBuf {
    let folder = run::new_data_dir(&run::unique_name());
    let protoc = tools::python().in_dir(tools::in_repository(""));
    let protoc = protoc.args(["-m", "grpc_tools.protoc", "-I", "proto", "-I", "third_party/proto"]);
    let protoc = ["python", "grpc_python"]
        .iter()
        .fold(protoc, |protoc, plugin| protoc.arg(format!("--{plugin}_out={}", folder.display())));
    let files = ["resources", "key_admin", "key_verifier"];
    let files = files.map(|name| format!("proto/countersign/v1/{name}.proto"));
    protoc.args(files).arg("third_party/proto/google/rpc/status.proto").run().succeeded();

    let config = readme::block("service-config");
    let verify = format!("SERVICE_CONFIG = '''{config}'''\n{}", readme::block("verify.py"));
    fs::write(folder.join("verify.py"), verify).expect("the folder takes files");
    fs::write(folder.join("check_event.py"), readme::block("check_event.py")).expect("the same");
    folder
}

/// Runs the named group of tests in `client.py` against a server.
fn client(server: &Server, group: &str) -> (PathBuf, Output) {
    let folder = project();
    let admin = server.admin();
    let output = tools::python()
        .in_dir(&folder)
        .arg(tools::in_repository("tests/python/client.py"))
        .args(["-v", group])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONPATH", &folder)
        .env("COUNTERSIGN_ADDRESS", server.address())
        .env("COUNTERSIGN_KEY_ID", &admin.key_id)
        .env("COUNTERSIGN_SECRET", &admin.secret)
        .run();
    (folder, output)
}

/// The root over the first `size` events, from the hashes that the server keeps in its database.
async fn stored_root(server: &Server, size: u64) -> tree::TreeHash {
    let store = server.store();
    let sqlite = format!("sqlite://{}/countersign.db", store.data_dir.display());
    let url = store.url.clone().unwrap_or(sqlite);
    let database = sea_orm::Database::connect(url).await.expect("the database can be opened");
    let all = "SELECT position, hash FROM tree_hashes".to_owned();
    let all = Statement::from_string(database.get_database_backend(), all);
    let mut hashes = HashMap::new();
    for row in database.query_all_raw(all).await.expect("the table is there") {
        let position: i64 = row.try_get("", "position").expect("a number");
        let hash: Vec<u8> = row.try_get("", "hash").expect("bytes");
        let hash: tree::TreeHash = hash.try_into().expect("32 of them");
        hashes.insert(u64::try_from(position).expect("not negative"), hash);
    }
    tree::root(size, &hashes).expect("the tree is whole")
}

on_both_databases! {
    async fn a_service_in_python_verifies_as_the_readme_says(db: Database) {
        let server = Server::start(db).await;
        client(&server, "Service").1.succeeded();
    }

    async fn an_operator_in_python_manages_keys_and_reads_errors(db: Database) {
        let server = Server::start(db).await;
        client(&server, "Operator").1.succeeded();
    }

    async fn an_auditor_in_python_recomputes_the_log_and_its_tree(db: Database) {
        let server = Server::start(db).await;
        let (folder, output) = client(&server, "Auditor");
        output.succeeded();

        let found = fs::read_to_string(folder.join("tree.json")).expect("the auditor wrote it");
        let found: Value = serde_json::from_str(&found).expect("JSON");
        let size = found["size"].as_u64().expect("a number");
        assert!(size > 8, "a tree of {size} leaves proves little");
        let root = stored_root(&server, size).await;
        let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found["root"], root.as_str());
    }
}
