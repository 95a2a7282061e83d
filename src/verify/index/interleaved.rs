//! Every interleaving of one writer's steps with whole look-ups, and of one look-up's steps with whole
//! changes, over changes that proptest chooses. The keys collide, so that entries move and tags are shared.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;

use super::stress::key;
use super::tests::{change, everything_of};
use super::*;
use crate::domain::verdict::{IndexChange, VerifiableKey};

/// What a plain map of keys holds.
type Model = HashMap<String, Arc<VerifiableKey>>;

fn colliding() -> Index {
    let mut index = Index::new();
    index.fingerprints.colliding = true;
    index
}

fn change_model(model: &mut Model, change: &IndexChange) {
    match change {
        IndexChange::Put(key) => {
            let at_hand = model.get(key.key_id.as_str());
            if at_hand.is_none_or(|at_hand| at_hand.revision <= key.revision) {
                model.insert(key.key_id.to_string(), Arc::clone(key));
            }
        }
        IndexChange::Remove(key_id) => _ = model.remove(key_id.as_str()),
        IndexChange::Clear => model.clear(),
        IndexChange::Expect(_) => {}
    }
}

/// Changes of so few keys that the same one is changed again and again, and old records are soon in use again.
fn changes_of_few() -> impl Strategy<Value = Vec<IndexChange>> {
    let key_id = |id: &KeyId| KeyId::found(&format!("k{}", id.as_str().len() % 4));
    let of_few = change().prop_map(move |change| match change {
        IndexChange::Put(key) => {
            let key_id = key_id(&key.key_id);
            IndexChange::Put(Arc::new(VerifiableKey { key_id, ..(*key).clone() }))
        }
        IndexChange::Remove(id) => IndexChange::Remove(key_id(&id)),
        other @ (IndexChange::Clear | IndexChange::Expect(_)) => other,
    });
    prop::collection::vec(of_few, 1..120)
}

fn in_model(model: &Model, key_id: &str) -> Option<String> {
    model.get(key_id).map(|key| everything_of(key))
}

/// Whether a reader has enough of changes. On its own thread it would wait for itself.
fn held_off(index: &Index) -> bool {
    index.writer.try_lock().is_err()
}

/// A reader that always meets a change would look for ever.
#[test]
fn a_look_up_ends_however_often_its_key_changes() {
    const FAR_TOO_MANY: u64 = 1_000_000;
    let put = |revision| IndexChange::Put(Arc::new(key("k", revision)));
    let (index, revision) = (Rc::new(colliding()), Rc::new(Cell::new(1)));
    index.apply(put(1));
    let (writer, changed) = (Rc::clone(&index), Rc::clone(&revision));
    let change = move || {
        if !held_off(&writer) {
            changed.set(changed.get() + 1);
            assert!(changed.get() < FAR_TOO_MANY, "it looks for ever");
            writer.apply(put(changed.get()));
        }
    };
    let answer = pause::with(change, || index.get("k")).expect("it is there at every moment");
    assert_eq!(answer.revision, revision.get(), "the answer of the moment in which it ended");
    assert!(revision.get() > TRIES as u64, "no look-up was disturbed as often as that");
}

fn ids_of(changes: &[IndexChange]) -> BTreeSet<String> {
    let ids = changes.iter().filter_map(|change| match change {
        IndexChange::Put(key) => Some(key.key_id.to_string()),
        IndexChange::Remove(key_id) => Some(key_id.to_string()),
        IndexChange::Clear | IndexChange::Expect(_) => None,
    });
    ids.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// A reader need not wait for a writer that was stopped anywhere: it gets the old answer or the new.
    #[test]
    fn nobody_waits_for_a_writer_that_stands_still(changes in changes_of_few()) {
        let (index, ids) = (Rc::new(colliding()), ids_of(&changes));
        let wrong = Rc::new(RefCell::new(None));
        let mut model = Model::new();
        for change in changes {
            let before = model.clone();
            change_model(&mut model, &change);
            let (reader, wrong, ids, after) =
                (Rc::clone(&index), Rc::clone(&wrong), ids.clone(), model.clone());
            let look = move || {
                for id in &ids {
                    let answer = reader.try_get(reader.fingerprints.of(id), id).map_err(|Changed| ());
                    let answer = answer.map(|answer| answer.as_ref().map(everything_of));
                    let (old, new) = (in_model(&before, id), in_model(&after, id));
                    if answer != Ok(old) && answer != Ok(new) {
                        wrong.replace(Some(format!("{id}: {answer:?}")));
                    }
                }
            };
            pause::with(look, || index.apply(change));
        }
        prop_assert_eq!(wrong.take(), None);
    }

    /// Whatever changes while a reader was stopped, its answer was true at some moment in between.
    #[test]
    fn an_answer_was_true_at_some_moment(
        changes in changes_of_few(),
        // How many changes are made at each place where a reader can be stopped.
        meanwhile in prop::collection::vec(prop_oneof![3 => Just(0), 1 => 1..5_usize], 1..100),
    ) {
        let (index, ids) = (Rc::new(colliding()), ids_of(&changes));
        let model = Rc::new(RefCell::new(Model::new()));
        let rest = Rc::new(RefCell::new(changes.into_iter()));
        let meanwhile = Rc::new(RefCell::new(meanwhile.into_iter().cycle()));
        while rest.borrow().len() > 0 {
            for id in &ids {
                let truths = Rc::new(RefCell::new(vec![in_model(&model.borrow(), id)]));
                let (writer, now, of_id) = (Rc::clone(&index), Rc::clone(&model), id.clone());
                let (seen, rest, many) = (Rc::clone(&truths), Rc::clone(&rest), Rc::clone(&meanwhile));
                let change = move || {
                    if held_off(&writer) {
                        return;
                    }
                    for _ in 0..many.borrow_mut().next().unwrap_or(0) {
                        let Some(change) = rest.borrow_mut().next() else { return };
                        change_model(&mut now.borrow_mut(), &change);
                        writer.apply(change);
                        seen.borrow_mut().push(in_model(&now.borrow(), &of_id));
                    }
                };
                let answer = pause::with(change, || index.get(id));
                let answer = answer.as_ref().map(everything_of);
                prop_assert!(truths.borrow().contains(&answer), "{}: {:?} of {:?}", id, answer, truths);
            }
            // One in any case, so that this ends.
            if let Some(change) = rest.borrow_mut().next() {
                change_model(&mut model.borrow_mut(), &change);
                index.apply(change);
            }
        }
    }
}
