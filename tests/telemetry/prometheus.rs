//! The real Prometheus, which scrapes a server several times a second and is asked for what it found.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use super::page::get;
use crate::harness::{Running, eventually, run, tools};

const START_LIMIT: Duration = Duration::from_secs(60);
const START_TRIES: usize = 5;
const SOON: Duration = Duration::from_secs(60);

pub struct Prometheus {
    url: String,
    running: Running,
}

impl Prometheus {
    /// One that scrapes the pages at this URL.
    pub async fn scraping(http: &str) -> Self {
        let target = http.strip_prefix("http://").expect("the pages are not encrypted");
        let name = run::unique_name();
        let folder = run::new_data_dir(&format!("{name}-prometheus"));
        let settings = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs: [{{job_name: countersign, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, settings).expect("the run folder takes files");
        for _ in 0..START_TRIES {
            let probe =
                TcpListener::bind("127.0.0.1:0").expect("the loopback address has free ports");
            let address = probe.local_addr().expect("an address");
            drop(probe);
            let (log_path, log) = run::log_file(&format!("{name}-prometheus"));
            let program = tools::prometheus()
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .in_dir(&folder);
            let mut prometheus =
                Self { url: format!("http://{address}"), running: program.start(log) };
            let came_up = eventually("Prometheus is ready or ends", START_LIMIT, async || {
                let ended = prometheus.running.has_ended().then_some(false);
                ended.or_else(|| prometheus.is_ready().then_some(true))
            });
            if came_up.await {
                return prometheus;
            }
            let log = run::tail(&log_path, 15);
            assert!(log.contains("in use"), "Prometheus ended while starting:\n{log}");
        }
        panic!("Prometheus did not start in {START_TRIES} tries");
    }

    fn is_ready(&self) -> bool {
        let reply = tools::curl()
            .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"])
            .arg(format!("{}/-/ready", self.url))
            .run();
        reply.stdout == "200"
    }

    /// What it knows by now of an expression: labels and value of each series.
    pub fn ask(&self, expression: &str) -> Vec<(serde_json::Value, f64)> {
        let query = format!("query={expression}");
        let url = format!("{}/api/v1/query", self.url);
        let answer = get(&url, &["--get", "--data-urlencode", &query]);
        let json: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(json["status"], "success", "{expression}: {json}");
        let found = json["data"]["result"].as_array().expect("a vector").iter();
        let value = |series: &serde_json::Value| {
            let text = series["value"][1].as_str().expect("Prometheus writes numbers as text");
            text.parse().expect("a number")
        };
        found.map(|series| (series["metric"].clone(), value(series))).collect()
    }

    /// Waits until it finds one value for an expression, and that it is this.
    pub async fn finds(&self, expression: &str, value: f64) {
        let mut found = Vec::new();
        eventually(&format!("Prometheus finds {value} for {expression}"), SOON, async || {
            found = self.ask(expression);
            matches!(found[..], [(_, only)] if (only - value).abs() < 1e-9)
        })
        .await;
    }
}
