//! Each table of the README says exactly what the code says.

use std::fs;

use countersign::config::reference;
use countersign::domain::cidr::CidrSet;
use countersign::domain::credential::Brands;
use countersign::domain::permission::{Permission, VERBS};
use countersign::domain::scope::GrantedScopes;
use countersign::domain::verdict::MAX_SECRETS;
use countersign::domain::{draft, filter};
use countersign::middleware::MAX_OPEN_STREAMS;
use countersign::rpc::status::{CODES, MAX_REQUEST_BYTES, MAX_VERIFICATION_BYTES};

use super::readme;
use crate::harness::tools;

type Rows = Vec<Vec<String>>;

/// The rows of the table below `<!-- table: name -->`, without its header.
fn rows_of(name: &str) -> Rows {
    let marker = format!("<!-- table: {name} -->");
    let readme = readme();
    let (_, after) = readme.split_once(&marker).unwrap_or_else(|| panic!("no {marker}"));
    let lines = after.lines().skip_while(|line| line.is_empty());
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn as_text(rows: &Rows) -> String {
    rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect()
}

fn assert_says(name: &str, wanted: &Rows) {
    let written = rows_of(name);
    assert!(
        written == *wanted,
        "the table of {name} differs from the code, which says:\n{}",
        as_text(wanted)
    );
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

#[test]
fn the_settings_are_those_of_the_code() {
    let docs = reference().into_iter();
    let wanted = docs.map(|doc| vec![code(&doc.flag), code(&doc.env), doc.default, doc.meaning]);
    assert_says("settings", &wanted.collect());
}

#[test]
fn the_permissions_are_those_of_the_table_of_verbs() {
    let wanted = Permission::ALL.map(|permission| {
        let of_it = VERBS.iter().filter(|(_, _, needed)| *needed == permission);
        let names = of_it.filter_map(|(_, method, _)| method.rsplit(['.', '/']).next());
        vec![code(permission.scope()), names.map(code).collect::<Vec<_>>().join(", ")]
    });
    assert_says("permissions", &wanted.to_vec());
}

/// What to do is written by people; reasons and codes are held.
#[test]
fn the_errors_are_those_of_the_status_table() {
    let written = rows_of("errors");
    assert!(
        written.iter().all(|row| row.len() == 3 && !row[2].is_empty()),
        "a row says too little"
    );
    let written: Rows = written.iter().map(|row| row[..2].to_vec()).collect();
    let wanted: Rows =
        CODES.iter().map(|(reason, code_of)| vec![code(reason), name(*code_of)]).collect();
    assert!(written == wanted, "the errors differ from the code:\n{}", as_text(&wanted));
}

/// `InvalidArgument` as it is written on the wire: `INVALID_ARGUMENT`.
fn name(code: tonic::Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[test]
fn the_denial_reasons_are_those_of_the_contract() {
    let proto = proto("key_verifier.proto");
    let (_, body) = proto.split_once("enum DenialReason {").expect("the enum is there");
    let (body, _) = body.split_once('}').expect("it ends");
    let (mut wanted, mut comment) = (Rows::new(), String::new());
    for line in body.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("// ") {
            comment = format!("{comment} {more}").trim().to_owned();
        } else if let Some(value) = line.strip_prefix("DENIAL_REASON_") {
            let (reason, _) = value.split_once(" = ").expect("a value has a number");
            let said = std::mem::take(&mut comment);
            if let Some((meaning, status)) = said.split_once(" HTTP ") {
                let meaning = meaning.trim_end_matches('.').to_owned();
                wanted.push(vec![code(reason), status.to_owned(), meaning]);
            } else {
                assert_eq!(reason, "UNSPECIFIED", "{reason} names no HTTP status");
            }
        }
    }
    assert_says("denials", &wanted);
}

#[test]
fn the_limits_are_those_of_the_code() {
    use draft::{MAX_COMMENT, MAX_DESCRIPTION, MAX_DISPLAY_NAME};
    use draft::{MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_LABELS};

    let admin = proto("key_admin.proto");
    let verifier = proto("key_verifier.proto");
    // These are constants of their rooms alone; the contract says them, and the tests of each RPC try.
    for (text, said) in [
        (&verifier, "all of them: up to 100, without"),
        (&verifier, "1 to 1,000 requests;"),
        (&verifier, "The answers take up to 3.5 MiB"),
        (&admin, "Keys per page, at most 1,000 (more is cut to that). Zero: 50."),
        (&admin, "up to 366 days"),
        (
            &admin,
            "same id, from the same caller, gets the same reply for ten minutes; up to seven days",
        ),
        (&admin, "[A-Za-z0-9_.:-]{1,64}"),
    ] {
        assert!(text.contains(said), "the contract no longer says {said:?}");
    }
    let wanted = [
        (
            "a request",
            format!(
                "{} KiB; to `KeyVerifier` {} MiB",
                MAX_REQUEST_BYTES >> 10,
                MAX_VERIFICATION_BYTES >> 20
            ),
        ),
        ("`display_name`", format!("{} characters", thousands(MAX_DISPLAY_NAME))),
        ("`description`", format!("{} characters", thousands(MAX_DESCRIPTION))),
        ("`comment`", format!("{} characters", thousands(MAX_COMMENT))),
        (
            "scopes of a key",
            format!(
                "{}, {} KiB together",
                thousands(GrantedScopes::MAX_LEN),
                GrantedScopes::MAX_BYTES >> 10
            ),
        ),
        ("networks of a key", thousands(CidrSet::MAX_LEN)),
        (
            "labels of a key",
            format!("{MAX_LABELS}; a name {MAX_LABEL_NAME}, a value {MAX_LABEL_VALUE} characters"),
        ),
        ("live secrets of a key", thousands(MAX_SECRETS)),
        ("`overlap` of a rotation", "366 days".to_owned()),
        (
            "`request_id`",
            "64 characters; its reply is kept 10 minutes, its key's id 7 days".to_owned(),
        ),
        ("required scopes of a Verify", "100".to_owned()),
        ("requests of a BatchVerify", "1,000".to_owned()),
        (
            "answers of a BatchVerify",
            "3.5 MiB; what no longer fits is RESOURCE_EXHAUSTED in its place".to_owned(),
        ),
        ("open streams of health and reflection", thousands(MAX_OPEN_STREAMS)),
        ("rows of a page", "1,000, or about 3 MiB; 50 if not said".to_owned()),
        (
            "a filter",
            format!(
                "{} bytes, {} comparisons, nested {} deep",
                thousands(filter::MAX_BYTES),
                filter::MAX_COMPARISONS,
                filter::MAX_DEPTH
            ),
        ),
        ("brands", thousands(Brands::MAX)),
    ];
    let wanted = wanted.into_iter().map(|(what, most)| vec![what.to_owned(), most]);
    assert_says("limits", &wanted.collect());
}

/// The text of a proto file, its comments without line breaks.
fn proto(name: &str) -> String {
    let path = tools::in_repository("proto/countersign/v1").join(name);
    let text = fs::read_to_string(path).expect("the proto file is there");
    if name == "key_admin.proto" { text.replace("\n  // ", " ") } else { text }
}

fn thousands(number: usize) -> String {
    if number < 1_000 {
        number.to_string()
    } else {
        format!("{},{:03}", number / 1_000, number % 1_000)
    }
}
