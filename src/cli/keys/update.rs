//! `countersign keys update`

use prost_types::FieldMask;

use super::show::changed;
use super::wait::{Outcome, Wait};
use super::{labels, parse_label};
use crate::cli::call::{Admin, Server};
use crate::cli::failure::Failure;
use crate::cli::time::{When, parse_when};
use crate::rpc::proto::{Key, UpdateKeyRequest};

/// Only what is named is changed.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// The key's id
    key_id: String,

    /// A new name for people
    #[arg(long)]
    name: Option<String>,

    /// What the key is for
    #[arg(long)]
    description: Option<String>,

    /// All scopes that the key is to have; repeat it, or separate by commas
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Option<Vec<String>>,

    /// All networks that the key may be used from; repeat it, or separate by commas
    #[arg(long = "cidr", value_name = "CIDR", value_delimiter = ',')]
    cidrs: Option<Vec<String>>,

    /// All labels that the key is to have; repeat it for more
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Option<Vec<(String, String)>>,

    /// From when on the key is refused: an RFC 3339 time, or from now on, e.g. +30d
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    expire: Option<When>,

    /// Empty this field; repeat it, or separate by commas
    #[arg(long, value_name = "FIELD", value_enum, value_delimiter = ',')]
    clear: Vec<Clearable>,

    /// Refuse the change if the key is not as it was when this etag was read. Such a change is tried
    /// once: if no answer comes, see with `keys get` whether it was made
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,

    /// Allow a change after which no key could administer the service any more
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    wait: Wait,
}

/// A field that may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Clearable {
    Description,
    Scope,
    Cidr,
    Label,
    Expire,
}

impl Clearable {
    /// The field's path in the contract.
    fn path(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Scope => "scopes",
            Self::Cidr => "allowed_cidrs",
            Self::Label => "labels",
            Self::Expire => "expire_time",
        }
    }
}

pub(super) async fn run(server: &Server, args: Args, in_json: bool) -> Result<(), Failure> {
    let wait = args.wait;
    let request = request(args)?;
    let has_etag = request.key.as_ref().is_some_and(|key| !key.etag.is_empty());
    let update = |mut admin: Admin| {
        let request = request.clone();
        async move { admin.update_key(request).await }
    };
    let reply = if has_etag { server.ask_once(update).await? } else { server.ask(update).await? };
    let outcome = Outcome {
        wait,
        replicas: &reply.replicas,
        effective_everywhere_by: reply.effective_everywhere_by.as_ref(),
    };
    changed(in_json, "UpdateKeyResponse", &reply, reply.key.clone(), &outcome)
}

/// The new values, and a mask of exactly the fields that were named.
fn request(args: Args) -> Result<UpdateKeyRequest, Failure> {
    let expire_time = args.expire.map(When::to_proto).transpose();
    let expire_time = expire_time.map_err(|why| Failure::Said(format!("--expire {why}")))?;
    let named = [
        ("display_name", args.name.is_some()),
        ("description", args.description.is_some()),
        ("scopes", args.scopes.is_some()),
        ("allowed_cidrs", args.cidrs.is_some()),
        ("labels", args.labels.is_some()),
        ("expire_time", expire_time.is_some()),
    ];
    let mut paths: Vec<&str> =
        named.iter().filter(|(_, named)| *named).map(|(path, _)| *path).collect();
    for cleared in args.clear.iter().map(|field| field.path()) {
        if paths.contains(&cleared) {
            return Err(Failure::Said(format!("{cleared} can be set or cleared, not both")));
        }
        paths.push(cleared);
    }
    if paths.is_empty() {
        return Err(Failure::said("nothing to change was named (see --help)"));
    }
    let key = Key {
        key_id: args.key_id,
        display_name: args.name.unwrap_or_default(),
        description: args.description.unwrap_or_default(),
        scopes: args.scopes.unwrap_or_default(),
        allowed_cidrs: args.cidrs.unwrap_or_default(),
        labels: labels(args.labels.unwrap_or_default())?,
        expire_time,
        etag: args.etag,
        ..Key::default()
    };
    let paths = paths.into_iter().map(str::to_owned).collect();
    Ok(UpdateKeyRequest {
        key: Some(key),
        update_mask: Some(FieldMask { paths }),
        force: args.force,
        wait: args.wait.number(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn of(line: &str) -> Result<UpdateKeyRequest, String> {
        let words = ["update"].into_iter().chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        request(cli.args).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn the_mask_names_what_the_flags_name() {
        let request = of("k --name n --scope a:b,c:d --clear expire,cidr --force").expect("valid");
        let key = request.key.expect("a key");
        assert_eq!(
            request.update_mask.expect("a mask").paths,
            ["display_name", "scopes", "expire_time", "allowed_cidrs"]
        );
        assert_eq!((key.key_id.as_str(), key.scopes.len(), request.force), ("k", 2, true));
    }

    #[test]
    fn nothing_named_and_both_at_once_are_refused() {
        assert!(of("k").expect_err("nothing").contains("nothing to change"));
        assert!(of("k --expire +1d --clear expire").expect_err("both").contains("not both"));
        assert!(of("k --clear display_name").is_err());
        let twice = of("k --label a=1 --label b=1 --label a=2").expect_err("twice");
        assert!(twice.contains("--label a is given twice"), "{twice}");
        assert_eq!(
            of("k --label a=1 --label b=1").expect("valid").key.expect("a key").labels.len(),
            2
        );
    }
}
