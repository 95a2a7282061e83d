//! Where this server listens. All of it is bound before anything is made, so that a port in use is found first.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::Settings;
use crate::transport::{BindError, bind};

/// The listeners, and nobody who serves them yet.
pub(super) struct Doors {
    pub(super) grpc: TcpListener,
    /// For `KeyAdmin`, if it is apart.
    pub(super) admin: Option<TcpListener>,
    pub(super) pages: TcpListener,
    /// For gateways that ask over plain HTTP, if they may.
    pub(super) gateways: Option<TcpListener>,
    pub(super) addresses: Addresses,
}

/// The addresses that were really bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) grpc: SocketAddr,
    /// Where `KeyAdmin` is, if it is apart.
    pub(super) admin: Option<SocketAddr>,
    pub(super) http: SocketAddr,
    /// Where gateways ask over plain HTTP, if they may.
    pub(super) gateways: Option<SocketAddr>,
}

impl Doors {
    /// Binds them all.
    ///
    /// # Errors
    ///
    /// The first that can't be had.
    pub(super) async fn open(settings: &Settings) -> Result<Self, BindError> {
        let (grpc, grpc_address) = bind("listen", settings.listen).await?;
        let (admin, admin_address) = open_if("admin-listen", settings.admin_listen).await?;
        let (pages, http) = bind("http-listen", settings.http_listen).await?;
        let (gateways, gateways_address) =
            open_if("gateway-listen", settings.gateway_listen).await?;
        let addresses = Addresses {
            grpc: grpc_address,
            admin: admin_address,
            http,
            gateways: gateways_address,
        };
        Ok(Self { grpc, admin, pages, gateways, addresses })
    }
}

async fn open_if(
    name: &'static str,
    address: Option<SocketAddr>,
) -> Result<(Option<TcpListener>, Option<SocketAddr>), BindError> {
    let Some(address) = address else { return Ok((None, None)) };
    let (listener, address) = bind(name, address).await?;
    Ok((Some(listener), Some(address)))
}
