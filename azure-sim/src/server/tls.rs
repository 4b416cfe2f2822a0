//! TLS with a CA of its own, for clients that send no token over plain HTTP.
//!
//! Keys live as long as the simulator: each start makes a new CA. Only its certificate leaves.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// ARM a second time, through TLS.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names and addresses of the certificate besides `localhost` and `127.0.0.1`.
    pub names: Vec<String>,
}

/// What a TLS listener needs, and what its clients must trust.
pub(super) struct Identity {
    pub(super) acceptor: TlsAcceptor,
    /// The CA's certificate as PEM.
    pub(super) ca_pem: String,
}

/// Makes a CA and a certificate for these names.
pub(super) fn identity(names: &[String]) -> Result<Identity, rcgen::Error> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "azure-sim CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

    let usual = ["localhost", "127.0.0.1"].map(str::to_owned);
    let mut server = CertificateParams::new([&usual, names].concat())?;
    server.distinguished_name.push(DnType::CommonName, "azure-sim");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Strict clients (Python from 3.13 on) refuse a certificate that does not name its issuer's key.
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let chain = vec![server.signed_by(&key, &ca)?.der().clone()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key.into()))
        .expect("a key made by rcgen with aws-lc-rs fits its own certificate");
    Ok(Identity { acceptor: Arc::new(config).into(), ca_pem: ca.pem() })
}

/// A connection, plain or through TLS. The handshake is part of its first use, so that a client
/// that stalls in it keeps nobody else from being accepted.
pub(super) enum Stream {
    Plain(TcpStream),
    Handshake(Box<Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut Self>> {
        if let Self::Handshake(accept) = self {
            let stream = ready!(Pin::new(accept.as_mut()).poll(context))?;
            *self = Self::Tls(Box::new(stream));
        }
        Poll::Ready(Ok(self))
    }
}

/// What a stream is once its handshake is over.
macro_rules! once_ready {
    ($self:ident, $context:ident, $stream:ident => $use:expr) => {
        match ready!($self.poll_ready($context))? {
            Self::Plain($stream) => $use,
            Self::Tls($stream) => $use,
            Self::Handshake(_) => unreachable!("poll_ready ends it"),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        once_ready!(self, context, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        once_ready!(self, context, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        once_ready!(self, context, stream => {
            Pin::new(stream).poll_write_vectored(context, slices)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        once_ready!(self, context, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A connection that never came to its handshake has nothing to say goodbye with.
        if matches!(*self, Self::Handshake(_)) {
            return Poll::Ready(Ok(()));
        }
        once_ready!(self, context, stream => Pin::new(stream).poll_shutdown(context))
    }
}
