//! Connections over the simulated network, as tonic wants them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Uri};
use turmoil::net::{TcpListener, TcpStream};
use vipfence_coordinator::consensus::Dial;

/// Where every node listens.
pub(super) const PORT: u16 = 7600;

/// A simulated connection.
pub(super) struct Conn(TcpStream);

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Connected for Conn {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Connections that reach this host. To be called on it.
pub(super) async fn incoming() -> io::Result<impl Stream<Item = io::Result<Conn>>> {
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    Ok(futures_util::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Conn(stream));
        Some((accepted, listener))
    }))
}

/// How the host `me` reaches the others, and itself.
pub(super) fn dial(me: &str) -> Dial {
    let me: Arc<str> = me.into();
    Arc::new(move |endpoint: Endpoint| {
        let me = Arc::clone(&me);
        endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
            let host = uri.host().unwrap_or_default().to_owned();
            let host = if host == *me { "127.0.0.1".to_owned() } else { host };
            async move {
                let stream = TcpStream::connect((host.as_str(), PORT)).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        }))
    })
}
