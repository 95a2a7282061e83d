//! `countersign root-key generate`

use std::path::{Path, PathBuf};

use clap::Subcommand;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::output;
use crate::config::{
    create_private_file, in_words, parse_root_keys, read_private_file, replace_private_file,
};
use crate::domain::keyring::RootKey;
use crate::domain::random::{OsRandom, Random as _};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a root key of 32 random bytes
    Generate(Generate),
}

#[derive(clap::Args)]
struct Generate {
    /// Write it into this new file with mode 0600; a file that is there is never overwritten. Without
    /// --out it goes to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Add the next version to this file of root keys. Replicas use it from their next start
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    append: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Command::Generate(Generate { out, append }) = args.command;
    match (out, append) {
        (Some(path), _) => generate_into(&path),
        (None, Some(path)) => append_to(&path),
        (None, None) => Ok(output::line(&new_key(1)?.to_line())?),
    }
}

/// Writes the first root key into a new file, and says where.
fn generate_into(path: &Path) -> Result<(), Failure> {
    create(path)?;
    Ok(output::line(&format!("root key version 1 is in {}", path.display()))?)
}

/// Writes the first root key into a new file with mode 0600.
pub(super) fn create(path: &Path) -> Result<(), Failure> {
    let text = Zeroizing::new(format!("{}\n", *new_key(1)?.to_line()));
    create_private_file(path, &text).map_err(|error| not_written(path, &error))
}

fn append_to(path: &Path) -> Result<(), Failure> {
    let text = read_private_file("root key file", path)?;
    let keyring = parse_root_keys(path, &text)?;
    let next = keyring.newest().version().checked_add(1);
    let next =
        next.ok_or_else(|| Failure::said("there is no version after the newest in that file"))?;
    let line = new_key(next)?.to_line();
    // Sized at once: a string that grows would leave copies behind that nobody zeroizes.
    let mut longer = Zeroizing::new(String::with_capacity(text.len() + line.len() + 2));
    for part in [text.trim_end(), "\n", &line, "\n"] {
        longer.push_str(part);
    }
    replace_private_file(path, &longer).map_err(|error| not_written(path, &error))?;
    Ok(output::line(&format!("root key version {next} is in {}", path.display()))?)
}

fn new_key(version: u32) -> Result<RootKey, Failure> {
    let mut bytes = [0; 32];
    OsRandom.fill(&mut bytes).map_err(Failure::said)?;
    Ok(RootKey::new(version, bytes))
}

fn not_written(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Said(format!("can't write the root key file {}: {}", path.display(), in_words(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_file_is_read_back_and_grows_by_versions() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("root-key");
        create(&path).expect("written");
        assert!(create(&path).is_err(), "it was overwritten");
        append_to(&path).expect("appended");
        let keyring = crate::config::read_root_keys(&path).expect("readable");
        assert_eq!(keyring.iter().map(RootKey::version).collect::<Vec<_>>(), [1, 2]);
    }
}
