//! The service against a plain model of its rules: random sequences of steps get the same answers
//! from the model, from SQLite and from PostgreSQL. A failing sequence is shortened and printed.

mod real;
mod rules;
mod steps;

use std::cell::RefCell;
use std::rc::Rc;

use proptest::test_runner::{Config, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use tokio::runtime::Runtime;

use crate::harness::{Caller, Database, Server};
use real::Account;
use rules::Rules;
use steps::Step;

const CASES: u32 = 100;
const SHORTEST: usize = 20;
const LONGEST: usize = 60;
/// A failing case is tried so often, shorter and shorter.
const SHORTENINGS: u32 = 300;

thread_local! {
    /// Where the cases run; each has an account of its own there.
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// A server on each database, for all cases.
struct World {
    runtime: Runtime,
    servers: [(Server, Caller); 2],
}

impl World {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let start = async |database| {
            let builder = Server::on(database).await.with_env("COUNTERSIGN_LOG", "debug");
            let server = builder.start().await;
            let admin = server.as_admin().await;
            (server, admin)
        };
        let servers = runtime
            .block_on(async { [start(Database::Sqlite).await, start(Database::Postgres).await] });
        Self { runtime, servers }
    }
}

/// One case on both databases.
struct Case {
    world: Rc<World>,
    on_sqlite: Account,
    on_postgres: Account,
}

impl StateMachineTest for Case {
    type SystemUnderTest = Self;
    type Reference = Rules;

    fn init_test(_: &Rules) -> Self {
        let world = WORLD.with_borrow(|world| world.clone().expect("the servers run"));
        let name = Account::new_name();
        let [on_sqlite, on_postgres] = world
            .servers
            .each_ref()
            .map(|(server, admin)| Account::new(&name, admin.clone(), server.admin().secret));
        Self { on_sqlite, on_postgres, world }
    }

    fn apply(mut case: Self, rules: &Rules, step: Step) -> Self {
        let world = Rc::clone(&case.world);
        let (sqlite, postgres) = world.runtime.block_on(async {
            tokio::join!(case.on_sqlite.take(&step), case.on_postgres.take(&step))
        });
        assert_eq!(sqlite, rules.answer, "SQLite (left) and the rules (right) about {step:?}");
        assert_eq!(
            postgres, rules.answer,
            "PostgreSQL (left) and the rules (right) about {step:?}"
        );
        case
    }

    /// Every change, and nothing else, is in the log.
    fn teardown(case: Self, rules: Rules) {
        let world = Rc::clone(&case.world);
        let (sqlite, postgres) = world
            .runtime
            .block_on(async { tokio::join!(case.on_sqlite.log(), case.on_postgres.log()) });
        assert_eq!(sqlite, rules.log(), "SQLite's log (left) and what the rules say was changed");
        assert_eq!(
            postgres,
            rules.log(),
            "PostgreSQL's log (left) and what the rules say was changed"
        );
    }
}

#[test]
fn the_service_answers_as_its_rules_say_on_both_databases() {
    WORLD.set(Some(Rc::new(World::start())));
    let config = Config {
        cases: CASES,
        max_shrink_iters: SHORTENINGS,
        failure_persistence: None,
        ..Config::default()
    };
    let steps = Rules::sequential_strategy(SHORTEST..=LONGEST);
    let outcome = TestRunner::new(config.clone()).run(&steps, |(rules, steps, seen)| {
        Case::test_sequential(config.clone(), rules, steps, seen);
        Ok(())
    });
    drop(WORLD.take());
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
