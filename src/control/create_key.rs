use super::change::{Note, renewed};
use super::remember::{Reply, Request};
use super::{Control, KeyView, Made, Minted};
use crate::domain::audit::EventType;
use crate::domain::credential::{mint_key_id, mint_secret};
use crate::domain::draft::{KeyDraft, MUST_BE_IN_THE_FUTURE};
use crate::domain::key::{Key, NewSecret};
use crate::domain::permission::{Principal, Verb};
use crate::domain::random::draw;
use crate::domain::token::LogPosition;
use crate::domain::{Error, Timestamp};
use crate::store::{Before, Decision, Target};

/// A request to create a key.
#[derive(Debug, Clone)]
pub struct CreateKey {
    /// The key as the caller asks for it.
    pub draft: KeyDraft,
    /// Makes the request safe to repeat; may be empty.
    pub request_id: String,
}

impl Control {
    /// Creates a key and its first secret.
    ///
    /// # Errors
    ///
    /// Besides those of every change: reserved scopes that the principal lacks, an account beyond its
    /// reach, a `request_id` that was used before.
    pub async fn create_key(
        &self,
        principal: &Principal,
        request: CreateKey,
    ) -> Result<Made<Minted>, Error> {
        principal.require(Verb::CreateKey)?;
        request.draft.refuse_secrets(&self.brands)?;
        let asked = Request::new(principal, Verb::CreateKey, &request.request_id, &request.draft)?;
        let checked = request.draft.clone().check(self.now());
        // A repeated request gets its reply even if its key has expired meanwhile, so for one that may
        // be repeated the expiry is held against the clock only when it turns out to be the first.
        let may_be_repeated = asked.slot().is_some();
        let spec = match checked {
            Err(all) if may_be_repeated => request.draft.check(Timestamp::MIN).map_err(|_| all)?,
            checked => checked?,
        };
        if !principal.reach().covers(&spec.account_id) {
            return Err(Error::PermissionDenied(
                "the account is not yours to administer".to_owned(),
            ));
        }

        let key_id = mint_key_id(&self.brands, spec.environment, draw(self.random.as_ref())?);
        let secret = mint_secret(&self.brands, spec.environment, draw(self.random.as_ref())?);
        let digest = self.store.data_key().digest(key_id.as_str(), secret.expose());
        let note = Note { request_id: request.request_id, ..Note::of(EventType::KeyCreated) };

        let decide = |state: &Before| {
            let principal = &renewed(principal, Verb::CreateKey, state)?;
            principal.require_all_reserved_of(&spec.scopes)?;
            if let Some(reply) = asked.answered(state, self.store.data_key(), &self.brands)? {
                return Ok(Decision::Unchanged(reply));
            }
            if spec.expire_time.is_some_and(|end| end <= state.now) {
                return Err(Error::invalid("key.expire_time", MUST_BE_IN_THE_FUTURE));
            }
            if state.key.is_some() || state.deleted.is_some() {
                return Err(Error::Internal("a freshly drawn key id is in use".to_owned()));
            }
            let new = NewSecret { digest, hint: secret.hint() };
            let creator = principal.key_id().as_str();
            let mut key = Key::create(spec.clone(), key_id.clone(), new, creator, state.now);
            state.stamp(&mut key);
            let event = note.event(principal, None, Some(&key));
            let remember =
                asked.seal(&key, &secret, self.store.data_key(), self.random.as_ref())?;
            Ok(Decision::Put { key: key.clone(), event, remember, reply: Reply::fresh(key) })
        };
        let done = self
            .store
            .change_key_for(Some(principal.key_id()), Target::New(&key_id), asked.slot(), decide)
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
