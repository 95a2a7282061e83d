//! The harness is trusted by every other test, so its own promises are tested here: a proxy that
//! loses no reply, or a wait that waits for nothing, would let everything else pass.

mod databases;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sea_orm::ConnectionTrait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Endpoint;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::proxy::Direction;
use crate::harness::{Program, Proxy, eventually, postgres};

const SOON: Duration = Duration::from_secs(10);

/// Sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

/// Takes connections and closes them.
async fn silence() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    address
}

/// What comes back for `text`; empty when the connection was cut.
async fn sent(socket: &mut TcpStream, text: &str) -> String {
    if socket.write_all(text.as_bytes()).await.is_err() {
        return String::new();
    }
    let mut reply = vec![0; text.len()];
    match socket.read(&mut reply).await {
        Ok(length) => String::from_utf8_lossy(&reply[..length]).into_owned(),
        Err(_) => String::new(),
    }
}

#[tokio::test]
async fn a_proxy_passes_on_what_it_gets() {
    let proxy = Proxy::to(echo().await).await;
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(sent(&mut socket, "hello").await, "hello");
    assert_eq!(sent(&mut socket, "again").await, "again");
}

#[tokio::test]
async fn a_proxy_cuts_after_so_many_bytes() {
    let proxy = Proxy::to(echo().await).await;
    proxy.cut_after(Direction::ToClient, 3);
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(sent(&mut socket, "hello").await, "hel");
    assert_eq!(sent(&mut socket, "again").await, "");
}

#[tokio::test]
async fn a_silent_proxy_keeps_the_connection_and_says_nothing() {
    let proxy = Proxy::to(echo().await).await;
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(sent(&mut socket, "hello").await, "hello");
    proxy.go_silent();
    let reply =
        tokio::time::timeout(Duration::from_millis(100), sent(&mut socket, "anyone?")).await;
    assert!(reply.is_err(), "a silent proxy neither answered nor closed");
    proxy.heal();
    assert_eq!(sent(&mut socket, "hello").await, "hello");
}

#[tokio::test]
async fn what_is_sent_into_a_partition_arrives_when_it_ends() {
    let proxy = Proxy::to(echo().await).await;
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(sent(&mut old, "hello").await, "hello");
    for cut_off in [
        Proxy::cut_off,
        |proxy: &Proxy| proxy.cut_off_towards(Direction::ToServer),
        |proxy: &Proxy| proxy.cut_off_towards(Direction::ToClient),
    ] {
        cut_off(&proxy);
        let mut new = TcpStream::connect(proxy.address()).await.unwrap();
        let mut answers =
            Box::pin(async { (sent(&mut old, "old").await, sent(&mut new, "new").await) });
        let early = tokio::time::timeout(Duration::from_millis(50), &mut answers).await;
        assert!(early.is_err(), "a partition neither answers nor closes");
        proxy.heal();
        let late = tokio::time::timeout(SOON, answers).await.expect("the partition ended");
        assert_eq!(late, ("old".to_owned(), "new".to_owned()));
    }
}

#[tokio::test]
async fn what_is_held_when_a_connection_is_cut_never_arrives() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 1);
    proxy.cut_off();
    client.write_all(b"lost").await.unwrap();
    proxy.cut();
    proxy.heal();
    assert!(matches!(server.read(&mut [0; 8]).await, Ok(0) | Err(_)), "only the end arrives");
}

#[tokio::test]
async fn a_connection_that_ends_in_a_partition_ends_for_the_other_side_after_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 1);
    proxy.cut_off();
    drop(client);
    let mut end = [0; 8];
    let mut end = Box::pin(server.read(&mut end));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut end).await;
    assert!(early.is_err(), "nobody told the server");
    proxy.heal();
    let late = tokio::time::timeout(SOON, end).await.expect("the partition ended");
    assert_eq!(late.unwrap(), 0, "the server is told that the client is gone");
}

#[tokio::test]
async fn a_throttled_proxy_takes_its_time() {
    const RATE: u64 = 10_000;
    let proxy = Proxy::to(echo().await).await;
    proxy.throttle(RATE);
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    let began = Instant::now();
    socket.write_all(&[7; 2_000]).await.unwrap();
    let mut reply = vec![0; 2_000];
    socket.read_exact(&mut reply).await.unwrap();
    // Not sooner: how much later is the machine's affair.
    assert!(began.elapsed() >= Duration::from_millis(200), "2,000 bytes at {RATE} a second");
    assert_eq!(reply, [7; 2_000]);
}

#[tokio::test]
async fn a_proxy_holds_back_what_it_gets() {
    let proxy = Proxy::to(echo().await).await;
    proxy.delay(Duration::from_millis(50));
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    let began = Instant::now();
    assert_eq!(sent(&mut socket, "hello").await, "hello");
    assert!(began.elapsed() >= Duration::from_millis(100), "there and back");
}

#[tokio::test]
async fn a_proxy_can_be_pointed_elsewhere() {
    let (first, second) = (echo().await, silence().await);
    let proxy = Proxy::to(first).await;
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(sent(&mut old, "hello").await, "hello");
    proxy.point_to(second);
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(sent(&mut new, "hello").await, "", "the new target answers nobody");
    assert_eq!(sent(&mut old, "hello").await, "hello", "an old connection stays where it is");
}

#[tokio::test]
async fn a_refusing_proxy_cuts_and_takes_nobody_new() {
    let proxy = Proxy::to(echo().await).await;
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(sent(&mut old, "hello").await, "hello");
    proxy.refuse();
    assert_eq!(sent(&mut old, "hello").await, "");
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(sent(&mut new, "hello").await, "");
    proxy.heal();
    let mut newer = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(sent(&mut newer, "hello").await, "hello");
}

#[tokio::test]
async fn a_lost_commit_reply_is_committed_all_the_same() {
    let url = postgres::new_database().await;
    let direct = sea_orm::Database::connect(&url).await.unwrap();
    direct.execute_unprepared("CREATE TABLE t (n int)").await.unwrap();
    let proxy = Proxy::to(postgres::address_of(&url)).await;
    let far = sea_orm::Database::connect(postgres::through(&url, proxy.address())).await.unwrap();

    proxy.lose_commit_replies(1);
    let transaction = sea_orm::TransactionTrait::begin(&far).await.unwrap();
    transaction.execute_unprepared("INSERT INTO t VALUES (1)").await.unwrap();
    transaction.commit().await.expect_err("the reply to COMMIT was lost");

    assert_eq!(proxy.lost_replies(), 1);
    let deleted = direct.execute_unprepared("DELETE FROM t").await.unwrap();
    assert_eq!(
        deleted.rows_affected(),
        1,
        "the server had committed before the connection was cut"
    );
}

#[tokio::test]
async fn a_lost_response_fails_the_call_that_the_server_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let proxy = Proxy::to(address).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", proxy.address())).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    client.check(HealthCheckRequest::default()).await.unwrap();
    proxy.lose_responses(1);
    client.check(HealthCheckRequest::default()).await.expect_err("the response was lost");
    assert_eq!(proxy.lost_replies(), 1);
    client.check(HealthCheckRequest::default()).await.expect("only one response gets lost");
}

#[tokio::test]
#[should_panic(expected = "waited 20ms in vain: pigs fly")]
async fn a_wait_in_vain_ends_with_its_sentence() {
    eventually("pigs fly", Duration::from_millis(20), async || false).await;
}

#[tokio::test]
async fn a_wait_gives_what_it_waited_for() {
    let mut asked = 0;
    let found = eventually("the third answer is yes", SOON, async || {
        asked += 1;
        (asked == 3).then_some("yes")
    });
    assert_eq!(found.await, "yes");
}

#[test]
fn a_program_gives_its_output_and_status() {
    let output = Program::new("/bin/sh")
        .args(["-c", "cat; echo sorry >&2; exit 3"])
        .stdin("hello")
        .run()
        .failed();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("hello", "sorry\n"));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
#[should_panic(expected = "sh ran longer than 50ms")]
fn a_program_that_hangs_is_ended() {
    Program::new("/bin/sh").args(["-c", "exec sleep 60"]).within(Duration::from_millis(50)).run();
}
