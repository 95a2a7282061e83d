//! How far a change has come on the replicas: what a flag asks for, and what the reply says.

use crate::cli::failure::Failure;
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
    /// Until none can answer from before the change, or --timeout is nearly over: then the exit code is 1
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

    /// Prints the reply, by `print`, and says on standard error before that if the change does not hold where whoever
    /// made it counts on it: everywhere, if that was waited for, and always on the server that was asked, since they
    /// ask it next.
    ///
    /// # Errors
    ///
    /// Those of printing, and [`Failure::NotEverywhere`] if it was waited for in vain. The reply is printed then.
    pub(super) fn told(&self, print: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        if let Some(warning) = self.warning() {
            output::warn(&warning);
        }
        print()?;
        let in_vain = self.waited_for_all() && !self.pending().is_empty();
        if in_vain { Err(Failure::NotEverywhere) } else { Ok(()) }
    }

    fn warning(&self) -> Option<String> {
        let (pending, by) = (self.pending(), table::time(self.effective_everywhere_by));
        let is_here = pending.iter().any(|one| one.self_);
        if !is_here && (pending.is_empty() || !self.waited_for_all()) {
            return None;
        }
        let ids: Vec<&str> = pending.iter().map(|one| one.replica_id.as_str()).collect();
        let mut warning = format!(
            "the change is made, but does not hold everywhere yet: {} may answer from before it until {by}",
            ids.join(", ")
        );
        if is_here {
            warning.push_str("; the server that was asked is one of them");
        }
        Some(warning)
    }

    fn waited_for_all(&self) -> bool {
        self.wait.wait == Some(For::All)
    }

    /// The replicas that may still answer from before the change. States of a later release are taken for that too.
    fn pending(&self) -> Vec<&ReplicaOutcome> {
        let known = [State::Confirmed, State::LeaseExpired];
        self.replicas.iter().filter(|one| !known.contains(&one.state())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: prost_types::Timestamp = prost_types::Timestamp { seconds: 1_893_456_000, nanos: 0 };

    /// What the first replica says of itself and the others.
    fn of(states: &[State]) -> Vec<ReplicaOutcome> {
        let outcome = |(number, state): (usize, &State)| ReplicaOutcome {
            replica_id: format!("r{number}"),
            state: (*state).into(),
            self_: number == 0,
        };
        states.iter().enumerate().map(outcome).collect()
    }

    fn outcome(replicas: &[ReplicaOutcome], wait: Option<For>) -> Outcome<'_> {
        Outcome { wait: Wait { wait }, replicas, effective_everywhere_by: Some(&BY) }
    }

    #[test]
    fn it_says_where_the_change_holds() {
        let (here, gone, not_yet) = (State::Confirmed, State::LeaseExpired, State::Pending);
        let shown = |states: &[State]| outcome(&of(states), None).shown();
        assert_eq!(shown(&[here]), "the one replica");
        assert_eq!(shown(&[here, here]), "all 2 replicas");
        assert_eq!(
            shown(&[here, gone]),
            "all 2 replicas (1 of them out of reach, and answering nothing)"
        );
        assert_eq!(shown(&[here, not_yet]), "1 of 2 replicas, all by 2030-01-01T00:00:00Z");
        assert_eq!(shown(&[State::Unspecified]), "0 of 1 replicas, all by 2030-01-01T00:00:00Z");
    }

    #[test]
    fn who_waited_for_all_or_asks_the_same_server_next_is_warned() {
        const MADE: &str = "the change is made, but does not hold everywhere yet: ";
        const HERE: &str = "; the server that was asked is one of them";
        let (here, gone, not_yet) = (State::Confirmed, State::LeaseExpired, State::Pending);
        let told = |states: &[State], wait| {
            let replicas = of(states);
            let outcome = outcome(&replicas, wait);
            let mut is_printed = false;
            let ended = outcome.told(|| {
                is_printed = true;
                Ok(())
            });
            assert!(is_printed, "the reply is there whatever it says");
            (outcome.warning(), matches!(ended, Err(Failure::NotEverywhere)))
        };
        let until = "may answer from before it until 2030-01-01T00:00:00Z";
        for wait in [None, Some(For::None)] {
            assert_eq!(told(&[here, not_yet], wait), (None, false));
            let warning = format!("{MADE}r0 {until}{HERE}");
            assert_eq!(told(&[not_yet, here], wait), (Some(warning), false));
        }
        let all = Some(For::All);
        assert_eq!(told(&[here, gone], all), (None, false));
        assert_eq!(told(&[here, not_yet], all), (Some(format!("{MADE}r1 {until}")), true));
        let warning = format!("{MADE}r0, r1 {until}{HERE}");
        assert_eq!(told(&[not_yet, State::Unspecified], all), (Some(warning), true));
    }
}
