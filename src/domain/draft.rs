//! What a caller asks a key to be, before and after it is checked. Every violation is reported at once.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::cidr::CidrSet;
use super::credential::{Brands, holds_secret};
use super::error::{Error, Violation};
use super::ids::{AccountId, ApplicationId, Environment};
use super::scope::GrantedScopes;
use super::time::Timestamp;

/// Most characters of a display name.
pub const MAX_DISPLAY_NAME: usize = 128;
/// Most characters of a description.
pub const MAX_DESCRIPTION: usize = 2_048;
/// Most characters of a comment.
pub const MAX_COMMENT: usize = 1_024;
/// Most labels of a key.
pub const MAX_LABELS: usize = 64;
/// Most characters of a label's name.
pub const MAX_LABEL_NAME: usize = 63;
/// Most characters of a label's value.
pub const MAX_LABEL_VALUE: usize = 256;

/// What is wrong with an expiry in the past.
pub const MUST_BE_IN_THE_FUTURE: &str = "must be in the future";

/// A new key as a caller asks for it, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeyDraft {
    /// The account that is to own the key.
    pub account_id: String,
    /// The application that the key is to belong to.
    pub application_id: String,
    /// Live or test, if said.
    #[serde(serialize_with = "environment")]
    pub environment: Option<Environment>,
    /// A name for people.
    pub display_name: String,
    /// What the key is for.
    pub description: String,
    /// What the key may do.
    pub scopes: Vec<String>,
    /// Where it may be used from.
    pub allowed_cidrs: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// From when on it is refused.
    pub expire_time: Option<Timestamp>,
}

/// A checked [`KeyDraft`].
#[derive(Debug, Clone)]
pub struct KeySpec {
    /// The account that is to own the key.
    pub account_id: AccountId,
    /// The application that the key is to belong to.
    pub application_id: ApplicationId,
    /// Live or test.
    pub environment: Environment,
    /// A name for people.
    pub display_name: String,
    /// What the key is for.
    pub description: String,
    /// What the key may do.
    pub scopes: GrantedScopes,
    /// Where it may be used from.
    pub allowed_cidrs: CidrSet,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// From when on it is refused.
    pub expire_time: Option<Timestamp>,
}

/// New values for some fields of a key, unchecked; `None` leaves a field alone.
#[derive(Debug, Clone, Default)]
pub struct PatchDraft {
    /// A name for people.
    pub display_name: Option<String>,
    /// What the key is for.
    pub description: Option<String>,
    /// What the key may do.
    pub scopes: Option<Vec<String>>,
    /// Where it may be used from.
    pub allowed_cidrs: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// From when on it is refused; `Some(None)`: never.
    pub expire_time: Option<Option<Timestamp>>,
}

/// A checked [`PatchDraft`].
#[derive(Debug, Clone, Default)]
pub struct KeyPatch {
    /// A name for people.
    pub display_name: Option<String>,
    /// What the key is for.
    pub description: Option<String>,
    /// What the key may do.
    pub scopes: Option<GrantedScopes>,
    /// Where it may be used from.
    pub allowed_cidrs: Option<CidrSet>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// From when on it is refused; `Some(None)`: never.
    pub expire_time: Option<Option<Timestamp>>,
}

impl KeyDraft {
    /// Checks every field. `now` decides whether an expiry lies in the future.
    pub fn check(self, now: Timestamp) -> Result<KeySpec, Error> {
        let mut found = Findings::default();
        let account_id = found.parsed("key.account_id", AccountId::parse(&self.account_id));
        let application_id =
            found.parsed("key.application_id", ApplicationId::parse(&self.application_id));
        if self.environment.is_none() {
            found.add("key.environment", "must be ENVIRONMENT_LIVE or ENVIRONMENT_TEST");
        }
        found.display_name(&self.display_name);
        found.description(&self.description);
        found.labels(&self.labels);
        found.expire_time(self.expire_time, now);
        let scopes = found.scopes(&self.scopes);
        let allowed_cidrs = found.cidrs(&self.allowed_cidrs);
        match (account_id, application_id, self.environment, scopes, allowed_cidrs) {
            (
                Some(account_id),
                Some(application_id),
                Some(environment),
                Some(scopes),
                Some(cidrs),
            ) if found.0.is_empty() => Ok(KeySpec {
                account_id,
                application_id,
                environment,
                display_name: self.display_name,
                description: self.description,
                scopes,
                allowed_cidrs: cidrs,
                labels: self.labels,
                expire_time: self.expire_time,
            }),
            _ => Err(Error::InvalidRequest(found.0)),
        }
    }
}

impl KeyDraft {
    /// Refuses secrets of ours in fields that anybody may read, without repeating them.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] with each field that holds one.
    pub fn refuse_secrets(&self, brands: &Brands) -> Result<(), Error> {
        let mut found = Findings::default();
        found.secrets("key.account_id", [&self.account_id], brands);
        found.secrets("key.application_id", [&self.application_id], brands);
        found.secrets("key.display_name", [&self.display_name], brands);
        found.secrets("key.description", [&self.description], brands);
        found.secrets("key.scopes", &self.scopes, brands);
        found.secrets("key.allowed_cidrs", &self.allowed_cidrs, brands);
        found.secrets("key.labels", self.labels.iter().flat_map(<[_; 2]>::from), brands);
        found.refuse()
    }
}

impl PatchDraft {
    /// The same as [`KeyDraft::refuse_secrets`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] with each field that holds one.
    pub fn refuse_secrets(&self, brands: &Brands) -> Result<(), Error> {
        let mut found = Findings::default();
        found.secrets("key.display_name", &self.display_name, brands);
        found.secrets("key.description", &self.description, brands);
        found.secrets("key.scopes", self.scopes.iter().flatten(), brands);
        found.secrets("key.allowed_cidrs", self.allowed_cidrs.iter().flatten(), brands);
        let labels = self.labels.iter().flatten().flat_map(<[_; 2]>::from);
        found.secrets("key.labels", labels, brands);
        found.refuse()
    }

    /// Checks every field that is to change. `now` decides whether an expiry lies in the future.
    pub fn check(self, now: Timestamp) -> Result<KeyPatch, Error> {
        let mut found = Findings::default();
        if let Some(name) = &self.display_name {
            found.display_name(name);
        }
        if let Some(description) = &self.description {
            found.description(description);
        }
        if let Some(labels) = &self.labels {
            found.labels(labels);
        }
        found.expire_time(self.expire_time.flatten(), now);
        let scopes = self.scopes.as_deref().map(|scopes| found.scopes(scopes));
        let allowed_cidrs = self.allowed_cidrs.as_deref().map(|cidrs| found.cidrs(cidrs));
        if !found.0.is_empty() {
            return Err(Error::InvalidRequest(found.0));
        }
        Ok(KeyPatch {
            display_name: self.display_name,
            description: self.description,
            scopes: scopes.flatten(),
            allowed_cidrs: allowed_cidrs.flatten(),
            labels: self.labels,
            expire_time: self.expire_time,
        })
    }
}

/// Checks the comment of a request.
pub fn check_comment(comment: &str, brands: &Brands) -> Result<(), Error> {
    let mut found = Findings::default();
    found.line("comment", comment, MAX_COMMENT);
    found.secrets("comment", [comment], brands);
    found.refuse()
}

/// The violations found so far.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(Violation::new(field, description));
    }

    fn refuse(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::InvalidRequest(self.0)) }
    }

    fn secrets<'t, T: AsRef<str> + ?Sized + 't>(
        &mut self,
        field: &str,
        texts: impl IntoIterator<Item = &'t T>,
        brands: &Brands,
    ) {
        if texts.into_iter().any(|text| holds_secret(text.as_ref(), brands)) {
            self.add(field, "holds a secret; secrets belong in the secret field only");
        }
    }

    fn parsed<T, E: ToString>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error.to_string())).ok()
    }

    fn display_name(&mut self, name: &str) {
        if name.trim().is_empty() {
            self.add("key.display_name", "must not be empty");
        }
        self.line("key.display_name", name, MAX_DISPLAY_NAME);
    }

    fn description(&mut self, text: &str) {
        self.length("key.description", text, MAX_DESCRIPTION);
        if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            self.add("key.description", "must not hold control characters but line feeds and tabs");
        }
    }

    fn line(&mut self, field: &str, text: &str, most: usize) {
        self.length(field, text, most);
        if text.chars().any(char::is_control) {
            self.add(field, "must not hold control characters");
        }
    }

    fn length(&mut self, field: &str, text: &str, most: usize) {
        let length = text.chars().count();
        if length > most {
            self.add(field, format!("must have at most {most} characters, has {length}"));
        }
    }

    fn labels(&mut self, labels: &BTreeMap<String, String>) {
        if labels.len() > MAX_LABELS {
            self.add("key.labels", format!("must be at most {MAX_LABELS}, are {}", labels.len()));
            return;
        }
        for (name, value) in labels {
            if is_label_name(name) {
                self.line(&format!("key.labels[{name}]"), value, MAX_LABEL_VALUE);
            } else {
                self.add(
                    "key.labels",
                    "a label's name must be [a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?",
                );
            }
        }
    }

    fn expire_time(&mut self, time: Option<Timestamp>, now: Timestamp) {
        if time.is_some_and(|time| time <= now) {
            self.add("key.expire_time", MUST_BE_IN_THE_FUTURE);
        }
    }

    fn scopes(&mut self, scopes: &[String]) -> Option<GrantedScopes> {
        let parsed = GrantedScopes::parse(scopes.iter().map(String::as_str));
        parsed.map_err(|bad| self.each("key.scopes", bad)).ok()
    }

    fn cidrs(&mut self, cidrs: &[String]) -> Option<CidrSet> {
        let parsed = CidrSet::parse(cidrs.iter().map(String::as_str));
        parsed.map_err(|bad| self.each("key.allowed_cidrs", bad)).ok()
    }

    fn each<E: ToString>(&mut self, field: &str, bad: Vec<(usize, E)>) {
        for (index, error) in bad {
            self.add(format!("{field}[{index}]"), error.to_string());
        }
    }
}

fn is_label_name(name: &str) -> bool {
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= MAX_LABEL_NAME
        && bytes.first().is_some_and(|byte| is_end(*byte))
        && bytes.last().is_some_and(|byte| is_end(*byte))
        && bytes.iter().all(|byte| is_end(*byte) || b"._/-".contains(byte))
}

// serde hands over a reference to the field.
#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn environment<S: Serializer>(
    value: &Option<Environment>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.map_or("", |environment| environment.as_str()))
}
