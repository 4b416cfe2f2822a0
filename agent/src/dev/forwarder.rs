//! The data plane of the VIP: a TCP forwarder that sends each new connection to the node that has
//! the address in the simulated Azure, and to nobody else.
//!
//! It looks neither at what is said nor at who holds the VIP: as in Azure, what arrives at a node
//! that should not answer is that node's affair. A connection to a node that has lost the address
//! is closed.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::attachments::Route;

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 512;
/// To reach a node of this machine.
const CONNECT: Duration = Duration::from_secs(1);
/// After a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Forwards for ever.
pub(super) async fn serve(listener: TcpListener, route: watch::Receiver<Option<Route>>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let route = route.clone();
                    connections.spawn(async move {
                        forward(client, route).await;
                        drop(permit);
                    });
                }
                Err(_) => sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection; it is closed when this returns.
async fn forward(mut client: TcpStream, mut route: watch::Receiver<Option<Route>>) {
    let Some(chosen) = route.borrow_and_update().clone() else { return };
    let talk = async {
        let Ok(Ok(mut node)) = timeout(CONNECT, TcpStream::connect(chosen.responder)).await else {
            return;
        };
        // Small answers go out at once; without it they only go later.
        let _ = (client.set_nodelay(true), node.set_nodelay(true));
        // Either side may go away at any time.
        let _ = copy_bidirectional(&mut client, &mut node).await;
    };
    tokio::select! {
        () = talk => {}
        // An error means that nobody follows the attachments any more: all is ending.
        _ = route.wait_for(|now| now.as_ref() != Some(&chosen)) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::dev::ports::local;

    const SOON: Duration = Duration::from_secs(10);

    /// Greets with its name, then echoes.
    async fn responder(name: &'static str) -> Route {
        let listener = TcpListener::bind(local(0)).await.unwrap();
        let responder = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    stream.write_all(name.as_bytes()).await.unwrap();
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Route { node: name.to_owned(), responder }
    }

    struct Bench {
        vip: std::net::SocketAddr,
        route: watch::Sender<Option<Route>>,
    }

    async fn bench(first: Option<Route>) -> Bench {
        let listener = TcpListener::bind(local(0)).await.unwrap();
        let vip = listener.local_addr().unwrap();
        let (route, routes) = watch::channel(first);
        tokio::spawn(serve(listener, routes));
        Bench { vip, route }
    }

    impl Bench {
        /// A connection, and its greeting.
        async fn connect(&self) -> (TcpStream, String) {
            let mut stream = TcpStream::connect(self.vip).await.unwrap();
            let mut greeting = [0; 2];
            let read = timeout(SOON, stream.read_exact(&mut greeting)).await.unwrap();
            let greeting = read.map(|_| String::from_utf8_lossy(&greeting).into_owned());
            (stream, greeting.unwrap_or_default())
        }
    }

    async fn is_closed(mut stream: TcpStream) -> bool {
        let mut byte = [0; 1];
        matches!(timeout(SOON, stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }

    #[tokio::test]
    async fn new_connections_go_where_the_address_is_and_old_ones_are_closed() {
        let (n1, n2) = (responder("n1").await, responder("n2").await);
        let bench = bench(Some(n1.clone())).await;
        let (mut old, greeting) = bench.connect().await;
        assert_eq!(greeting, "n1");
        // The same again is no change.
        bench.route.send_replace(Some(n1));
        let mut echo = [0; 4];
        old.write_all(b"ping").await.unwrap();
        timeout(SOON, old.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(&echo, b"ping");
        bench.route.send_replace(Some(n2));
        assert!(is_closed(old).await);
        assert_eq!(bench.connect().await.1, "n2");
    }

    #[tokio::test]
    async fn without_an_attachment_or_a_living_node_connections_are_closed() {
        let bench = bench(None).await;
        assert_eq!(bench.connect().await.1, "");
        let dead = TcpListener::bind(local(0)).await.unwrap().local_addr().unwrap();
        bench.route.send_replace(Some(Route { node: "n3".to_owned(), responder: dead }));
        assert_eq!(bench.connect().await.1, "");
        let n1 = responder("n1").await;
        bench.route.send_replace(Some(n1));
        let (stream, greeting) = bench.connect().await;
        assert_eq!(greeting, "n1");
        bench.route.send_replace(None);
        assert!(is_closed(stream).await);
    }
}
