//! How far a change has come on the replicas: what a flag asks for, and what the reply says.

use crate::cli::{output, table};
use crate::rpc::proto::replica_outcome::State;
use crate::rpc::proto::{self, ReplicaOutcome};

/// The flag of every verb that changes something.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(skip)]
pub(super) struct Wait {
    /// Wait until the change holds on all replicas, or not at all [default: one second at most after create, rotate
    /// and enable, else not at all]
    #[arg(long, value_enum, value_name = "FOR")]
    wait: Option<For>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum For {
    /// Say at once how far the others are
    None,
    /// Until none can answer from before the change, or --timeout is nearly over
    All,
}

/// What a reply says of the replicas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome<'r> {
    pub wait: Wait,
    pub replicas: &'r [ReplicaOutcome],
    pub effective_everywhere_by: Option<&'r prost_types::Timestamp>,
}

impl Wait {
    /// As the wire has it.
    pub(super) fn number(self) -> i32 {
        let wait = match self.wait {
            None => proto::Wait::Unspecified,
            Some(For::None) => proto::Wait::None,
            Some(For::All) => proto::Wait::AllReplicas,
        };
        wait.into()
    }
}

impl Outcome<'_> {
    /// Where the change holds, in words.
    pub(super) fn shown(&self) -> String {
        let (all, pending) = (self.replicas.len(), self.pending().len());
        let expired = self.replicas.iter().filter(|one| one.state() == State::LeaseExpired).count();
        let mut text = match pending {
            0 if all == 1 => "the one replica".to_owned(),
            0 => format!("all {all} replicas"),
            pending => format!("{} of {all} replicas", all.saturating_sub(pending)),
        };
        if expired > 0 {
            text.push_str(&format!(" ({expired} of them out of reach, and answering nothing)"));
        }
        if pending > 0 {
            text.push_str(&format!(", all by {}", table::time(self.effective_everywhere_by)));
        }
        text
    }

    /// Says on standard error that the change does not hold everywhere, to whoever waited for that.
    pub(super) fn warn(&self) {
        let pending = self.pending();
        if self.wait.wait == Some(For::All) && !pending.is_empty() {
            output::warn(&format!(
                "the change is made, but does not hold everywhere yet: {} may answer from before it until {}",
                pending.join(", "),
                table::time(self.effective_everywhere_by)
            ));
        }
    }

    /// The ids of the replicas that may still answer from before the change. States of a later release are taken
    /// for that too.
    fn pending(&self) -> Vec<&str> {
        let known = [State::Confirmed, State::LeaseExpired];
        let pending = self.replicas.iter().filter(|one| !known.contains(&one.state()));
        pending.map(|one| one.replica_id.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(states: &[State]) -> String {
        let replicas: Vec<_> = states
            .iter()
            .map(|state| ReplicaOutcome { replica_id: "r".to_owned(), state: (*state).into() })
            .collect();
        let by = prost_types::Timestamp { seconds: 1_893_456_000, nanos: 0 };
        let (wait, effective_everywhere_by) = (Wait { wait: None }, Some(&by));
        Outcome { wait, replicas: &replicas, effective_everywhere_by }.shown()
    }

    #[test]
    fn it_says_where_the_change_holds() {
        let (here, gone, not_yet) = (State::Confirmed, State::LeaseExpired, State::Pending);
        assert_eq!(shown(&[here]), "the one replica");
        assert_eq!(shown(&[here, here]), "all 2 replicas");
        assert_eq!(
            shown(&[here, gone]),
            "all 2 replicas (1 of them out of reach, and answering nothing)"
        );
        assert_eq!(shown(&[here, not_yet]), "1 of 2 replicas, all by 2030-01-01T00:00:00Z");
        assert_eq!(shown(&[State::Unspecified]), "0 of 1 replicas, all by 2030-01-01T00:00:00Z");
    }
}
