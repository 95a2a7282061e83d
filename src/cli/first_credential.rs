//! The first admin credential: minted here, kept in a file or printed, installed by `control`.

use zeroize::Zeroizing;

use super::failure::Failure;
use super::output;
use crate::config::{admin_env, read_credential_file};
use crate::control::FirstCredential;
use crate::domain::credential::{Brands, Secret, mint_key_id, mint_secret};
use crate::domain::ids::{Environment, KeyId};
use crate::domain::random::{OsRandom, draw};
use std::path::Path;

/// How a credential is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// The two lines of `admin.env`.
    Variables,
    /// `{"key_id": …, "secret": …}` on one line.
    Json,
}

/// A new key id and secret, which no store knows yet.
pub(super) fn mint(brands: &Brands, environment: Environment) -> Result<FirstCredential, Failure> {
    let key_id = mint_key_id(brands, environment, draw(&OsRandom).map_err(Failure::said)?);
    let secret = mint_secret(brands, environment, draw(&OsRandom).map_err(Failure::said)?);
    Ok(FirstCredential { key_id, secret })
}

/// The credential in a file that others can't read.
pub(super) fn read(path: &Path, brands: &Brands) -> Result<FirstCredential, Failure> {
    let credential = read_credential_file(path)?;
    let refuse = |why: &dyn std::fmt::Display| {
        Failure::Said(format!("credential file {}: {why}", path.display()))
    };
    let key_id = KeyId::parse(&credential.key_id, brands).map_err(|error| refuse(&error))?;
    let secret = Secret::parse(credential.secret.to_string(), brands);
    Ok(FirstCredential { key_id, secret: secret.map_err(|error| refuse(&error))? })
}

/// The one text that holds a credential's secret in plain.
pub(super) fn text(credential: &FirstCredential, form: Form) -> Zeroizing<String> {
    let (key_id, secret) = (credential.key_id.as_str(), credential.secret.expose());
    match form {
        Form::Variables => admin_env(key_id, secret),
        // Both are of characters that JSON leaves alone.
        Form::Json => {
            Zeroizing::new(format!("{{\"key_id\":\"{key_id}\",\"secret\":\"{secret}\"}}\n"))
        }
    }
}

/// Shows a credential, this once.
pub(super) fn print(credential: &FirstCredential, form: Form) -> Result<(), Failure> {
    Ok(output::text(&text(credential, form))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_minted_is_read_back_in_both_forms() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let brands = Brands::default();
        let minted = mint(&brands, Environment::Live).expect("random bytes");
        for form in [Form::Variables, Form::Json] {
            let path = folder.path().join(format!("{form:?}"));
            crate::config::create_private_file(&path, &text(&minted, form)).expect("written");
            let back = read(&path, &brands).expect("readable");
            assert_eq!(back.key_id, minted.key_id);
            assert_eq!(back.secret.expose(), minted.secret.expose());
        }
    }

    #[test]
    fn a_pair_that_was_mistyped_is_refused_without_quoting_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("pair");
        let text = admin_env("csk_live_5TVkPZAyJPqlmmoJpjLLHs", "css_live_mistyped");
        crate::config::create_private_file(&path, &text).expect("written");
        let Err(Failure::Said(why)) = read(&path, &Brands::default()) else { panic!("accepted") };
        assert!(why.contains("not a secret") && !why.contains("mistyped"), "{why}");
    }
}
