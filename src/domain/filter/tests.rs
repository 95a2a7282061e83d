//! The language as a whole: what is understood, what is refused and where, and what it means.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The expression of a key filter, printed.
fn understood(text: &str) -> String {
    match parse(text, &KEYS) {
        Ok(Some(expr)) => expr.to_string(),
        other => panic!("{text:?} gave {other:?}"),
    }
}

/// The error of a key filter, printed.
fn refused(text: &str) -> String {
    parse(text, &KEYS).expect_err(text).to_string()
}

#[test]
fn blank_text_is_no_filter() {
    for blank in ["", " ", "\t\n "] {
        assert_eq!(parse(blank, &KEYS), Ok(None));
    }
}

#[test]
fn values_may_be_quoted_or_bare() {
    for (text, printed) in [
        ("account_id=acct-1", r#"account_id = "acct-1""#),
        (r#"display_name != "say \"hi\" \\ bye""#, r#"display_name != "say \"hi\" \\ bye""#),
        ("display_name = \"\"", "display_name = \"\""),
        ("display_name = \"AND\"", "display_name = \"AND\""),
        ("display_name = größe", "display_name = \"größe\""),
        ("state = ACTIVE", "state = STATE_ACTIVE"),
        ("state=\"STATE_REVOKED\"", "state = STATE_REVOKED"),
        ("environment != TEST", "environment != ENVIRONMENT_TEST"),
        ("create_time>2030-01-31T12:00:00Z", "create_time > \"2030-01-31T12:00:00.000000Z\""),
        (
            "expire_time <= \"2030-01-31T12:00:00.5+02:00\"",
            "expire_time <= \"2030-01-31T10:00:00.500000Z\"",
        ),
        ("scopes:orders:read", "scopes : \"orders:read\""),
        ("scopes:\"orders:*\"", "scopes : \"orders:*\""),
        ("labels.team = core", "labels.\"team\" = \"core\""),
        ("labels.app.kubernetes.io/name!=x", "labels.\"app.kubernetes.io/name\" != \"x\""),
        ("labels.\"two words\" = x", "labels.\"two words\" = \"x\""),
        ("labels:team", "labels : \"team\""),
        ("key_id = - AND state = EXPIRED", "key_id = \"-\" AND state = STATE_EXPIRED"),
    ] {
        assert_eq!(understood(text), printed);
    }
}

#[test]
fn or_binds_tighter_than_and() {
    let (a, b, c) = ("account_id = \"a\"", "key_id = \"b\"", "display_name = \"c\"");
    let and_or = parse(&format!("{a} AND {b} OR {c}"), &KEYS);
    assert_eq!(and_or, parse(&format!("{a} AND ({b} OR {c})"), &KEYS));
    assert_ne!(and_or, parse(&format!("({a} AND {b}) OR {c}"), &KEYS));
    assert_eq!(understood(&format!("(({a} AND {b})) OR ({c})")), format!("({a} AND {b}) OR {c}"));
}

#[test]
fn what_is_not_understood_is_refused_with_its_column() {
    for (text, error) in [
        (
            "colour = red",
            "column 1: unknown field \"colour\"; known fields: key_id, account_id, application_id, environment, state, display_name, labels, scopes, create_time, update_time, expire_time",
        ),
        (
            "state = ASLEEP",
            "column 9: unknown state \"ASLEEP\"; known: ACTIVE, DISABLED, REVOKED, EXPIRED",
        ),
        (
            "state = active",
            "column 9: unknown state \"active\"; known: ACTIVE, DISABLED, REVOKED, EXPIRED",
        ),
        ("state > ACTIVE", "column 7: operator > does not fit; state takes = and !="),
        ("key_id:x", "column 7: operator : does not fit; key_id takes = and !="),
        ("create_time:*", "column 12: operator : does not fit; create_time takes = != < <= > >="),
        (
            "create_time > soon",
            "column 15: create_time must be an RFC 3339 time such as 2030-01-31T12:00:00Z",
        ),
        (
            "scopes = x",
            "column 8: operator = does not fit; scopes takes :, as in scopes:\"member\"",
        ),
        (
            "labels = x",
            "column 8: operator = does not fit; write labels.key = \"value\", labels.key != \"value\" or labels:key",
        ),
        (
            "labels.k:v",
            "column 9: operator : does not fit; write labels.key = \"value\", labels.key != \"value\" or labels:key",
        ),
        ("labels. = x", "column 8: expected a key after '.'"),
        ("labels.\"\" = x", "column 8: expected a key after '.'"),
        ("state.x = ACTIVE", "column 6: state has no keys; state takes = and !="),
        ("state", "column 6: expected an operator, found the end"),
        ("state =", "column 8: expected a value, found the end"),
        ("state ACTIVE", "column 7: expected an operator after state; state takes = and !="),
        ("state == ACTIVE", "column 8: expected a value, found '='"),
        ("state ! ACTIVE", "column 7: expected a field, AND, OR or a parenthesis, found '!'"),
        ("state = ()", "column 9: expected a value, found '('"),
        (
            "state = AND",
            "column 9: expected a value, found AND; put it in double quotes if it is one",
        ),
        ("= x", "column 1: expected a comparison such as field = value"),
        (
            "state = ACTIVE key_id = x",
            "column 16: expected AND or OR, in capitals, between comparisons",
        ),
        (
            "state = ACTIVE and key_id = x",
            "column 16: expected AND or OR, in capitals, between comparisons",
        ),
        ("state = ACTIVE AND", "column 19: expected a comparison, found the end"),
        ("state = ACTIVE AND AND", "column 20: expected a comparison such as field = value"),
        ("NOT state = ACTIVE", "column 1: negation is not supported; use !="),
        ("-state = ACTIVE", "column 1: negation is not supported; use !="),
        ("()", "column 2: expected a comparison such as field = value"),
        ("(state = ACTIVE", "column 16: expected ')', found the end"),
        ("state = ACTIVE)", "column 15: ')' without '('"),
        ("(state = ACTIVE key_id = x)", "column 17: expected AND, OR or ')'"),
        ("display_name = \"x", "column 16: string without closing quote"),
        (
            "display_name = 'x'",
            "column 16: expected a value, found '\\''; strings stand in double quotes",
        ),
        ("display_name = \"a\\n\"", "column 18: expected \\\" or \\\\ in a string"),
        ("display_name = \"a\0\"", "column 18: a string must not hold control characters"),
        (
            "display_name = \"äö\" AND x = 1",
            "column 25: unknown field \"x\"; known fields: key_id, account_id, application_id, environment, state, display_name, labels, scopes, create_time, update_time, expire_time",
        ),
    ] {
        assert_eq!(refused(text), error, "{text:?}");
    }
}

#[test]
fn a_long_wrong_word_is_not_repeated_in_full() {
    let secret = "css_live_0123456789012345678901234567890123456789";
    for text in [secret.to_owned(), format!("state = {secret}"), format!("{secret} = x")] {
        assert!(!refused(&text).contains(&secret[..21]), "{}", refused(&text));
    }
}

#[test]
fn numbers_are_whole_and_of_64_bits() {
    let parse = |text: &str| parse(text, &AUDIT).map_err(|why| why.to_string());
    assert!(parse("revision >= 18446744073709551615").is_ok());
    for bad in ["18446744073709551616", "-1", "+1", "1.0", "1e3", "\"\"", "x"] {
        let error = "column 12: revision must be a whole number from 0 to 18446744073709551615";
        assert_eq!(parse(&format!("revision = {bad}")), Err(error.to_owned()), "{bad}");
    }
}

#[test]
fn events_are_filtered_by_their_own_fields() {
    let text = "type = KEY_REVOKED OR type = TYPE_KEY_DELETED AND actor = \"csk_live_1\" AND time >= 2030-01-01T00:00:00Z";
    assert!(parse(text, &AUDIT).is_ok());
    assert!(parse("state = ACTIVE", &AUDIT).is_err() && parse("type = REVOKED", &AUDIT).is_err());
}

#[test]
fn the_limits_hold() {
    let nested = |depth: usize| format!("{}key_id = a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(20), &KEYS).is_ok());
    assert_eq!(refused(&nested(21)), "column 21: parentheses are nested deeper than 20");
    assert_eq!(refused(&"(".repeat(4_096)), "column 21: parentheses are nested deeper than 20");

    let many = |count: usize| vec!["key_id=a"; count].join(" OR ");
    assert!(parse(&many(100), &KEYS).is_ok());
    assert_eq!(refused(&many(101)), "column 1201: more than 100 comparisons");

    assert!(parse(&" ".repeat(4_096), &KEYS).is_ok());
    assert_eq!(refused(&" ".repeat(4_097)), "column 4097: filter is longer than 4096 bytes");
    assert_eq!(refused(&"ä".repeat(2_049)), "column 2049: filter is longer than 4096 bytes");
}

/// A row that may lack any of its values.
#[derive(Debug, Clone, Default)]
struct Sample {
    texts: BTreeMap<&'static str, String>,
    time: Option<Timestamp>,
    number: Option<u64>,
    members: Vec<String>,
    entries: BTreeMap<String, String>,
}

impl Row for Sample {
    fn text(&self, field: &str) -> Option<Cow<'_, str>> {
        self.texts.get(field).map(Cow::from)
    }
    fn time(&self, _: &str) -> Option<Timestamp> {
        self.time
    }
    fn number(&self, _: &str) -> Option<u64> {
        self.number
    }
    fn has_member(&self, field: &str, member: &str) -> bool {
        match field {
            "labels" => self.entries.contains_key(member),
            _ => self.members.iter().any(|there| there == member),
        }
    }
    fn entry(&self, _: &str, key: &str) -> Option<Cow<'_, str>> {
        self.entries.get(key).map(Cow::from)
    }
}

fn holds(text: &str, row: &Sample) -> bool {
    let schema = if text.starts_with("revision") { &AUDIT } else { &KEYS };
    matches(&parse(text, schema).expect("a filter").expect("not blank"), row)
}

#[test]
fn filters_mean_what_they_say() {
    let time = Timestamp::parse_rfc3339("2030-01-31T12:00:00Z").expect("a time");
    let row = Sample {
        texts: [("state", "STATE_ACTIVE".to_owned()), ("key_id", "K1".to_owned())].into(),
        time: Some(time),
        number: Some(7),
        members: vec!["orders:*".to_owned()],
        entries: [("team".to_owned(), "core".to_owned())].into(),
    };
    for yes in [
        "state = ACTIVE",
        "state != REVOKED",
        "key_id = K1",
        "key_id != k1",
        "labels.team = core",
        "labels.team != x",
        "labels:team",
        "scopes:orders:*",
        "create_time = 2030-01-31T12:00:00Z",
        "create_time >= 2030-01-31T13:00:00+01:00",
        "create_time < 2030-01-31T12:00:00.000001Z",
        "revision > 6",
        "revision <= 7",
        "key_id = x OR key_id = K1",
        "key_id = K1 AND key_id = x OR key_id = K1",
    ] {
        assert!(holds(yes, &row), "{yes} did not match");
    }
    for no in [
        "state = REVOKED",
        "key_id = k1",
        "key_id = K*",
        "labels.team = Core",
        "labels:core",
        "scopes:orders:read",
        "create_time > 2030-01-31T12:00:00Z",
        "revision != 7",
        "key_id = K1 AND key_id = x",
    ] {
        assert!(!holds(no, &row), "{no} matched");
    }
}

#[test]
fn an_absent_value_differs_from_all_and_fits_nothing_else() {
    let empty = Sample::default();
    for value in [
        "key_id OP x",
        "state OP ACTIVE",
        "labels.k OP x",
        "expire_time OP 2030-01-01T00:00:00Z",
        "revision OP 1",
    ] {
        assert!(holds(&value.replace("OP", "!="), &empty), "{value}");
        assert!(!holds(&value.replace("OP", "="), &empty), "{value}");
    }
    for no in [
        "expire_time < 9999-01-01T00:00:00Z",
        "expire_time >= 0001-01-01T00:00:00Z",
        "labels:k",
        "scopes:x",
    ] {
        assert!(!holds(no, &empty), "{no}");
    }
}

fn any_comparison() -> impl Strategy<Value = Comparison> {
    let text = || "[ -~äé€😀]{0,12}";
    let equality = prop_oneof![Just(Op::Eq), Just(Op::Ne)];
    let order = prop::sample::select(vec![Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge]);
    let comparison = |field, path, op, value| Comparison { field, path, op, value };
    let micros = Timestamp::MIN.micros()..=Timestamp::MAX.micros();
    prop_oneof![
        (equality.clone(), text()).prop_map(move |(op, text)| comparison(
            "key_id",
            None,
            op,
            Value::Text(text)
        )),
        (equality.clone(), prop::sample::select(vec!["STATE_ACTIVE", "STATE_EXPIRED"]))
            .prop_map(move |(op, name)| comparison("state", None, op, Value::Enum(name))),
        (order.clone(), micros).prop_map(move |(op, micros)| {
            let time = Timestamp::from_micros(micros).expect("in range");
            comparison("create_time", None, op, Value::Time(time))
        }),
        (order, any::<u64>()).prop_map(move |(op, n)| comparison(
            "revision",
            None,
            op,
            Value::Number(n)
        )),
        text().prop_map(move |text| comparison("scopes", None, Op::Has, Value::Text(text))),
        text().prop_map(move |text| comparison("labels", None, Op::Has, Value::Text(text))),
        (equality, "[ -~äé€😀]{1,12}", text()).prop_map(move |(op, key, text)| comparison(
            "labels",
            Some(key),
            op,
            Value::Text(text)
        )),
    ]
}

fn any_expr() -> impl Strategy<Value = Expr> {
    any_comparison().prop_map(Expr::Compare).prop_recursive(4, 24, 3, |inner| {
        let parts = prop::collection::vec(inner, 2..4);
        prop_oneof![parts.clone().prop_map(Expr::And), parts.prop_map(Expr::Or)]
    })
}

/// The fields of both tables, so that one expression can hold every type.
const EVERY_TYPE: Schema = Schema(&[
    Field { name: "key_id", kind: FieldType::Text },
    Field { name: "state", kind: FieldType::Enum(&["STATE_ACTIVE", "STATE_EXPIRED"]) },
    Field { name: "create_time", kind: FieldType::Time },
    Field { name: "revision", kind: FieldType::Number },
    Field { name: "scopes", kind: FieldType::TextSet },
    Field { name: "labels", kind: FieldType::Map },
]);

proptest! {
    #[test]
    fn what_is_printed_parses_back(expr in any_expr()) {
        let text = expr.to_string();
        prop_assume!(text.len() <= MAX_BYTES);
        prop_assert_eq!(parse(&text, &EVERY_TYPE), Ok(Some(expr)), "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*") {
        if let Err(why) = parse(&text, &KEYS) {
            prop_assert!((1..=text.chars().count() + 1).contains(&why.column), "{} in {:?}", why, text);
        }
    }

    #[test]
    fn no_heap_of_words_makes_the_parser_panic(words in prop::collection::vec(prop::sample::select(vec![
        "key_id", "state", "labels", "labels.k", ".", "\"", "\\", "(", ")", "AND", "OR", "NOT", "=", "!=", "<", ">=", ":",
        "ACTIVE", "\"x\"", "é", "2030-01-31T12:00:00Z", " ", "-", "'", "\0", "scopes:a:b",
    ]), 0..24)) {
        let text = words.concat();
        if let Ok(Some(expr)) = parse(&text, &KEYS) {
            prop_assert_eq!(parse(&expr.to_string(), &KEYS), Ok(Some(expr)));
        }
    }

    #[test]
    fn not_equal_is_the_opposite_of_equal(key in prop::option::of("[ab]"), wanted in "[ab]") {
        let row = Sample { texts: key.map(|key| ("key_id", key)).into_iter().collect(), ..Sample::default() };
        let equal = holds(&format!("key_id = {wanted}"), &row);
        prop_assert_ne!(equal, holds(&format!("key_id != {wanted}"), &row));
    }
}
