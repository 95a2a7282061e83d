//! A primary, a standby that follows it, and the address at which whoever is primary is found.
//!
//! ```text
//!   replicas ──► address ──► primary ──► replication ──► standby
//!                   └ ─ ─ ─ ─ ─ ─ after the failover ─ ─ ─ ┘
//! ```

use std::time::Duration;

use super::{Cluster, Proxy, Store, eventually, postgres};

const SOON: Duration = Duration::from_secs(60);

pub struct Pair {
    pub primary: Cluster,
    pub standby: Cluster,
    /// Leads to the primary of the moment.
    pub address: Proxy,
    /// Between the standby and the primary.
    pub replication: Proxy,
}

impl Pair {
    /// With a synchronous standby nothing is acknowledged that it does not have.
    pub async fn synchronous() -> Self {
        let pair = Self::asynchronous().await;
        pair.primary.wait_for_standbys(true).await;
        pair
    }

    pub async fn asynchronous() -> Self {
        let primary = Cluster::start().await;
        let address = Proxy::to(primary.address()).await;
        let replication = Proxy::to(primary.address()).await;
        let standby = Cluster::standby_of(&primary, replication.address()).await;
        Self { primary, standby, address, replication }
    }

    /// A fresh store on the primary, reached at the address.
    pub async fn store(&self) -> Store {
        let url = self.primary.new_database().await;
        Store::fresh_at(postgres::through(&url, self.address.address())).await
    }

    /// Waits until the standby has all that the primary has now.
    pub async fn standby_has_all(&self) {
        const POSITION: &str = "SELECT (pg_current_wal_lsn() - '0/0')::bigint";
        const REPLAYED: &str = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint";
        let position = self.primary.number(POSITION).await;
        eventually("the standby has it all", SOON, async || {
            self.standby.number(REPLAYED).await >= position
        })
        .await;
    }

    /// The primary is gone at once, and the standby takes its place. On return it takes writes.
    pub async fn fail_over(&mut self) {
        self.primary.crash();
        // What was under way to the standby is lost with the primary.
        self.replication.refuse();
        self.standby.promote().await;
        self.address.point_to(self.standby.address());
        self.address.cut();
    }
}
