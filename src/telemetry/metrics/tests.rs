use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const BOUNDS: &[u64] = &[1_000, 2_500, 10_000];

fn metrics() -> Metrics {
    let resource = Resource::builder_empty()
        .with_attributes([KeyValue::new("service.name", "countersign")])
        .build();
    Metrics::new(resource, BOUNDS, |builder| builder).expect("they can be made")
}

/// The lines of one metric, without comments.
fn lines(page: &str, name: &str) -> Vec<String> {
    page.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn a_counter_and_a_gauge_say_what_is_read_at_that_moment() {
    let (metrics, shed) = (metrics(), Arc::new(AtomicU64::new(3)));
    let read = Arc::clone(&shed);
    metrics.observe(&REQUESTS_SHED, move || {
        let shed = read.load(Ordering::SeqCst) as f64;
        vec![(vec!["services"], shed), (vec!["open"], 0.0)]
    });
    metrics.observe_one(&READY, || 1.0);
    shed.store(5, Ordering::SeqCst);
    let page = metrics.page().expect("a page");
    let expected = [
        r#"countersign_requests_shed_total{door="open"} 0"#,
        r#"countersign_requests_shed_total{door="services"} 5"#,
    ];
    assert_eq!(lines(&page, "countersign_requests_shed_total"), expected);
    assert_eq!(lines(&page, "countersign_ready"), ["countersign_ready 1"]);
    let target = [r#"target_info{service_name="countersign"} 1"#];
    assert_eq!(lines(&page, "target_info"), target);
    for name in OF_THE_PROCESS {
        assert_eq!(lines(&page, &format!("{name} ")).len(), 1, "{name}");
    }
    assert!(!page.contains("otel_scope"), "{page}");
}

#[test]
fn a_histogram_has_the_exact_counts_and_the_exact_sum() {
    let metrics = metrics();
    let held = Arc::new(Mutex::new(vec![(2, 1_999), (3, 6_000), (0, 0), (1, 25_000)]));
    let read = Arc::clone(&held);
    metrics.fill(&AUDIT_APPEND, move || vec![(Labels::new(), read.lock().expect("whole").clone())]);
    let name = "countersign_audit_append_duration_seconds";
    let expected = |counts: [u64; 4], sum: &str| {
        let le = ["0.000001", "0.0000025", "0.00001", "+Inf"];
        let mut lines: Vec<_> = le
            .iter()
            .zip(counts)
            .map(|(le, count)| format!("{name}_bucket{{le=\"{le}\"}} {count}"))
            .collect();
        lines.extend([format!("{name}_sum {sum}"), format!("{name}_count {}", counts[3])]);
        lines
    };
    let page = metrics.page().expect("a page");
    assert_eq!(lines(&page, name), expected([2, 5, 5, 6], "0.000032999"));
    // Of the whole page that can't be said: the process's memory is on it.
    let again = metrics.page().expect("a page");
    assert_eq!(lines(&again, name), lines(&page, name), "looking changes nothing");
    held.lock().expect("whole")[2] = (1, 9_000);
    metrics.hand_over();
    let page = metrics.page().expect("a page");
    assert_eq!(lines(&page, name), expected([2, 5, 6, 7], "0.000041999"));
}

#[test]
fn every_metric_of_the_table_gets_the_name_that_it_says() {
    let metrics = metrics();
    for metric in METRICS {
        let values = vec!["x"; metric.labels.len()];
        if metric.kind == Kind::Histogram {
            metrics.fill(metric, move || vec![(values.clone(), vec![(1, 700)])]);
        } else {
            metrics.observe(metric, move || vec![(values.clone(), 1.0)]);
        }
    }
    let page = metrics.page().expect("a page");
    for metric in METRICS {
        let name = metric.prometheus_name();
        assert!(page.contains(&format!("# HELP {name} {}\n", metric.meaning)), "{name}:\n{page}");
        let kind = format!("{:?}", metric.kind).to_lowercase();
        assert!(page.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        let own = |line: &&str| {
            let rest = line.strip_prefix(&name);
            rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with("_bucket{"))
        };
        for label in metric.prometheus_labels() {
            let mut own = page.lines().filter(own).peekable();
            assert!(own.peek().is_some(), "{name} has no labels");
            assert!(own.all(|line| line.contains(&format!("{label}=\"x\""))), "{name}: {label}");
        }
    }
    let known = METRICS.iter().map(|metric| metric.prometheus_name());
    let known: Vec<_> =
        known.chain(OF_THE_PROCESS.map(str::to_owned)).chain(["target_info".to_owned()]).collect();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(known.iter().any(|known| known == name), "{name} is not in the table");
    }
}

#[test]
fn a_label_above_the_most_series_joins_the_rest() {
    let metrics = metrics();
    let words: Vec<&'static str> =
        (0..2_000).map(|number: u32| &*Box::leak(number.to_string().into_boxed_str())).collect();
    metrics.observe(&WAITERS, move || words.iter().map(|word| (vec![*word], 1.0)).collect());
    let page = metrics.page().expect("a page");
    assert_eq!(lines(&page, "countersign_waiters{").len(), MOST_SERIES + 1);
}

#[test]
fn whoever_else_reads_finds_the_same_figures_whoever_looks_first() {
    let other = Registry::new();
    let reader = opentelemetry_prometheus::exporter().with_registry(other.clone());
    let reader = reader.scope_info_enabled(false).build().expect("a reader");
    let resource = Resource::builder_empty().with_attributes([KeyValue::new("service.name", "x")]);
    let metrics = Metrics::new(resource.build(), BOUNDS, |builder| builder.with_reader(reader));
    let metrics = metrics.expect("they can be made");
    let count = Arc::new(AtomicU64::new(0));
    let (counted, held) = (Arc::clone(&count), Arc::clone(&count));
    metrics.observe_one(&CONNECTIONS_REFUSED, move || counted.load(Ordering::SeqCst) as f64);
    metrics.fill(&AUDIT_APPEND, move || {
        let count = held.load(Ordering::SeqCst);
        vec![(Labels::new(), vec![(0, 0), (count, count * 2_000)])]
    });
    let ours = |page: &str| {
        let ours = page.lines().filter(|line| !line.contains("process_"));
        ours.map(str::to_owned).collect::<Vec<_>>()
    };
    let elsewhere = || {
        metrics.hand_over();
        let page = TextEncoder::new().encode_to_string(&other.gather());
        ours(&page.expect("a page"))
    };
    let here = || ours(&metrics.page().expect("a page"));
    for round in 1..=4 {
        count.fetch_add(7 * round, Ordering::SeqCst);
        let (first, second) = if round % 2 == 0 {
            let first = here();
            (first, elsewhere())
        } else {
            let first = elsewhere();
            (first, here())
        };
        assert_eq!(first, second, "{round}");
        let total = count.load(Ordering::SeqCst);
        for line in [
            format!("countersign_connections_refused_total {total}"),
            format!("countersign_audit_append_duration_seconds_count {total}"),
        ] {
            assert!(first.contains(&line), "{line}: {first:?}");
        }
    }
}
