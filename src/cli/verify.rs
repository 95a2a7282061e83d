//! `countersign verify`

use std::io::{self, BufRead as _, Read as _};

use zeroize::Zeroizing;

use super::call::{Server, with_server};
use super::failure::Failure;
use super::keys::World;
use super::{json, output, table};
use crate::config::{ClientArgs, verify_secret};
use crate::rpc::proto::verify_request::Presented;
use crate::rpc::proto::{
    CheckResult, Credential, DenialReason, Environment, VerifyRequest, VerifyResponse,
};

/// The longest line that standard input may hold: more than any credential.
const MAX_LINE: u64 = 4096;

/// The secret is never an argument, which everybody on the machine could read: it comes from the
/// variable COUNTERSIGN_VERIFY_SECRET or from standard input.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The key id to ask about
    #[arg(
        long,
        value_name = "KEY_ID",
        conflicts_with = "token_stdin",
        required_unless_present = "token_stdin"
    )]
    key_id: Option<String>,

    /// Read the secret from the first line of standard input [default: from COUNTERSIGN_VERIFY_SECRET]
    #[arg(long, conflicts_with = "token_stdin")]
    secret_stdin: bool,

    /// Read `<key id>.<secret>` from the first line of standard input
    #[arg(long)]
    token_stdin: bool,

    /// A scope that the call needs; repeat it, or separate by commas
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,

    /// The caller's network address
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    client_ip: String,

    /// The account whose data the call is about
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    account: String,

    /// The application that the call is about
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    application: String,

    /// The environment that the call is about
    #[arg(long, value_enum, default_value = "live")]
    environment: World,

    /// Show the outcome of each check
    #[arg(long)]
    explain: bool,

    /// A consistency token: the answer is not to be from before it
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    at_least: String,

    /// Print the reply as JSON, one object on one line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let presented = presented(&args)?;
    let Args {
        scopes,
        client_ip,
        account,
        application,
        environment,
        explain,
        at_least,
        json,
        client,
        ..
    } = args;
    let request = VerifyRequest {
        presented: Some(presented),
        required_scopes: scopes,
        client_ip,
        account_id: account,
        application_id: application,
        environment: Environment::from(environment).into(),
        explain,
        at_least,
    };
    with_server(client, |server| async move { ask(&server, request, json).await })
}

fn presented(args: &Args) -> Result<Presented, Failure> {
    if args.token_stdin {
        return Ok(Presented::Token(line_of_stdin("token")?.to_string()));
    }
    let secret = match args.secret_stdin {
        true => line_of_stdin("secret")?,
        false => verify_secret().ok_or_else(|| {
            Failure::said(
                "no secret was given; set COUNTERSIGN_VERIFY_SECRET, or pipe it in with --secret-stdin",
            )
        })?,
    };
    let key_id = args.key_id.clone().unwrap_or_default();
    Ok(Presented::Credential(Credential { key_id, secret: secret.to_string() }))
}

fn line_of_stdin(what: &str) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().take(MAX_LINE).read_line(&mut line).map_err(|error| {
        Failure::Said(format!("can't read the {what} from standard input: {error}"))
    })?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn ask(server: &Server, request: VerifyRequest, in_json: bool) -> Result<(), Failure> {
    let reply = server
        .insist(|| {
            let (mut verifier, request) = (server.verifier(), request.clone());
            async move { verifier.verify(request).await }
        })
        .await
        .map_err(Failure::of_a_question)?;
    if in_json {
        json::print("VerifyResponse", &reply)?;
    } else {
        output::line(&shown(&reply))?;
    }
    if reply.allowed { Ok(()) } else { Err(Failure::Denied) }
}

fn shown(reply: &VerifyResponse) -> String {
    let answer = if reply.allowed {
        "allowed".to_owned()
    } else {
        format!("denied: {}", reason(reply.denial_reason))
    };
    let key = reply.key.clone().unwrap_or_default();
    let secret = if key.secret_number > 0 { key.secret_number.to_string() } else { String::new() };
    let details = table::pairs(&[
        ("missing scopes", reply.missing_scopes.join(" ")),
        ("key id", key.key_id),
        ("account", key.account_id),
        ("application", key.application_id),
        ("scopes", key.scopes.join(" ")),
        ("secret", secret),
        ("superseded", table::time(reply.superseded_time.as_ref())),
    ]);
    let checks = reply.checks.iter().map(check);
    let lines = [answer, details].into_iter().chain(checks).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

fn check(check: &CheckResult) -> String {
    let outcome = if check.passed { "passed" } else { "FAILED" };
    format!("{outcome}  {}", reason(check.check))
}

fn reason(value: i32) -> String {
    table::word::<DenialReason>(value, "DENIAL_REASON_", |reason| reason.as_str_name())
}
