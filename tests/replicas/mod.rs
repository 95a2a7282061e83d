//! Several real servers on one PostgreSQL, while they are frozen, cut off, killed, started and upgraded, and while
//! their database goes away, fails over and loses changes. What each may answer is DESIGN's: never from before a change
//! that is effective everywhere, never after its lease, and without an error as long as the lease holds.

mod absence;
mod chaos;
mod clocks;
mod failover;
mod fork;
mod idle;
mod journey;
mod load;

mod rolling;
mod rows;
mod upgrades;

use std::time::Duration;

use countersign::rpc::proto::replica_outcome::State;
use countersign::rpc::proto::{CreateKeyRequest, ReplicaOutcome, Wait};
use futures::{StreamExt as _, stream};

use crate::harness::{Caller, Credential, canary, key};

/// Far more than any of it takes: a test that hangs fails, one on a busy machine does not.
const SOON: Duration = Duration::from_secs(60);

/// Mints so many keys, without waiting until every replica knows them.
async fn mint(caller: &Caller, count: usize) -> Vec<Credential> {
    let minted = (0..count).map(|number| async move {
        let key = Some(key("acme", &format!("application-{number}")));
        let wait = Wait::None.into();
        let request = CreateKeyRequest { key, wait, ..CreateKeyRequest::default() };
        let reply = caller.admin().create_key(request).await.expect("the key can be created");
        let reply = reply.into_inner();
        canary::record_secret(&reply.secret);
        let key_id = reply.key.expect("CreateKey returns the key").key_id;
        Credential { key_id, secret: reply.secret }
    });
    stream::iter(minted).buffered(8).collect().await
}

/// How many of the replicas that a reply names stand so.
fn count(replicas: &[ReplicaOutcome], state: State) -> usize {
    replicas.iter().filter(|replica| replica.state() == state).count()
}
