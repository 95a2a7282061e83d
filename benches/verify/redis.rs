//! What a well-known server in memory costs: `redis-server` answering GET among as many keys.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::load::{Measured, Target, on_this_thread, while_it_runs};
use crate::random::Random;
use crate::server::Server;

/// Bytes of a value, about what the answer of a Verify has.
const VALUE: usize = 200;

/// A server with so many keys, or what is to be installed.
pub(crate) fn start(dir: &Path, keys: usize) -> Server {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--port", &address.port().to_string(), "--enable-debug-command", "local"]);
    command.arg("--dir").arg(dir);
    let found = Command::new("redis-server").arg("--version").output();
    assert!(found.is_ok(), "redis-server is missing: apt-get install redis-server");
    let server = Server::silent(command, address);
    on_this_thread(async {
        let mut socket = TcpStream::connect(address).await.expect("it takes connections");
        let populate = format!("DEBUG POPULATE {keys} key {VALUE}\r\n");
        socket.write_all(populate.as_bytes()).await.expect("sent");
        let mut answer = [0; 5];
        socket.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"+OK\r\n", "redis-server is not populated");
    });
    server
}

/// So many clients, each of which asks for a random key again when it has its answer.
pub(crate) fn closed(
    target: Target<'_>,
    clients: usize,
    keys: usize,
    duration: Duration,
) -> Measured {
    on_this_thread(async {
        let (done, end) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
        let mut running = Vec::new();
        for client in 0..clients {
            let socket = connect(target.address).await;
            let random = Random::new(client as u64 + 1);
            let (done, end) = (Rc::clone(&done), Rc::clone(&end));
            running.push(spawn_local(ask_on(socket, random, keys, done, end)));
        }
        let measured = while_it_runs(target.pid, &done, duration).await;
        end.set(Some(Instant::now()));
        for client in running {
            client.await.expect("an answer was wrong");
        }
        measured
    })
}

async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).await.expect("it takes connections");
    socket.set_nodelay(true).expect("a socket");
    socket
}

async fn ask_on(
    mut socket: TcpStream,
    mut random: Random,
    keys: usize,
    done: Rc<Cell<u64>>,
    end: Rc<Cell<Option<Instant>>>,
) {
    let length = format!("${VALUE}\r\n");
    let mut answer = vec![0; length.len() + VALUE + 2];
    while end.get().is_none() {
        let key = format!("key:{}", random.below(keys as u64));
        let get = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
        socket.write_all(get.as_bytes()).await.expect("sent");
        socket.read_exact(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(length.as_bytes()), "{}", String::from_utf8_lossy(&answer));
        done.set(done.get() + 1);
    }
}
