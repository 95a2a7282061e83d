//! `countersign replicas`

use std::time::Duration;

use super::call::{Admin, with_administration};
use super::failure::Failure;
use super::pages::Listing;
use crate::config::ClientArgs;
use crate::rpc::proto::{ListReplicasRequest, Replica};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print JSON, one replica a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientArgs,
}

const HEADER: [&str; 6] = ["REPLICA", "REVISION", "LEASE", "REPORTED", "VERSION", "NOTE"];

pub(super) fn run(Args { json, client }: Args) -> Result<(), Failure> {
    let listing = Listing { limit: None, in_json: json, message: "Replica", header: &HEADER, row };
    with_administration(client, |server| async move {
        // There are no pages: a store has a handful of replicas.
        let all = async |_first| {
            let ask =
                |mut admin: Admin| async move { admin.list_replicas(ListReplicasRequest {}).await };
            Ok((server.read(ask).await?.replicas, String::new()))
        };
        listing.print(all).await
    })
}

fn row(replica: &Replica) -> Vec<String> {
    let (lease, staleness) = (duration(&replica.lease_duration), duration(&replica.staleness));
    let note = if replica.self_ {
        "gave this answer"
    } else if staleness > lease {
        "silent, answers nothing"
    } else {
        ""
    };
    vec![
        replica.replica_id.clone(),
        replica.revision.to_string(),
        format!("{} s", lease.as_secs_f64()),
        format!("{:.1} s ago", staleness.as_secs_f64()),
        replica.version.clone(),
        note.to_owned(),
    ]
}

fn duration(duration: &Option<prost_types::Duration>) -> Duration {
    duration.and_then(|duration| duration.try_into().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_replica_is_noted() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let replica = |staleness, self_| Replica {
            replica_id: "a".to_owned(),
            revision: 7,
            lease_duration: seconds(30),
            staleness: seconds(staleness),
            version: "1".to_owned(),
            self_,
        };
        assert_eq!(
            row(&replica(2, true)),
            ["a", "7", "30 s", "2.0 s ago", "1", "gave this answer"]
        );
        assert_eq!(row(&replica(30, false))[5], "");
        assert_eq!(row(&replica(31, false))[5], "silent, answers nothing");
    }
}
