//! A host's way to the database, as the follower and the waiters see it.

use std::sync::Arc;
use std::time::Duration;

use countersign::domain::ids::{AccountId, ApplicationId, Environment, KeyId};
use countersign::domain::replica::{EpochStart, LogEnd, Polled, ReplicaRow, Roster};
use countersign::domain::tree::TreeHash;
use countersign::domain::verdict::{IndexChange, Standing, VerifiableKey};
use countersign::domain::{Error, Timestamp};
use countersign::log::{Apply, Feed, Timer as _};
use countersign::store::{Events, KeyState};
use futures::future::{Either, select};

use super::database::Database;
use super::world::{CALL_LIMIT, Call, Host, HostTimer};

#[derive(Clone)]
pub struct SimulatedFeed(pub Arc<Host>);

impl SimulatedFeed {
    /// Calls the database, for as long as the store would.
    pub async fn call<T: Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(&mut Database, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let answered = self.0.world.call(self.0.number, call, work);
        let limit = HostTimer(Arc::clone(&self.0)).sleep(CALL_LIMIT);
        match select(answered, limit).await {
            Either::Left((Ok(value), _)) => Ok(value),
            Either::Left((Err(_), limit)) => {
                // Lost on the way: nobody says so, it only takes too long.
                limit.await;
                Err(Error::Unavailable("no answer"))
            }
            Either::Right(_) => Err(Error::Unavailable("no answer")),
        }
    }
}

/// A key as the database has it.
fn key(key_id: &str, revoked_at: Option<u64>) -> VerifiableKey {
    VerifiableKey {
        key_id: KeyId::from_stored(key_id.to_owned()).expect("valid"),
        account_id: AccountId::parse("acme").expect("valid"),
        application_id: ApplicationId::parse("web").expect("valid"),
        environment: Environment::Live,
        standing: if revoked_at.is_some() { Standing::Revoked } else { Standing::Active },
        scopes: Default::default(),
        allowed_cidrs: Default::default(),
        expire_time: None,
        revision: revoked_at.unwrap_or(0),
        slots: Default::default(),
    }
}

impl Feed for SimulatedFeed {
    fn is_shared(&self) -> bool {
        true
    }

    async fn poll(&self, replica: &str, applied: u64) -> Result<Polled, Error> {
        let replica = replica.to_owned();
        self.call(Call::Poll, move |database, now| database.poll(&replica, applied, now)).await
    }

    async fn end(&self) -> Result<LogEnd, Error> {
        self.call(Call::Read, |database, now| database.end(now)).await
    }

    async fn leaf(&self, revision: u64) -> Result<Option<TreeHash>, Error> {
        self.call(Call::Read, move |database, _| database.leaf(revision)).await
    }

    async fn epochs(&self) -> Result<Vec<EpochStart>, Error> {
        self.call(Call::Read, |database, _| database.epochs.clone()).await
    }

    async fn events_after(&self, _: u64, _: u32, _: usize) -> Result<Events, Error> {
        Ok(Events { events: Vec::new(), complete: true })
    }

    async fn key_states(&self, key_ids: &[String]) -> Result<Vec<KeyState>, Error> {
        let key_ids = key_ids.to_vec();
        self.call(Call::Read, move |database, _| {
            let state = |id: &String| KeyState::Sealed(key(id, database.revoked.get(id).copied()));
            key_ids.iter().map(state).collect()
        })
        .await
    }

    /// Keys that are not handed over are active: only what was revoked is of interest.
    async fn load(&self, end: &LogEnd, apply: &Apply) -> Result<u64, Error> {
        // A load takes several readings, and the database may change in between.
        let mut from = String::new();
        let mut loaded = 0;
        loop {
            let after = from.clone();
            let end = *end;
            let (page, leaf): (Vec<(String, u64)>, _) = self
                .call(Call::Load, move |database, _| {
                    let later = database.revoked.iter().filter(|(id, _)| **id > after);
                    let page = later.take(8).map(|(id, at)| (id.clone(), *at)).collect();
                    (page, database.leaf(end.revision))
                })
                .await?;
            if leaf != end.leaf {
                return Err(Error::Unavailable("the keys were read from another log than its end"));
            }
            let Some((last, _)) = page.last() else { return Ok(loaded) };
            from.clone_from(last);
            loaded += page.len() as u64;
            for (id, at) in &page {
                apply(IndexChange::Put(Arc::new(key(id, Some(*at)))));
            }
        }
    }

    async fn register(&self, row: &ReplicaRow) -> Result<(), Error> {
        let row = row.clone();
        self.call(Call::Beat, move |database, _| database.register(row)).await
    }

    async fn beat(
        &self,
        replica: &str,
        beat: u64,
        applied: u64,
        leaf: Option<TreeHash>,
    ) -> Result<bool, Error> {
        let replica = replica.to_owned();
        self.call(Call::Beat, move |database, _| database.beat(&replica, beat, applied, leaf)).await
    }

    async fn deregister(&self, replica: &str) -> Result<(), Error> {
        let replica = replica.to_owned();
        self.call(Call::Beat, move |database, _| {
            database.rows.remove(&replica);
        })
        .await
    }

    async fn replicas(&self, revisions: &[u64]) -> Result<Roster, Error> {
        let revisions = revisions.to_vec();
        self.call(Call::Rows, move |database, _| {
            let leaf = |at: &u64| database.leaf(*at).map(|leaf| (*at, leaf));
            let rows = database.rows.values().cloned().collect();
            Roster { rows, leaves: revisions.iter().filter_map(leaf).collect() }
        })
        .await
    }

    async fn sweep(&self, replica: &str, beat: u64, applied: u64) -> Result<bool, Error> {
        let replica = replica.to_owned();
        self.call(Call::Beat, move |database, _| database.sweep(&replica, beat, applied)).await
    }
}

/// What a host says of itself.
pub fn row(id: String, lease: Duration) -> ReplicaRow {
    ReplicaRow {
        id,
        lease_ms: u64::try_from(lease.as_millis()).expect("short"),
        applied: 0,
        beat: 0,
        beat_age: Duration::ZERO,
        version: "0.1.0".to_owned(),
        reads_up_to: 2,
        root_key_versions: vec![1],
    }
}
