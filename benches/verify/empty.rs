//! What the transport alone costs: a tonic service with the same messages whose handler does nothing.
//!
//! As an ordinary service would be written: tonic's own server with its defaults and the generated code. Only the
//! runtime is chosen.

use countersign::rpc::proto::key_verifier_server::{KeyVerifier, KeyVerifierServer};
use countersign::rpc::proto::{
    BatchVerifyRequest, BatchVerifyResponse, VerifyRequest, VerifyResponse, batch_verify_response,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::cpu;

/// On which runtime the empty handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// One thread, as our verifying threads have it.
    Current,
    /// As `#[tokio::main]` makes it on this machine: a worker for each of its cores.
    Multi,
    /// The same as `#[tokio::main]` makes it for a process that has one core: one worker.
    MultiOfOne,
}

struct Empty;

#[tonic::async_trait]
impl KeyVerifier for Empty {
    async fn verify(&self, _: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        Ok(Response::new(VerifyResponse { allowed: true, ..VerifyResponse::default() }))
    }

    async fn batch_verify(
        &self,
        request: Request<BatchVerifyRequest>,
    ) -> Result<Response<BatchVerifyResponse>, Status> {
        use batch_verify_response::{Result as Entry, result::Result as Outcome};

        let allowed = VerifyResponse { allowed: true, ..VerifyResponse::default() };
        let entry = Entry { result: Some(Outcome::Response(allowed)) };
        let results = vec![entry; request.get_ref().requests.len()];
        Ok(Response::new(BatchVerifyResponse { results }))
    }
}

/// Serves until it is killed.
pub(crate) fn serve(runtime: Runtime) {
    let mut builder = match runtime {
        Runtime::Current => tokio::runtime::Builder::new_current_thread(),
        Runtime::Multi | Runtime::MultiOfOne => tokio::runtime::Builder::new_multi_thread(),
    };
    // Said in words: this process may run on one core alone, and tokio counts those that it may use.
    match runtime {
        Runtime::Current => {}
        Runtime::Multi => {
            builder.worker_threads(cpu::cores());
        }
        Runtime::MultiOfOne => {
            builder.worker_threads(1);
        }
    }
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("  gRPC        {}", listener.local_addr().expect("an address"));
        println!("ready");
        let served = tonic::transport::Server::builder()
            .add_service(KeyVerifierServer::new(Empty))
            .serve_with_incoming(TcpListenerStream::new(listener));
        served.await.expect("serves");
    });
}
