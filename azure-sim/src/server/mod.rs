//! A thin HTTP shell around the [`World`]: it owns the clock, the sockets and nothing else.
//!
//! One listener for ARM and `/admin`, one for ARM through TLS if that is wanted, and one IMDS
//! listener per VM: which listener is asked says which VM asks.

mod admin;
mod arm;
mod connection;
mod shared;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{ConfigError, World, WorldConfig};
use connection::{Cut, CutListener};
use shared::Shared;
pub use tls::TlsConfig;

/// What to serve, and where. Port 0 lets the system choose; [`Running`] tells what it chose.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where ARM and `/admin` listen.
    pub arm: SocketAddr,
    /// Where the IMDS of each VM listens: name of the VM and address.
    pub imds: Vec<(String, SocketAddr)>,
    /// ARM through TLS too; the token policies of Microsoft's clients want it.
    pub tls: Option<TlsConfig>,
    /// The world. Its `started_unix_ms` is set to the time of day.
    pub world: WorldConfig,
}

/// Why the simulator does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The world contradicts itself.
    #[error("impossible world")]
    World(#[from] ConfigError),
    /// No certificate can be made, for instance for a name that is none.
    #[error("cannot make a certificate; the names (--tls-name) must be host names or addresses")]
    Certificate(#[source] rcgen::Error),
    /// An IMDS listener for a VM that does not exist.
    #[error("an IMDS address is given for VM {0}, which the world does not have")]
    UnknownNode(String),
    /// An address cannot be had.
    #[error(
        "cannot listen on {address} for {what}; stop whatever listens there (another \
         azure-sim?), or choose another address ({remedy}; port 0 takes any free one)"
    )]
    Listen {
        /// What was to listen there.
        what: String,
        /// The address.
        address: SocketAddr,
        /// Which option changes it.
        remedy: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A running simulator; it stops when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Where ARM and `/admin` listen.
    pub arm: SocketAddr,
    /// Where the IMDS of each VM listens.
    pub imds: BTreeMap<String, SocketAddr>,
    /// Where ARM listens through TLS.
    pub tls: Option<RunningTls>,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// ARM through TLS.
#[derive(Debug, Clone)]
pub struct RunningTls {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its clients must trust: the certificate of the CA, as PEM.
    pub ca_pem: String,
}

impl RunningTls {
    /// Base URL of ARM, with the name that the certificate always has.
    #[must_use]
    pub fn arm_url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Running {
    /// Base URL of ARM.
    #[must_use]
    pub fn arm_url(&self) -> String {
        format!("http://{}", self.arm)
    }

    /// Base URL of a VM's IMDS.
    #[must_use]
    pub fn imds_url(&self, node: &str) -> Option<String> {
        self.imds.get(node).map(|address| format!("http://{address}"))
    }

    /// Works on the world itself, at the present time. Everybody waits meanwhile.
    pub fn with_world<T>(&self, work: impl FnOnce(&mut World, Duration) -> T) -> T {
        self.shared.with_world(work)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Starts the simulator; it answers when this returns.
///
/// # Errors
/// The world is impossible or an address cannot be had; nothing runs then.
pub async fn run(config: ServerConfig) -> Result<Running, ServerError> {
    let mut world = config.world;
    world.started_unix_ms = unix_ms();
    for (node, _) in &config.imds {
        if !world.vms.iter().any(|vm| vm.name.eq_ignore_ascii_case(node)) {
            return Err(ServerError::UnknownNode(node.clone()));
        }
    }
    let shared = Arc::new(Shared::new(World::new(world)?));

    // Every address is taken before anything is served.
    let (arm_listener, arm) = listen("ARM", config.arm, "--arm").await?;
    let mut tls = None;
    if let Some(config) = config.tls {
        let identity = tls::identity(&config.names).map_err(ServerError::Certificate)?;
        let (listener, address) = listen("ARM through TLS", config.listen, "--tls-listen").await?;
        let listener = listener.through_tls(identity.acceptor);
        tls = Some((listener, RunningTls { address, ca_pem: identity.ca_pem }));
    }
    let mut imds_listeners = Vec::new();
    for (node, address) in config.imds {
        let what = format!("the IMDS of {node}");
        let (listener, address) = listen(&what, address, "--imds-base-port").await?;
        imds_listeners.push((node, listener, address));
    }

    let mut tasks = vec![
        spawn(Arc::clone(&shared).keep_time()),
        spawn(serve(
            arm_listener,
            admin::routes().merge(arm::routes(false)).with_state(shared.clone()),
        )),
    ];
    let tls = tls.map(|(listener, running)| {
        tasks.push(spawn(serve(listener, arm::routes(true).with_state(shared.clone()))));
        running
    });
    let mut imds = BTreeMap::new();
    for (node, listener, address) in imds_listeners {
        let routes = arm::imds_routes(node.clone()).with_state(shared.clone());
        tasks.push(spawn(serve(listener, routes)));
        imds.insert(node, address);
    }
    Ok(Running { arm, imds, tls, shared, tasks })
}

async fn listen(
    what: &str,
    address: SocketAddr,
    remedy: &'static str,
) -> Result<(CutListener, SocketAddr), ServerError> {
    let refuse = |source| ServerError::Listen { what: what.to_owned(), address, remedy, source };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let actual = listener.local_addr().map_err(refuse)?;
    Ok((CutListener::plain(listener), actual))
}

async fn serve(listener: CutListener, routes: Router) {
    let service = routes.into_make_service_with_connect_info::<Cut>();
    if let Err(error) = axum::serve(listener, service).await {
        tracing::error!(%error, "a listener ended");
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of day at which the world begins")]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The one place where tasks start: all of them end with [`Running`].
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}
