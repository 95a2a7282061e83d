//! What is sent of the metrics is what stands on the page for Prometheus, under the names of OpenTelemetry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign::telemetry::metrics::{self as table, Kind, METRICS};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, NumberDataPoint};

use super::collector::texts;
use super::page::Page;
use super::receiver::{Receiver, Speaks};
use crate::harness::{Credential, Database, Server, eventually, key};

const SOON: Duration = Duration::from_secs(30);

/// How many calls of Verify were answered.
const VERIFIED: &str = "rpc_server_call_duration_seconds_count{rpc_method=\"countersign.v1.KeyVerifier/Verify\",\
                        rpc_response_status_code=\"OK\",rpc_system_name=\"grpc\"}";

/// The attributes of one series.
type Attributes = BTreeMap<String, String>;

/// What a metric is, and the attributes of all its series.
#[track_caller]
fn read(metric: &Metric) -> (Kind, Vec<Attributes>) {
    let cumulative = i32::from(AggregationTemporality::Cumulative);
    let of_numbers = |points: &[NumberDataPoint]| {
        points.iter().map(|point| texts(&point.attributes)).collect::<Vec<_>>()
    };
    match metric.data.as_ref().expect("it has data") {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic && sum.aggregation_temporality == cumulative, "{metric:?}");
            (Kind::Counter, of_numbers(&sum.data_points))
        }
        Data::Gauge(gauge) => (Kind::Gauge, of_numbers(&gauge.data_points)),
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, cumulative, "{metric:?}");
            let points = histogram.data_points.iter();
            (Kind::Histogram, points.map(|point| texts(&point.attributes)).collect())
        }
        other => panic!("nothing of ours is kept like this: {other:?}"),
    }
}

/// A series as Prometheus writes it.
fn series(name: &str, attributes: &Attributes, le: Option<String>) -> String {
    let labels = attributes.iter().map(|(label, value)| (label.replace('.', "_"), value.clone()));
    let mut labels: Vec<_> = labels.collect();
    labels.sort_unstable();
    labels.extend(le.map(|le| ("le".to_owned(), le)));
    let labels: Vec<_> =
        labels.into_iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// What was sent of a counter or a histogram, as the lines of the page are.
fn as_on_the_page(metric: &Metric, name: &str) -> BTreeMap<String, f64> {
    let mut lines = BTreeMap::new();
    match metric.data.as_ref() {
        Some(Data::Sum(sum)) => lines.extend(sum.data_points.iter().map(|point| {
            let Some(Value::AsDouble(value)) = point.value else { panic!("no number: {point:?}") };
            (series(name, &texts(&point.attributes), None), value)
        })),
        Some(Data::Histogram(histogram)) => {
            for point in &histogram.data_points {
                let attributes = texts(&point.attributes);
                let of = |part: &str, le| series(&format!("{name}_{part}"), &attributes, le);
                let bounds = point.explicit_bounds.iter().map(f64::to_string);
                let mut below = 0;
                for (le, count) in bounds.chain(["+Inf".to_owned()]).zip(&point.bucket_counts) {
                    below += count;
                    lines.insert(of("bucket", Some(le)), below as f64);
                }
                lines.insert(of("count", None), point.count as f64);
                lines.insert(of("sum", None), point.sum.expect("a histogram has a sum"));
            }
        }
        other => panic!("{name} is {other:?}"),
    }
    lines
}

/// The series of a metric on the page; histograms have three kinds of them.
fn on_the_page(page: &Page, name: &str) -> BTreeMap<String, f64> {
    let parts = ["", "_bucket", "_count", "_sum"].map(|part| format!("{name}{part}{{"));
    let own = page.names().filter(|series| parts.iter().any(|part| series.starts_with(part)));
    own.map(|series| (series.to_owned(), page.value(series))).collect()
}

async fn is_sent_as_it_stands_on_the_page(speaks: Speaks) {
    let receiver = Receiver::start(speaks).await;
    let builder = receiver.of(Server::on(Database::Sqlite).await);
    // Connections of gateways are metrics too.
    let mut server = builder.with_args(["--gateway-listen", "127.0.0.1:0"]).start().await;
    let admin = server.as_admin().await;
    let good = admin.mint(key("acme", "billing")).await.credential;
    let wrong = Credential { secret: server.admin().secret, ..good.clone() };
    for _ in 0..3 {
        assert!(admin.verify(&good).await.allowed);
    }
    assert!(!admin.verify(&wrong).await.allowed);

    // Some are there as soon as something was done for the first time, such as a check of the log.
    let sent = eventually("every metric of the table is sent", SOON, async || {
        let sent = receiver.newest_metrics();
        METRICS.iter().all(|metric| sent.contains_key(metric.name)).then_some(sent)
    });
    let sent = sent.await;
    for metric in METRICS {
        let found = &sent[metric.name];
        let (kind, all) = read(found);
        assert_eq!((found.unit.as_str(), kind), (metric.unit, metric.kind), "{}", metric.name);
        assert_eq!(found.description, metric.meaning, "{}", metric.name);
        assert!(!all.is_empty(), "{} has no series", metric.name);
        let wanted: BTreeSet<&str> = metric.labels.iter().copied().collect();
        for attributes in all {
            let names: BTreeSet<&str> = attributes.keys().map(String::as_str).collect();
            assert_eq!(names, wanted, "{}", metric.name);
        }
    }
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let unknown: Vec<_> = sent.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not in the table");

    for metric in [&table::VERIFICATIONS, &table::CALLS] {
        let name = metric.prometheus_name();
        let what = format!("what is sent of {} is what stands on the page", metric.name);
        eventually(&what, SOON, async || {
            let page = Page::of(&server.http());
            let sent = as_on_the_page(&receiver.newest_metrics()[metric.name], &name);
            page.find(VERIFIED) == Some(4.0) && sent == on_the_page(&page, &name)
        })
        .await;
    }
    assert!(server.sigterm().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_on_the_page_of_metrics_is_sent_over_grpc() {
    is_sent_as_it_stands_on_the_page(Speaks::Grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_on_the_page_of_metrics_is_sent_over_http() {
    is_sent_as_it_stands_on_the_page(Speaks::Http).await;
}
