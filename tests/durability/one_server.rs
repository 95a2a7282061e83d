//! One server in a data folder, and one on a SQLite database.

use std::fs;
use std::sync::Arc;

use super::startup::refuses;
use crate::harness::{Database, Server, run};
use crate::on_both_databases;

on_both_databases! {
    async fn a_second_server_in_a_data_folder_refuses_to_start(db: Database) {
        let mut first = Server::start(db).await;
        let folder = first.store().data_dir.display().to_string();
        let second = Server::on_store(Arc::clone(first.store()));
        let program = second.program().env("COUNTERSIGN_LOG", "warn");
        refuses(program, &["the data folder", &folder, "in use by another server", "--data-dir"]);

        // The lock ends with its process, however that ends.
        first.kill9();
        let mut second = second.start().await;
        let caller = second.as_admin().await;
        caller.mint(crate::harness::key("acme", "billing")).await;
        assert!(second.sigterm().success());
        Server::on_store(Arc::clone(first.store())).start().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_a_sqlite_database_refuses_to_start() {
    let first = Server::start(Database::Sqlite).await;
    let database = first.store().data_dir.join("countersign.db");
    let link = run::new_data_dir(&run::unique_name()).join("another-name.db");
    std::os::unix::fs::symlink(&database, &link).expect("links");
    for path in [&database, &link] {
        let folder = run::new_data_dir(&run::unique_name());
        fs::copy(first.store().root_key_file(), folder.join("root-key")).expect("copies");
        let program = crate::harness::tools::countersign()
            .args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(&folder)
            .arg("--database-url")
            .arg(format!("sqlite:{}", path.display()))
            .env("COUNTERSIGN_LOG", "warn");
        let path = path.display().to_string();
        refuses(program, &[&path, "in use by another server", "PostgreSQL"]);
    }
}
