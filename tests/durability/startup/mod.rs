//! A start that cannot succeed ends with a non-zero code and one line that says what to do.

mod database;
mod high_water;
mod root_key;
mod settings;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Database, Program, Server, Store, tools};

const SOON: Duration = Duration::from_secs(60);
const COULD_NOT: i32 = 2;

/// `countersign serve` on free ports, as a server that says only what is wrong.
fn serve(store: &Store) -> Program {
    on_free_ports(store.command(["serve"]))
}

fn on_free_ports(program: Program) -> Program {
    program
        .env("COUNTERSIGN_LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN_HTTP_LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN_LOG", "warn")
        .within(SOON)
}

/// Demands that it ends with one line that holds each of these texts; gives the line.
#[track_caller]
pub fn refuses(program: Program, says: &[&str]) -> String {
    let output = program.run().failed();
    assert_eq!(output.status.code(), Some(COULD_NOT), "{}", output.stderr);
    assert_eq!(output.stdout, "", "a server that does not start has nothing to tell");
    let line = output.stderr.strip_suffix('\n').unwrap_or(&output.stderr).to_owned();
    assert!(!line.contains('\n'), "more than one line:\n{line}");
    assert!(line.starts_with("countersign: "), "{line}");
    for text in says {
        assert!(line.contains(text), "no {text:?} in: {line}");
    }
    for text in ["panicked", "backtrace", "src/", "Error {", "Some(", "Os {"] {
        assert!(!line.contains(text), "{text:?} is no word for people: {line}");
    }
    line
}

/// A store that was served before; nobody serves it now.
async fn served_before(database: Database) -> std::sync::Arc<Store> {
    let mut server = Server::start(database).await;
    assert!(server.sigterm().success(), "the server ends when it is asked to");
    std::sync::Arc::clone(server.store())
}

/// `countersign serve` as a user whom file permissions bind: for root, without the right to pass
/// them over.
fn serve_bound_by_permissions(data_dir: &Path) -> Program {
    let is_root = std::fs::metadata("/proc/self").expect("this is Linux").uid() == 0;
    let program = if is_root {
        Program::new("setpriv")
            .with_a_clean_environment()
            .args(["--bounding-set", "-dac_override,-dac_read_search", "--"])
            .arg(env!("CARGO_BIN_EXE_countersign"))
    } else {
        tools::countersign()
    };
    on_free_ports(program.arg("serve").arg("--data-dir").arg(data_dir))
}
