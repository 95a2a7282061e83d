use std::time::Duration;

use super::change::{Edited, Note, edit, renewed};
use super::remember::{Reply, Request};
use super::{Control, KeyView, Made, Minted, within_reach};
use crate::domain::Error;
use crate::domain::audit::EventType;
use crate::domain::credential::mint_secret;
use crate::domain::key::NewSecret;
use crate::domain::permission::{Principal, Verb};
use crate::domain::random::draw;
use crate::domain::token::LogPosition;
use crate::store::{Before, Decision, Target};

/// Longest overlap of an old and a new secret version.
const MAX_OVERLAP: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A request for a new secret version of a key.
#[derive(Debug, Clone)]
pub struct RotateKey {
    /// The key.
    pub key_id: String,
    /// For how long the older versions stay valid; required, so that nobody ends them by omission.
    pub overlap: Option<Duration>,
    /// Makes the request safe to repeat; may be empty.
    pub request_id: String,
}

impl Control {
    /// Makes a new secret version of a key.
    ///
    /// # Errors
    ///
    /// Besides those of every change: the key is revoked, it would have four live versions, the
    /// principal lacks a reserved scope of the key, a `request_id` that was used before.
    pub async fn rotate_key(
        &self,
        principal: &Principal,
        request: RotateKey,
    ) -> Result<Made<Minted>, Error> {
        principal.require(Verb::RotateKey)?;
        let RotateKey { key_id, overlap, request_id } = request;
        self.require_key_id("key_id", &key_id)?;
        let overlap = overlap.filter(|overlap| *overlap <= MAX_OVERLAP).ok_or_else(|| {
            Error::invalid(
                "overlap",
                "must be given, from 0s to 366 days; 0s kills the older versions now",
            )
        })?;
        let contents = (&key_id, overlap.as_micros());
        let asked = Request::new(principal, Verb::RotateKey, &request_id, &contents)?;

        // The environment shows in the secret's prefix and never changes, so it may be read before.
        let seen = self.store.get_key(&key_id).await?;
        let environment = within_reach(principal, &key_id, seen.as_ref())?.environment;
        let secret = mint_secret(&self.brands, environment, draw(self.random.as_ref())?);
        let digest = self.store.data_key().digest(&key_id, secret.expose());
        let note = Note { request_id, ..Note::of(EventType::KeyRotated) };

        let decide = |state: &Before| {
            let principal = &renewed(principal, Verb::RotateKey, state)?;
            if let Some(reply) = asked.answered(state, self.store.data_key(), &self.brands)? {
                return Ok(Decision::Unchanged(reply));
            }
            let new = NewSecret { digest, hint: secret.hint() };
            let edited = edit(principal, &key_id, state, true, |key| {
                principal.require_all_reserved_of(&key.scopes)?;
                key.rotate(new, overlap, state.now)
            })?;
            let Some(Edited { before, after }) = edited else {
                return Err(Error::Internal("a rotation changed nothing".to_owned()));
            };
            let event = note.event(principal, Some(before), Some(&after));
            let remember =
                asked.seal(&after, &secret, self.store.data_key(), self.random.as_ref())?;
            Ok(Decision::Put { key: after.clone(), event, remember, reply: Reply::fresh(after) })
        };
        let done = self
            .store
            .change_key_for(
                Some(principal.key_id()),
                Target::Existing(&key_id),
                asked.slot(),
                decide,
            )
            .await?;
        // A repeated request follows the change that it made the first time.
        let revision = done.reply.key.revision;
        let position = LogPosition { revision, ..done.position };
        let committed = self.committed(position, done.place);
        let consistency_token = committed.consistency_token();
        let view = KeyView::of(done.reply.key, self.now());
        let secret = done.reply.secret.unwrap_or(secret);
        Ok(Made { reply: Minted { view, secret, consistency_token }, committed })
    }
}
