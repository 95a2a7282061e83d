use super::Control;
use crate::domain::Error;
use crate::domain::permission::{Principal, Verb};
use crate::domain::replica::ReplicaRow;

/// A request for the replicas of this store.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListReplicas;

/// The replicas of this store.
#[derive(Debug, Clone)]
pub struct ReplicaList {
    /// All of them, sorted by id.
    pub replicas: Vec<ReplicaView>,
}

/// A replica as another sees it.
#[derive(Debug, Clone)]
pub struct ReplicaView {
    /// What it says of itself.
    pub row: ReplicaRow,
    /// Whether it is the one that answers.
    pub is_self: bool,
}

impl Control {
    /// Lists the replicas of this store, the answering one among them.
    ///
    /// # Errors
    ///
    /// A principal of one account; those of the store.
    pub async fn list_replicas(
        &self,
        principal: &Principal,
        ListReplicas: ListReplicas,
    ) -> Result<ReplicaList, Error> {
        principal.require(Verb::ListReplicas)?;
        let mut rows = self.log.replica_rows().await?;
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        let own = self.log.replica_id();
        let replicas = rows.into_iter().map(|mut row| {
            let is_self = row.id == own;
            if is_self {
                // Further than what was last written.
                row.applied = row.applied.max(self.log.applied());
            }
            ReplicaView { row, is_self }
        });
        Ok(ReplicaList { replicas: replicas.collect() })
    }
}
