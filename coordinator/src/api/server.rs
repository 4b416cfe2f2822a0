//! The gRPC listener of a node: services, reflection (v1 and v1alpha), health, and limits.

use std::{future::Future, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
use tonic::transport::{Server, server::Connected};
use vipfence_proto::v1::{
    agent_service_server::AgentServiceServer, cluster_service_server::ClusterServiceServer,
    vip_service_server::VipServiceServer,
};

use super::Api;

/// The largest message that the public API takes.
const MAX_MESSAGE: usize = 1 << 20;
const MAX_STREAMS: u32 = 256;
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Unacknowledged data ends a connection after this.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a node does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not one of this machine.
    #[error(
        "cannot listen for gRPC at {address}; is another agent running, or is the address not this machine's? Change listen.grpc"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Reflection could not be set up: a defect of the build.
    #[error("the API cannot be described")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The listener failed.
    #[error("the gRPC listener failed")]
    Transport(#[source] tonic::transport::Error),
}

/// Opens the listener.
///
/// # Errors
/// Names the address and the remedy.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

/// Serves the API until `stop` is done.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    api: Api,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let incoming = TcpListenerStream::new(listener).map(|stream| stream.inspect(tune));
    serve_incoming(api, incoming, stop).await
}

/// Serves the API on connections from wherever they come, until `stop` is done.
///
/// # Errors
/// Where they come from has failed.
pub async fn serve_incoming<I>(
    api: Api,
    incoming: impl Stream<Item = std::io::Result<I>>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<VipServiceServer<Api>>().await;
    health.set_serving::<ClusterServiceServer<Api>>().await;
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(vipfence_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Error details can be resolved by generic clients.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health_service)
        .add_service(describe().build_v1().map_err(ServeError::Reflection)?)
        .add_service(describe().build_v1alpha().map_err(ServeError::Reflection)?)
        .add_service(VipServiceServer::new(api.clone()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(ClusterServiceServer::new(api.clone()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(AgentServiceServer::new(api.clone()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(api.consensus.service())
        .serve_with_incoming_shutdown(incoming, stop)
        .await
        .map_err(ServeError::Transport)
}

/// A peer that vanished is noticed soon (peers.md, bite 17).
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let ms = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, ms);
    }
}
