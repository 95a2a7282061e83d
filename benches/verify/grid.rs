//! All measurements of a run, alternating: round after round, each takes its turn, so that what the machine's
//! neighbours do falls on all of them alike.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::{self, Measured, Shape, Target};
use crate::redis;
use crate::requests::Requests;

/// One measurement, taken once each round.
pub(crate) struct Item<'t> {
    /// What it is called in the results: candidate, kind, shape, keys.
    pub(crate) name: String,
    pub(crate) target: Target<'t>,
    pub(crate) load: Load,
}

/// What is sent.
pub(crate) enum Load {
    Closed(Shape, Rc<Requests>),
    /// So many clients among so many keys.
    Redis(usize, usize),
}

/// Medians over the rounds, with the least and the most of what counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Microseconds of the server's core for one request.
    pub(crate) cpu_us: f64,
    pub(crate) cpu_us_least: f64,
    pub(crate) cpu_us_most: f64,
    /// What one core carries.
    pub(crate) per_second_and_core: f64,
    /// What was carried while the load's core was what it was.
    pub(crate) per_second: f64,
    pub(crate) writes: f64,
    pub(crate) server_busy: f64,
    pub(crate) load_busy: f64,
}

/// Latencies from when a request was due, in microseconds; medians over the rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) requests: u64,
}

/// Takes all measurements `rounds` times, each for so long.
pub(crate) fn costs(
    items: &[Item<'_>],
    rounds: usize,
    duration: Duration,
) -> BTreeMap<String, Cost> {
    let mut taken: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
    for round in 1..=rounds {
        for item in items {
            eprint!("\r\x1b[2Kround {round} of {rounds}: {}", item.name);
            let measured = match &item.load {
                Load::Closed(shape, requests) => {
                    load::closed(item.target, *shape, requests, duration)
                }
                Load::Redis(clients, keys) => redis::closed(item.target, *clients, *keys, duration),
            };
            taken.entry(&item.name).or_default().push(measured);
        }
    }
    eprint!("\r\x1b[2K");
    taken.into_iter().map(|(name, taken)| (name.to_owned(), cost(&taken))).collect()
}

fn cost(taken: &[Measured]) -> Cost {
    let over = |figure: fn(&Measured) -> f64| median(taken.iter().map(figure));
    let cpu_us = over(Measured::cpu_us);
    let each = || taken.iter().map(Measured::cpu_us);
    Cost {
        cpu_us,
        cpu_us_least: each().fold(f64::INFINITY, f64::min),
        cpu_us_most: each().fold(0.0, f64::max),
        per_second_and_core: 1_000_000.0 / cpu_us,
        per_second: over(Measured::per_second),
        writes: over(Measured::writes_per_request),
        server_busy: over(Measured::server_busy),
        load_busy: over(Measured::load_busy),
    }
}

/// Latencies of some of the measurements at a part of what each server can carry.
pub(crate) fn latencies(
    items: &[&Item<'_>],
    costs: &BTreeMap<String, Cost>,
    part: f64,
    rounds: usize,
    duration: Duration,
) -> BTreeMap<String, Latency> {
    let mut taken: BTreeMap<&str, Vec<[f64; 3]>> = BTreeMap::new();
    let mut sent: BTreeMap<&str, u64> = BTreeMap::new();
    let rate = |name: &str| costs[name].per_second_and_core * part;
    for round in 1..=rounds {
        for item in items {
            let Load::Closed(shape, requests) = &item.load else { continue };
            eprint!("\r\x1b[2Klatency, round {round} of {rounds}: {}", item.name);
            let found =
                load::open(item.target, shape.connections, requests, rate(&item.name), duration);
            let at = |quantile| found.value_at_quantile(quantile) as f64 / 1_000.0;
            taken.entry(&item.name).or_default().push([at(0.5), at(0.99), at(0.999)]);
            *sent.entry(&item.name).or_default() += found.len();
        }
    }
    eprint!("\r\x1b[2K");
    let latency = |(name, taken): (&str, Vec<[f64; 3]>)| {
        let over = |place: usize| median(taken.iter().map(|figures| figures[place]));
        let latency = Latency {
            per_second: rate(name),
            p50_us: over(0),
            p99_us: over(1),
            p999_us: over(2),
            requests: sent[name],
        };
        (name.to_owned(), latency)
    };
    taken.into_iter().map(latency).collect()
}

/// The middle one; of an even number, the upper of the two.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
