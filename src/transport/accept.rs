//! Takes sockets from a listener and hands them on.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long to wait when the process or the system is out of file descriptors. Without it the loop
/// would spin: the socket stays in the backlog, and accepting it fails again at once.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// A port that we can't listen on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else does.
    #[error(
        "{name} {address} is in use by another program; stop it or choose another address with --{name}"
    )]
    InUse {
        /// The setting.
        name: &'static str,
        /// Its value.
        address: SocketAddr,
    },
    /// The system does not let us.
    #[error("can't listen on {address}: {error}; choose another address with --{name}")]
    Other {
        /// The setting.
        name: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// Listens on an address. `name` is the setting that says it, for errors.
pub async fn bind(
    name: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { name, address },
        _ => BindError::Other { name, address, error },
    })
}

/// Hands every new socket on, until the word to stop; then the listener closes.
pub(super) async fn accept(
    listener: TcpListener,
    shutdown: CancellationToken,
    mut hand_on: impl FnMut(TcpStream, SocketAddr),
) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                // Answers are small and complete: waiting to fill a segment only delays them. A socket
                // that refuses is dead already, which its reader will notice.
                let _ = socket.set_nodelay(true);
                failing = false;
                hand_on(socket, peer);
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                // Once for each time that it begins, not ten times a second.
                if !failing {
                    tracing::warn!(%error, "can't accept connections for now");
                }
                failing = true;
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(OUT_OF_FILES) => {}
                }
            }
        }
    }
}

/// The peer gave up before we took its socket; the next one may be fine.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
