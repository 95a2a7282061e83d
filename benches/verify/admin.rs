//! An administrator, and what their changes cost.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use countersign::rpc::proto::key_admin_client::KeyAdminClient;
use countersign::rpc::proto::key_verifier_client::KeyVerifierClient;
use countersign::rpc::proto::{
    Credential, DisableKeyRequest, EnableKeyRequest, RevokeKeyRequest, RevokeReason, VerifyRequest,
    Wait, verify_request,
};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection as _, SqliteConnection};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::grid::median;
use crate::store::{Filled, Sample, address_of};

/// Changes at a time.
const WRITERS: usize = 2;

/// Commits a second of changes through the server, two at a time, for each that bare SQLite makes on the same disk,
/// one after the other: the median of several rounds of both.
pub(crate) async fn writes_per_bare_commit(
    address: SocketAddr,
    filled: &Filled,
    rounds: usize,
    duration: Duration,
) -> (f64, f64) {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        eprint!("\r\x1b[2Kadmin writes, round {}", round + 1);
        let writers = (0..WRITERS).map(|writer| {
            let sample = filled.sample[round * WRITERS + writer].clone();
            switch(address, filled.admin.clone(), sample, duration)
        });
        let changes: u64 = futures::future::join_all(writers).await.into_iter().sum();
        ours.push(changes as f64 / duration.as_secs_f64());
        bare.push(bare_commits(&filled.dir, duration).await as f64 / duration.as_secs_f64());
    }
    eprint!("\r\x1b[2K");
    (median(ours.into_iter()), median(bare.into_iter()))
}

/// Disables and enables a key for so long; how often.
async fn switch(address: SocketAddr, admin: Sample, key: Sample, duration: Duration) -> u64 {
    let mut client = KeyAdminClient::new(channel(address).await);
    let (began, mut changes) = (Instant::now(), 0);
    while began.elapsed() < duration {
        let (key_id, wait) = (key.key_id.clone(), Wait::None.into());
        let disable = DisableKeyRequest { key_id, wait, ..DisableKeyRequest::default() };
        client.disable_key(by(&admin, disable)).await.expect("disabled");
        let (key_id, wait) = (key.key_id.clone(), Wait::None.into());
        let enable = EnableKeyRequest { key_id, wait, ..EnableKeyRequest::default() };
        client.enable_key(by(&admin, enable)).await.expect("enabled");
        changes += 2;
    }
    changes
}

/// How many small transactions SQLite commits in that time, with the journal and the flushes that the server uses.
async fn bare_commits(dir: &Path, duration: Duration) -> u64 {
    let file = dir.join("bare.db");
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("opens");
    let make = "CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, text TEXT NOT NULL)";
    sqlx::query(make).execute(&mut connection).await.expect("a table");
    let (began, mut commits) = (Instant::now(), 0);
    while began.elapsed() < duration {
        // Outside of a transaction each statement is one.
        let insert = sqlx::query("INSERT INTO bare (text) VALUES (?)").bind("x".repeat(500));
        insert.execute(&mut connection).await.expect("inserts");
        commits += 1;
    }
    connection.close().await.expect("closes");
    std::fs::remove_file(&file).expect("removed");
    commits
}

/// Revokes keys at the first of several replicas; how long after each reply the others deny it, the later of them.
pub(crate) async fn revocation_lags(
    addresses: &[SocketAddr],
    admin: &Sample,
    keys: &[Sample],
) -> Vec<Duration> {
    let (first, others) = addresses.split_first().expect("several replicas");
    let mut client = KeyAdminClient::new(channel(*first).await);
    let mut channels = Vec::new();
    for address in others {
        channels.push(channel(*address).await);
    }
    let mut lags = Vec::new();
    for key in keys {
        let revoke = RevokeKeyRequest {
            key_id: key.key_id.clone(),
            reason: RevokeReason::Unspecified as i32 + 1,
            wait: Wait::None.into(),
            ..RevokeKeyRequest::default()
        };
        client.revoke_key(by(admin, revoke)).await.expect("revoked");
        let replied = Instant::now();
        let denied = channels.iter().map(|channel| denied(channel.clone(), key, replied));
        let lag = futures::future::join_all(denied).await.into_iter().max();
        lags.push(lag.expect("other replicas"));
    }
    lags
}

/// Asks until a key is denied; how long that took.
async fn denied(channel: Channel, key: &Sample, since: Instant) -> Duration {
    let mut client = KeyVerifierClient::new(channel);
    loop {
        let presented = Credential { key_id: key.key_id.clone(), secret: key.secret.clone() };
        let request = VerifyRequest {
            presented: Some(verify_request::Presented::Credential(presented)),
            client_ip: address_of(key.number),
            ..VerifyRequest::default()
        };
        let answer = client.verify(request).await.expect("an answer").into_inner();
        let lag = since.elapsed();
        if !answer.allowed {
            return lag;
        }
        assert!(lag < Duration::from_secs(30), "a replica never hears of a revocation");
    }
}

fn by<T>(who: &Sample, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let headers = request.metadata_mut();
    let bearer = format!("Bearer {}", who.key_id);
    headers.insert("authorization", bearer.parse().expect("printable"));
    headers.insert("x-secret-key", who.secret.parse().expect("printable"));
    request
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
    endpoint.connect().await.expect("the server takes connections")
}
