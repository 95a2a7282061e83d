//! A person with grpcurl and no proto files: everything is known by reflection.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Credential, Output, Program, Running, Server, canary, run, tools};

/// Whoever sits at a terminal: where the server is, and the credential in two variables.
pub(crate) struct Person {
    address: String,
    credential: Option<Credential>,
}

/// A stream that grpcurl prints while the person does other things.
pub(crate) struct Watching {
    running: Running,
}

/// The headers as a person types them: grpcurl reads the variables itself, so `ps` shows no secret.
const HEADERS: [&str; 5] = [
    "-expand-headers",
    "-H",
    "authorization: Bearer ${COUNTERSIGN_KEY_ID}",
    "-H",
    "x-secret-key: ${COUNTERSIGN_SECRET}",
];

const PATIENCE: Duration = Duration::from_secs(60);

impl Person {
    /// Somebody with the first admin's credential.
    pub(crate) fn admin_of(server: &Server) -> Self {
        Self { address: server.address().to_owned(), credential: Some(server.admin()) }
    }

    /// Somebody without a credential.
    pub(crate) fn anonymous(server: &Server) -> Self {
        Self { address: server.address().to_owned(), credential: None }
    }

    /// `grpcurl … <address> <words>`: `list`, `describe …`.
    pub(crate) fn asks(&self, words: &[&str]) -> String {
        tools::grpcurl().args(["-plaintext", &self.address]).args(words).run().succeeded().stdout
    }

    /// Makes a call that succeeds; fields without a value are left out of the reply.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, request: &Value) -> Value {
        self.sends(method, request).succeeded().json()
    }

    /// Makes a call that fails, and gives what grpcurl says on standard error.
    #[track_caller]
    pub(crate) fn is_refused(&self, method: &str, request: &Value) -> String {
        self.sends(method, request).failed().stderr
    }

    /// Creates a key and keeps its secret, which is shown this once.
    pub(crate) fn creates(&self, key: &Value) -> Credential {
        secret_of(&self.call("KeyAdmin/CreateKey", &json!({ "key": key })))
    }

    /// Verifies a credential against what else the request says; its answer without what differs from
    /// moment to moment.
    pub(crate) fn verifies(&self, credential: &Credential, request: &Value) -> Value {
        let mut request = request.clone();
        request["credential"] = json!({"keyId": credential.key_id, "secret": credential.secret});
        let mut reply = self.call("KeyVerifier/Verify", &request);
        let fields = reply.as_object_mut().expect("a reply is an object");
        fields.remove("staleness");
        fields.remove("consistencyToken").expect("the answer names the state it is based on");
        reply
    }

    /// The reason for which a credential is denied, without its prefix.
    pub(crate) fn is_denied(&self, credential: &Credential, request: &Value) -> String {
        let reply = self.verifies(credential, request);
        assert!(reply.get("allowed").is_none(), "allowed: {request}");
        let reason = reply["denialReason"].as_str().expect("a denial has a reason");
        reason.strip_prefix("DENIAL_REASON_").expect("reasons have a prefix").to_owned()
    }

    /// Demands that a credential is allowed, and gives the answer.
    #[track_caller]
    pub(crate) fn is_allowed(&self, credential: &Credential, request: &Value) -> Value {
        let reply = self.verifies(credential, request);
        assert_eq!(reply["allowed"], true, "denied: {reply}");
        reply
    }

    /// All pages of a list, as the pages of `page_size` that they came in.
    pub(crate) fn pages(&self, method: &str, items: &str, request: &Value) -> Vec<Vec<Value>> {
        let mut request = request.clone();
        let mut pages = Vec::new();
        loop {
            let reply = self.call(method, &request);
            pages.push(reply[items].as_array().cloned().unwrap_or_default());
            match reply.get("nextPageToken") {
                Some(token) => request["pageToken"] = token.clone(),
                None => return pages,
            }
        }
    }

    /// Every event of the log.
    pub(crate) fn reads_the_log(&self) -> Vec<Value> {
        self.pages("KeyAdmin/ListAuditEvents", "events", &json!({"pageSize": 7})).concat()
    }

    /// Watches the log in a second terminal.
    pub(crate) fn watches(&self, request: &Value) -> Watching {
        let (_, log) = run::log_file(&run::unique_name());
        let program = self.grpcurl().arg("-d").arg(request.to_string());
        Watching { running: self.aimed(program, "KeyAdmin/WatchAuditEvents").start(log) }
    }

    /// The request goes in by standard input: it may hold a secret, and arguments are seen by everybody.
    fn sends(&self, method: &str, request: &Value) -> Output {
        let program = self.grpcurl().args(["-d", "@"]).stdin(request.to_string());
        self.aimed(program, method).run()
    }

    fn grpcurl(&self) -> Program {
        let program = tools::grpcurl().arg("-plaintext");
        match &self.credential {
            None => program,
            Some(credential) => program
                .args(HEADERS)
                .env("COUNTERSIGN_KEY_ID", &credential.key_id)
                .env("COUNTERSIGN_SECRET", &credential.secret),
        }
    }

    fn aimed(&self, program: Program, method: &str) -> Program {
        program.arg(&self.address).arg(format!("countersign.v1.{method}"))
    }
}

/// The credential in a reply of CreateKey or RotateKey, noted as a canary.
pub(crate) fn secret_of(reply: &Value) -> Credential {
    let text =
        |value: &Value| value.as_str().expect("the reply holds key id and secret").to_owned();
    let credential =
        Credential { key_id: text(&reply["key"]["keyId"]), secret: text(&reply["secret"]) };
    canary::record_secret(&credential.secret);
    credential
}

impl Watching {
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The next event, passing over heartbeats.
    pub(crate) fn next_event(&self) -> Value {
        loop {
            if let Some(event) = self.next_message().get("event") {
                return event.clone();
            }
        }
    }

    /// Waits for the heartbeat that says: the replay is over, from here on it is live.
    pub(crate) fn is_live(&self) {
        while self.next_message().get("heartbeat").is_none() {}
    }

    /// grpcurl prints each message over several lines.
    fn next_message(&self) -> Value {
        let mut text = String::new();
        loop {
            let line = self.running.next_line(PATIENCE).expect("the stream goes on");
            text.push_str(&line);
            if let Ok(message) = serde_json::from_str(&text) {
                return message;
            }
        }
    }
}

/// `sh -c` with grpcurl on PATH and nothing of ours in the environment.
pub(crate) fn shell(dir: &Path, line: &str) -> Program {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}/bin:{path}", run::tools_dir().display());
    Program::new("/bin/sh")
        .with_a_clean_environment()
        .env("PATH", path)
        .in_dir(dir)
        .args(["-c", line])
}
