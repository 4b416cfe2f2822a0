//! Connections over the stage's network, as tonic wants them.

use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tonic::transport::{Endpoint, Uri};
use vipfence_coordinator::consensus::Dial;
use vipfence_types::NodeId;

use super::net::Net;

/// Where every node listens.
pub(super) const PORT: u16 = 7600;

/// How the host `me` reaches the nodes, itself included.
pub(super) fn dial(net: &Net, me: usize, nodes: &[NodeId]) -> Dial {
    let net = net.clone();
    let nodes: Arc<[NodeId]> = nodes.into();
    Arc::new(move |endpoint: Endpoint| {
        let (net, nodes) = (net.clone(), Arc::clone(&nodes));
        endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
            let host = uri.host().unwrap_or_default();
            let to = nodes.iter().position(|node| node.as_str() == host);
            let net = net.clone();
            async move {
                let to = to.ok_or(io::ErrorKind::NotFound)?;
                Ok::<_, io::Error>(TokioIo::new(net.connect(me, to).await?))
            }
        }))
    })
}
