//! What a change answers when it is made but this replica can't see it: here nobody follows the log.

use std::sync::Arc;
use std::time::Duration;

use countersign::control::{
    Control, CreateKey, FirstCredential, Occasion, RevokeKey, RotateKey, Wait,
    install_administrator,
};
use countersign::domain::audit::RevokeReason;
use countersign::domain::credential::{Brands, from_pair, mint_key_id, mint_secret};
use countersign::domain::draft::KeyDraft;
use countersign::domain::ids::Environment;
use countersign::domain::key::State;
use countersign::domain::keyring::{RootKey, RootKeyring};
use countersign::domain::permission::{Origin, Principal};
use countersign::domain::position::Position;
use countersign::domain::random::{OsRandom, draw};
use countersign::domain::replica::ReplicaState;
use countersign::domain::time::{Clock, SystemClock};
use countersign::store::{DatabaseUrl, Settings, Store, migrate};
use countersign::verify::{Index, Verifier};

use crate::harness::following::follow;
use crate::harness::{canary, run};

/// The verbs over a fresh store whose log is loaded and then not followed, and an administrator.
async fn blind() -> (Control, Store, Principal) {
    let file = run::new_data_dir(&run::unique_name()).join("countersign.db");
    let settings = Settings::new(DatabaseUrl::sqlite_file(&file));
    migrate(&settings).await.expect("migrates");
    let root = RootKeyring::of(RootKey::new(1, draw(&OsRandom).expect("random")));
    let store = Store::open(&settings, root, Arc::new(OsRandom)).await.expect("opens");

    let brands = Brands::default();
    let first = FirstCredential {
        key_id: mint_key_id(&brands, Environment::Live, draw(&OsRandom).expect("random")),
        secret: mint_secret(&brands, Environment::Live, draw(&OsRandom).expect("random")),
    };
    canary::record_secret(first.secret.expose());
    install_administrator(&store, &first, Occasion::First).await.expect("installed");

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let (position, index) = (Arc::new(Position::default()), Arc::new(Index::default()));
    let apply = {
        let index = Arc::clone(&index);
        Box::new(move |change| index.apply(change))
    };
    let impatient = countersign::log::Settings {
        visible_within: Duration::from_millis(50),
        ..countersign::log::Settings::default()
    };
    let (clock_too, position_too) = (Arc::clone(&clock), Arc::clone(&position));
    let (log, _not_run) = follow(&store, impatient, clock_too, position_too, apply).await;

    let data_key = Arc::clone(store.data_key());
    let verifier = Verifier::new(
        index,
        data_key,
        position,
        Arc::clone(&clock),
        brands.clone(),
        store.store_id(),
    );
    let presented = from_pair(first.key_id.as_str(), first.secret.expose(), &brands);
    let principal = verifier.authenticate(&presented, None, Origin::default()).expect("admitted");
    let control = Control::new(store.clone(), log, clock, Arc::new(OsRandom), brands);
    (control, store, principal)
}

#[tokio::test]
async fn a_change_is_told_and_that_it_is_not_seen_here_is_told_too() {
    let (control, store, admin) = blind().await;
    let draft = KeyDraft {
        account_id: "acme".to_owned(),
        application_id: "billing".to_owned(),
        environment: Some(Environment::Live),
        display_name: "unseen".to_owned(),
        ..KeyDraft::default()
    };
    let create = CreateKey { draft, request_id: String::new() };
    let made = control.create_key(&admin, create).await.expect("the secret would be lost");
    canary::record_secret(made.reply.secret.expose());
    let key_id = made.reply.view.key.key_id.to_string();

    let rotate = |overlap| RotateKey {
        key_id: key_id.clone(),
        overlap: Some(Duration::from_secs(overlap)),
        request_id: String::new(),
    };
    let second = control.rotate_key(&admin, rotate(3_600)).await.expect("nobody is cut off");
    canary::record_secret(second.reply.secret.expose());
    let third = control.rotate_key(&admin, rotate(0)).await.expect("the secret would be lost");
    canary::record_secret(third.reply.secret.expose());

    let revoke = RevokeKey {
        key_id: key_id.clone(),
        reason: Some(RevokeReason::Compromised),
        comment: String::new(),
        force: false,
    };
    let revoked = control.revoke_key(&admin, revoke).await.expect("it is made");
    let every = [made.committed(), second.committed(), third.committed(), revoked.committed()];
    for (committed, wait) in every.into_iter().zip([Wait::None, Wait::Briefly].into_iter().cycle())
    {
        let told = control.everywhere(committed, wait, None, std::future::pending()).await;
        let states: Vec<_> = told.replicas.iter().map(|(_, state)| *state).collect();
        assert_eq!(states, [ReplicaState::Pending], "the key still passes here as it was");
    }
    let key = store.get_key(&key_id).await.expect("readable").expect("there");
    assert_eq!(key.state(SystemClock::start().now()), State::Revoked, "but it is made");
}
