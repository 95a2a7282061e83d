//! The proto files are a contract: they keep buf's rules, and stay compatible with what was
//! published before.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Program, run, tools};

const BASELINE: &str = "tests/baseline/countersign.binpb";

fn lint(repository: &Path) -> Program {
    tools::buf().in_dir(repository).args(["lint", "proto"])
}

fn breaking(repository: &Path) -> Program {
    let baseline = tools::in_repository(BASELINE);
    tools::buf().in_dir(repository).args(["breaking", "proto", "--against"]).arg(baseline)
}

#[test]
fn buf_lint_passes() {
    lint(&tools::in_repository("")).run().succeeded();
}

#[test]
fn buf_breaking_passes_against_the_baseline() {
    breaking(&tools::in_repository("")).run().succeeded();
}

#[test]
fn a_badly_named_field_fails_lint() {
    let copy = copy_with("string display_name =", "string displayName =");
    let complaint = lint(&copy).run().failed();
    assert!(complaint.stdout.contains("lower_snake_case"), "{}", complaint.stdout);
}

#[test]
fn a_removed_field_breaks_the_contract() {
    let copy = copy_with("string display_name =", "// string display_name =");
    let complaint = breaking(&copy).run().failed();
    assert!(
        complaint.stdout.contains("\"display_name\" on message \"Key\" was deleted"),
        "{}",
        complaint.stdout
    );
}

#[test]
fn a_renumbered_enum_value_breaks_the_contract() {
    let copy = copy_with("STATE_REVOKED = 3;", "STATE_REVOKED = 33;");
    let complaint = breaking(&copy).run().failed();
    assert!(
        complaint.stdout.contains("value \"3\" on enum \"State\" was deleted"),
        "{}",
        complaint.stdout
    );
}

/// A copy of the proto modules in which `resources.proto` differs in one place.
fn copy_with(before: &str, after: &str) -> PathBuf {
    let copy = run::new_data_dir(&run::unique_name());
    for path in ["buf.yaml", "proto", "third_party"] {
        copy_tree(&tools::in_repository(path), &copy.join(path));
    }
    let resources = copy.join("proto/countersign/v1/resources.proto");
    let text = fs::read_to_string(&resources).unwrap();
    assert!(
        text.contains(before),
        "resources.proto no longer says {before:?}: choose another example"
    );
    fs::write(&resources, text.replacen(before, after, 1)).unwrap();
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_tree(&entry.path(), &to.join(entry.file_name()));
    }
}
