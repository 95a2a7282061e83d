//! The rows of replicas. They exist on PostgreSQL only: on SQLite there is one process, and nobody to be told.
//!
//! Each write is one message: a transaction of its own that takes no lock but that of the one row, and is on the disk
//! (and on a synchronous standby) when it returns. A message may be carried out although its answer was lost or came
//! too late, even after a later one. So what a row says never goes back: its beat only grows.

use std::time::Duration;

use sea_orm::QueryResult;

use super::Store;
use super::activation::USED;
use super::error::Fault;
use super::events::clock;
use super::follow::{id_literal, writable};
use super::row::{signed, signed_small, small, unsigned};
use crate::domain::Error;
use crate::domain::hex::{hex, unhex};
use crate::domain::replica::{ReplicaRow, Roster};
use crate::domain::tree::TreeHash;

impl Store {
    /// Writes a replica's row, with nothing applied; over one of the same id, if that has a lower beat.
    ///
    /// # Errors
    ///
    /// Those of the database; it may have been written nevertheless. [`Error::Unavailable`] with the reason if this
    /// process can't read what others write by now: nobody shall wait for it.
    pub async fn register(&self, row: &ReplicaRow) -> Result<(), Error> {
        if !self.is_shared() {
            return Ok(());
        }
        let used = format!("SELECT {USED} FROM store");
        let refused = |rows: Vec<QueryResult>| match rows.first() {
            Some(row) => self.refused(row),
            None => Err(Fault::internal("the store has lost its own row")),
        };
        if let Some(why) = self.ask(used, self.inner.following.read, refused).await? {
            return Err(Error::Unavailable(why));
        }
        let id = id_literal(&row.id)?;
        let (lease_ms, beat) = (signed(row.lease_ms)?, signed(row.beat)?);
        let reads_up_to = signed_small(row.reads_up_to)?;
        let version = hex(row.version.as_bytes());
        let versions: Vec<String> = row.root_key_versions.iter().map(u32::to_string).collect();
        let (versions, now) = (versions.join(","), clock(self.inner.pools.backend));
        let insert = format!(
            "INSERT INTO replicas (id, lease_ms, applied, beat, beat_time, start_time, version, reads_up_to, \
             root_key_versions) VALUES ('{id}', {lease_ms}, 0, {beat}, {now}, {now}, \
             convert_from(decode('{version}', 'hex'), 'UTF8'), {reads_up_to}, '{versions}') \
             ON CONFLICT (id) DO UPDATE SET lease_ms = excluded.lease_ms, applied = 0, beat = excluded.beat, \
             beat_time = excluded.beat_time, version = excluded.version, reads_up_to = excluded.reads_up_to, \
             root_key_versions = excluded.root_key_versions WHERE replicas.beat < excluded.beat RETURNING id"
        );
        match self.write_row(&insert).await? {
            true => Ok(()),
            false => Err(Error::Internal(format!("replica {id} has a row with a newer beat"))),
        }
    }

    /// Writes into a replica's row how far it has come, with a beat higher than the last; `false`: there is no such
    /// row, or this log does not have that leaf at that revision.
    ///
    /// # Errors
    ///
    /// Those of the database. It may have been written nevertheless.
    pub async fn beat(
        &self,
        replica: &str,
        beat: u64,
        applied: u64,
        leaf: Option<TreeHash>,
    ) -> Result<bool, Error> {
        if !self.is_shared() {
            return Ok(true);
        }
        let (id, beat, applied) = (id_literal(replica)?, signed(beat)?, signed(applied)?);
        let now = clock(self.inner.pools.backend);
        let same_log = match leaf {
            Some(leaf) => format!(
                " AND EXISTS (SELECT 1 FROM audit_events WHERE revision = {applied} AND leaf_hash = decode('{}', 'hex'))",
                hex(&leaf)
            ),
            None => String::new(),
        };
        self.write_row(&format!(
            "UPDATE replicas SET beat = {beat}, applied = {applied}, beat_time = {now} \
             WHERE id = '{id}' AND beat < {beat}{same_log} RETURNING id"
        ))
        .await
    }

    /// Removes a replica's row.
    ///
    /// # Errors
    ///
    /// Those of the database. It may have been removed nevertheless.
    pub async fn deregister(&self, replica: &str) -> Result<(), Error> {
        if self.is_shared() {
            let id = id_literal(replica)?;
            self.write_row(&format!("DELETE FROM replicas WHERE id = '{id}' RETURNING id")).await?;
        }
        Ok(())
    }

    /// Removes a row if it still has these values; says whether it had.
    ///
    /// # Errors
    ///
    /// Those of the database. It may have been removed nevertheless.
    pub async fn sweep(&self, replica: &str, beat: u64, applied: u64) -> Result<bool, Error> {
        if !self.is_shared() {
            return Ok(true);
        }
        let (id, beat, applied) = (id_literal(replica)?, signed(beat)?, signed(applied)?);
        self.write_row(&format!(
            "DELETE FROM replicas WHERE id = '{id}' AND beat = {beat} AND applied = {applied} RETURNING id"
        ))
        .await
    }

    /// All rows, by id, and the leaf hashes at these revisions; nothing on SQLite.
    ///
    /// # Errors
    ///
    /// Also if the database takes no writes: then it is not the one that replicas report to.
    pub async fn replicas(&self, revisions: &[u64]) -> Result<Roster, Error> {
        if !self.is_shared() {
            return Ok(Roster::default());
        }
        let revisions: Vec<String> = revisions.iter().map(u64::to_string).collect();
        let leaves = match revisions.as_slice() {
            [] => "''".to_owned(),
            // Once is enough, in the first row.
            some => format!(
                "CASE WHEN row_number() OVER (ORDER BY r.id) = 1 THEN \
                 (SELECT string_agg(revision || ':' || encode(leaf_hash, 'hex'), ',') FROM audit_events \
                 WHERE revision IN ({})) END",
                some.join(", ")
            ),
        };
        // A row in any case, which says what kind of database answers.
        let select = format!(
            "SELECT current_setting('transaction_read_only') AS read_only, {leaves} AS leaves, r.id, r.lease_ms, r.applied, r.beat, \
             {} - r.beat_time AS beat_age, r.version, r.reads_up_to, r.root_key_versions \
             FROM store LEFT JOIN replicas AS r ON 1 = 1 ORDER BY r.id",
            clock(self.inner.pools.backend)
        );
        self.ask(select, self.inner.following.read, read_rows).await
    }

    /// Writes one row, or none, in a transaction of its own; says whether there was one.
    async fn write_row(&self, statement: &str) -> Result<bool, Error> {
        let limit = self.inner.following.commit;
        let millis = limit.as_millis().max(1);
        // One message of several statements is one transaction (PostgreSQL's protocol, "Multiple Statements in a Simple
        // Query"), without a BEGIN and a COMMIT that would double what an idle replica sends. At whatever isolation level that is, a row that changed meanwhile
        // is either looked at again or an error. The timeouts end what we
        // no longer wait for. They do not touch the commit: it waits for the disk and the standby for as long as it
        // takes, and its answer, if it comes, is true. All are set by one statement, which gives no row: `concat` is
        // never null.
        let message = format!(
            "SELECT 1 WHERE concat(set_config('lock_timeout', '{millis}ms', true), \
             set_config('statement_timeout', '{millis}ms', true), \
             set_config('synchronous_commit', 'on', true)) IS NULL; {statement}"
        );
        self.ask(message, limit, |rows| Ok(!rows.is_empty())).await
    }
}

fn read_rows(rows: Vec<QueryResult>) -> Result<Roster, Fault> {
    let first = rows.first().ok_or_else(|| Fault::internal("the store has lost its own row"))?;
    writable(first)?;
    let leaves: Option<String> = first.try_get("", "leaves")?;
    let leaves = leaves.unwrap_or_default();
    let leaves = leaves.split(',').filter(|leaf| !leaf.is_empty()).map(parse_leaf);
    let leaves = leaves.collect::<Option<_>>();
    let leaves = leaves.ok_or_else(|| Fault::internal("a leaf hash has another form"))?;
    let mut read = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(id) = row.try_get::<Option<String>>("", "id")? else { continue };
        let beat_age: i64 = row.try_get("", "beat_age")?;
        let versions: String = row.try_get("", "root_key_versions")?;
        read.push(ReplicaRow {
            id,
            lease_ms: unsigned(row.try_get("", "lease_ms")?)?,
            applied: unsigned(row.try_get("", "applied")?)?,
            beat: unsigned(row.try_get("", "beat")?)?,
            beat_age: Duration::from_micros(u64::try_from(beat_age).unwrap_or(0)),
            version: row.try_get("", "version")?,
            reads_up_to: small(row.try_get("", "reads_up_to")?)?,
            root_key_versions: parse_versions(&versions),
        });
    }
    Ok(Roster { rows: read, leaves })
}

/// `revision:hash`.
fn parse_leaf(text: &str) -> Option<(u64, TreeHash)> {
    let (revision, leaf) = text.split_once(':')?;
    Some((revision.parse().ok()?, unhex(leaf)?.try_into().ok()?))
}

/// `1,2`; what is no number is no version that anybody could use.
pub(super) fn parse_versions(text: &str) -> Vec<u32> {
    text.split(',').filter_map(|version| version.parse().ok()).collect()
}
