//! The Helm chart, rendered by Helm itself, and the image. What is demanded of them stands in the Python beside this
//! file: Helm, Kubernetes' schemas and YAML are Python packages here.

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Program, postgres, run, tools};

/// Each renders dozens of sets of values, or runs a whole install.
const LIMIT: Duration = Duration::from_secs(400);

/// The tests of a script, or those of its classes that are named, in a folder of their own.
fn script(name: &str, classes: &[&str]) -> Program {
    let scratch: PathBuf = run::new_data_dir(&run::unique_name());
    tools::python()
        .arg(tools::in_repository("tests/helm").join(name))
        .args(classes.iter().copied())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("COUNTERSIGN_PROGRAM", env!("CARGO_BIN_EXE_countersign"))
        .env("GRPCURL", run::tools_dir().join("bin/grpcurl"))
        .env("SCRATCH", scratch)
        .within(LIMIT)
}

#[test]
fn what_helm_renders_is_what_kubernetes_takes() {
    script("manifests.py", &[]).run().succeeded();
}

#[test]
fn values_schema_and_documents_say_the_same_and_what_can_not_work_is_refused() {
    script("values.py", &[]).run().succeeded();
}

#[test]
fn the_program_takes_the_settings_of_every_pod() {
    script("running.py", &["CheckConfig"]).run().succeeded();
}

#[test]
fn an_install_on_sqlite_serves_as_its_notes_say() {
    script("running.py", &["Sqlite"]).run().succeeded();
}

#[tokio::test]
async fn an_install_on_postgres_serves_as_its_notes_say() {
    let tests = script("running.py", &["Postgres"]);
    let tests = tests.env("DATABASE_URL", postgres::new_database().await);
    let tests = tests.env("DATABASE_URL_2", postgres::new_database().await);
    let tests = tests.env("DATABASE_URL_3", postgres::new_database().await);
    tests.env("DATABASE_URL_4", postgres::new_database().await).run().succeeded();
}

#[test]
fn the_image_holds_all_that_the_program_needs() {
    script("image.py", &[]).run().succeeded();
}
