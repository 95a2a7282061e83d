//! The route table as a whole.

use super::*;

fn entry(methods: &[&str], path: &str) -> Entry {
    Entry {
        methods: methods.iter().map(ToString::to_string).collect(),
        path: path.to_owned(),
        scopes: Vec::new(),
        account: None,
        application: None,
        environment: None,
    }
}

fn table(entries: Vec<Entry>) -> Result<Routes, String> {
    Routes::new(entries.into_iter().enumerate().map(|(index, entry)| (10 * (index + 1), entry)))
}

fn demand(routes: &Routes, method: &str, target: &str) -> Option<Result<Demand, Unmeetable>> {
    routes.demand(method, &Path::of(target).expect("a path"))
}

#[test]
fn entries_that_overlap_are_named_with_both_lines() {
    let error =
        table(vec![entry(&["GET"], "/a"), entry(&["GET", "PUT"], "/x/{id}"), entry(&[], "/x/y")]);
    assert_eq!(
        error.expect_err("an overlap"),
        "the routes of line 20 (GET,PUT /x/{id}) and of line 30 (any method /x/y) overlap: \
         a request could be for either"
    );
    for (one, another) in [
        (entry(&["GET"], "/a/**"), entry(&["GET"], "/a/b/c")),
        (entry(&["GET"], "/a/{x}"), entry(&["GET"], "/{y}/b")),
        (entry(&[], "/"), entry(&["GET"], "/**")),
    ] {
        assert!(table(vec![one, another]).is_err());
    }
    let apart = vec![
        entry(&["GET"], "/a/{x}"),
        entry(&["POST"], "/a/{x}"),
        entry(&["GET"], "/a/{x}/b"),
        entry(&["GET"], "/a/"),
        entry(&["GET"], "/b/**"),
    ];
    assert_eq!(table(apart).map(|routes| routes.len()), Ok(5));
}

#[test]
fn what_an_entry_asks_for_is_what_holds() {
    let routes = table(vec![
        Entry {
            scopes: vec!["transactions:read".to_owned()],
            account: Some("{account}".to_owned()),
            application: Some("billing".to_owned()),
            environment: Some(Environment::Test),
            ..entry(&["GET"], "/accounts/{account}/transactions")
        },
        entry(&["GET"], "/open"),
    ])
    .expect("a good table");
    let found = demand(&routes, "GET", "/accounts/acme/transactions?account=other");
    let expected = Demand {
        scopes: vec![KeptScope::parse("transactions:read").expect("a scope")],
        account: Some(AccountId::parse("acme").expect("an id")),
        application: Some(ApplicationId::parse("billing").expect("an id")),
        environment: Some(Environment::Test),
    };
    assert_eq!(found, Some(Ok(expected)));
    // Not to say an environment is to say live, whatever a gateway says of its route.
    let live = Demand { environment: Some(Environment::Live), ..Demand::default() };
    assert_eq!(demand(&routes, "GET", "/open"), Some(Ok(live.clone())));
    let test = Demand { environment: Some(Environment::Test), ..Demand::default() };
    assert_eq!(live.and(test), Err(Unmeetable));
    // No account can be called that, so no key is of it.
    assert_eq!(demand(&routes, "GET", "/accounts/a%20b/transactions"), Some(Err(Unmeetable)));
    for (method, target) in
        [("POST", "/open"), ("get", "/open"), ("GET", "/open/"), ("GET", "/Open")]
    {
        assert_eq!(demand(&routes, method, target), None, "{method} {target}");
    }
}

#[test]
fn a_bad_entry_names_its_line_and_what_is_wrong() {
    for (bad, says) in [
        (entry(&["get"], "/a"), "line 10: methods: 'get' must be in capitals"),
        (entry(&[], "a"), "line 10: path must begin with '/'"),
        (Entry { scopes: vec!["a:*".to_owned()], ..entry(&[], "/a") }, "line 10: scopes: 'a:*'"),
        (
            Entry { account: Some("{x}".to_owned()), ..entry(&[], "/a") },
            "line 10: account: the path has no {x}",
        ),
        (
            Entry { application: Some("a b".to_owned()), ..entry(&[], "/a") },
            "line 10: application: ",
        ),
    ] {
        let error = table(vec![bad]).expect_err("a bad entry");
        assert!(error.starts_with(says), "{error}");
    }
    let many = (0..=MAX_ROUTES).map(|number| entry(&[], &format!("/{number}"))).collect();
    assert!(table(many).expect_err("too many").contains("at most 500"));
}

#[test]
fn two_demands_hold_together_or_nothing_meets_them() {
    let scope = |text| KeptScope::parse(text).expect("a scope");
    let account = |text| Some(AccountId::parse(text).expect("an id"));
    let one = Demand {
        scopes: vec![scope("a"), scope("b")],
        account: account("acme"),
        ..Demand::default()
    };
    let another = Demand { scopes: vec![scope("b"), scope("c")], ..Demand::default() };
    let both = one.clone().and(another).expect("they agree");
    assert_eq!(both.scopes, [scope("a"), scope("b"), scope("c")]);
    assert_eq!(both.account, account("acme"));
    let other = Demand { account: account("other"), ..Demand::default() };
    assert_eq!(one.and(other), Err(Unmeetable));
    let live = Demand { environment: Some(Environment::Live), ..Demand::default() };
    let test = Demand { environment: Some(Environment::Test), ..Demand::default() };
    assert_eq!(live.and(test), Err(Unmeetable));
}

#[test]
fn every_field_of_an_entry_is_documented() {
    let unknown =
        toml::from_str::<Entry>("nothing = 1").expect_err("no such field").message().to_owned();
    let names: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
    let (mut real, mut told) = (names, FIELDS.map(|(name, _)| name).to_vec());
    real.sort_unstable();
    told.sort_unstable();
    assert_eq!(real, told, "{unknown}");
}
