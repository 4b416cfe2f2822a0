//! `vipfence agent`: one node. Puts the parts together, runs them, and stops them in order.
//!
//! ```text
//!   configuration -> state directory -> consensus -> driver <-> Azure
//!                          |                |           ^
//!                          v                v           | heartbeats
//!                        node  <------- gRPC API -------+        HTTP port
//! ```
//!
//! The order of the start: the lock of the state directory, the listeners, consensus, the node. So
//! Raft may vote, and even lead, before the node has dropped what an earlier start left on the OS:
//! neither a vote nor leading entitles to an address. The node itself joins, by its first heartbeat,
//! only when nothing is left that would stay for ever (`Holder`).
//!
//! It decides nothing. Where a part ends by itself the process ends too: the addresses of this node
//! then go with their lifetimes, and the others take over.

use std::{
    collections::BTreeSet,
    io::IsTerminal as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;
use vipfence_agent_core::OnStop;
use vipfence_coordinator::{
    DriverHandle, DriverParts, Tally,
    api::{self, Api, LeaderLink, LocalStatus},
    azure::Azure,
    consensus::{Consensus, ConsensusConfig, Peer, SnapshotLimits},
};
use vipfence_coordinator_core::{Founder, Registry, Setup};
use vipfence_types::{Answer, BootId, Heartbeat, VipName};

use crate::{
    cli::AgentArgs,
    clock::{ClockSource, SystemClocks},
    config::{self, NodeConfig, OsDriver},
    doctor::Doctor,
    duty::{Attendant, ServiceManager, Systemctl},
    health::{self, Prober},
    http,
    metrics::Metrics,
    node::{self, BeatError, BeatTransport, NodeHandle, NodeParts, NodeRunner, state::NodeState},
    os::{AddressDriver, linux::Kernel, userspace::Userspace},
    output::complain,
    spawner::Spawner,
    supervisor::{Device, Manager, Supervisor},
};

/// How long a node that stops cleanly waits until its VIPs have been moved elsewhere.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a node that keeps its VIPs waits for another leader, and again for its last answer: what
/// it waits here is missing from the time that its restart may take.
const KEEP_WITHIN: Duration = Duration::from_secs(1);
/// How long connections get to end when the process stops.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// Runs a node until it is told to stop, or until a part of it fails.
pub(crate) async fn run(args: &AgentArgs) -> ExitCode {
    let Some(config) = load(&args.config) else { return ExitCode::from(2) };
    if args.check_config {
        complain(&format!("{}: the configuration is good", args.config.display()));
        return ExitCode::SUCCESS;
    }
    match Box::pin(serve(config)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn load(path: &Path) -> Option<NodeConfig> {
    let colours = std::io::stderr().is_terminal();
    match config::load(path) {
        Ok(loaded) => {
            if !loaded.warnings.problems().is_empty() {
                complain(&loaded.warnings.render(colours));
            }
            Some(loaded.config)
        }
        Err(error) => {
            complain(&error.render(colours));
            None
        }
    }
}

async fn serve(config: NodeConfig) -> anyhow::Result<()> {
    let clocks: Arc<dyn ClockSource> = Arc::new(SystemClocks);
    let boot = BootId::from(uuid::Uuid::new_v4().to_string());
    // First of all the lock: a second agent of this node must not touch anything.
    let (state, remembered) = NodeState::open(&config.data_dir, &boot)?;
    // Listeners next: what cannot listen must not take part in elections.
    let grpc = api::bind(config.listen.grpc).await?;
    let web = http::bind(config.listen.http).await?;
    let azure = azure(&config, &clocks)?;
    azure.start_keeper();
    let consensus = Consensus::start(consensus_config(&config)).await?;
    let supervisor = supervisor(&config, &consensus)?;
    let metrics = Arc::new(Metrics::new());
    let tally: Arc<dyn Tally> = Arc::<Metrics>::clone(&metrics);
    let driver = driver(&config, &consensus, &azure, &clocks, tally);

    let driver_os = os_driver(&config, &clocks).await?;
    let attendant = Arc::new(attendant(&config, &consensus)?);
    let transport = Arc::new(ToLeader(LeaderLink::new(consensus.clone(), driver.clone())));
    let node_config = node::NodeConfig {
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        boot,
        nics: config.nics.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        heartbeat: config.timing().agent_heartbeat(),
        managed: managed(&consensus.applied().borrow().state),
    };
    let parts = NodeParts {
        driver: driver_os,
        transport,
        clocks: Arc::clone(&clocks),
        state,
        remembered,
        supervisor,
        tally: Arc::<Metrics>::clone(&metrics),
        attendant: Arc::clone(&attendant),
    };
    let node = NodeRunner::spawn(node_config, parts).await?;
    follow_checks(&attendant, &node)?;

    let (stop, stopped) = oneshot::channel::<()>();
    let doctor =
        Doctor::new(config.clone(), azure.clone(), Arc::clone(&clocks), PathBuf::from("/"));
    let api = Api::new(consensus.clone(), driver, local(&node), nudged(&node))
        .with_examiner(Arc::new(doctor));
    let serving = tokio::spawn(api::serve(api, grpc, stopped.map(|_| ())));
    let website = tokio::spawn(http::serve(web, node.clone(), consensus.clone(), metrics));
    tokio::spawn(follow_health(azure, node.clone()));
    tokio::spawn(follow_timing(consensus.clone(), node.clone()));
    tokio::spawn(follow_vips(consensus.clone(), node.clone()));
    tokio::spawn(crate::journal::follow(consensus.clone()));
    tracing::info!(node = %config.node, grpc = %config.listen.grpc, http = %config.listen.http, "started");

    let result = tokio::select! {
        () = told_to_stop() => {
            stop_cleanly(config.on_stop, &node, &consensus).await;
            Ok(())
        }
        () = node.ended() => Err(anyhow::anyhow!("the node's loop has ended")),
        why = consensus.ended() => Err(anyhow::anyhow!("consensus has ended: {why}")),
        served = serving => Err(ended("the gRPC listener", served)),
        served = website => Err(ended("the HTTP listener", served)),
    };
    drop(stop);
    let _ = tokio::time::timeout(GOODBYE, consensus.shutdown()).await;
    result
}

fn ended<E: std::error::Error + Send + Sync + 'static>(
    what: &str,
    result: Result<Result<(), E>, tokio::task::JoinError>,
) -> anyhow::Error {
    match result {
        Ok(Ok(())) => anyhow::anyhow!("{what} has ended"),
        Ok(Err(error)) => anyhow::Error::new(error).context(format!("{what} has failed")),
        Err(error) => anyhow::Error::new(error).context(format!("{what} has failed")),
    }
}

fn consensus_config(config: &NodeConfig) -> ConsensusConfig {
    let peers = config.peers.iter();
    ConsensusConfig {
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        peers: peers
            .map(|peer| Peer {
                name: peer.node.clone(),
                address: peer.address.clone(),
                role: peer.role,
            })
            .collect(),
        data_dir: config.data_dir.clone(),
        timing: config.timing(),
        snapshot: SnapshotLimits::default(),
    }
}

/// The way to Azure that a file describes.
pub(crate) fn azure(config: &NodeConfig, clocks: &Arc<dyn ClockSource>) -> anyhow::Result<Azure> {
    let settings = vipfence_coordinator::azure::AzureConfig::new(
        &config.azure.arm,
        &config.azure.imds,
        &config.azure.audience,
    )
    .with_ca_file(config.azure.ca_file.clone())
    .with_authority(&config.azure.authority)
    .with_identity(config.azure.identity.clone());
    let clocks = Arc::clone(clocks);
    Azure::new(settings, Arc::new(move || clocks.now())).context("azure")
}

fn driver(
    config: &NodeConfig,
    consensus: &Consensus,
    azure: &Azure,
    clocks: &Arc<dyn ClockSource>,
    tally: Arc<dyn Tally>,
) -> DriverHandle {
    let founders = config.peers.iter().map(|peer| Founder {
        node: peer.node.clone(),
        role: peer.role,
        address: peer.address.clone(),
    });
    let clocks = Arc::clone(clocks);
    vipfence_coordinator::start(DriverParts {
        setup: Setup {
            node: config.node.clone(),
            cluster: config.cluster.clone(),
            timing: config.timing(),
            founders: founders.collect(),
            api_version: config.azure.api_version.clone(),
            trust_if_match: config.azure.trust_if_match,
            epoch_tag: config.azure.epoch_tag,
        },
        consensus: consensus.clone(),
        azure: Arc::new(azure.clone()),
        clocks: Arc::new(move || clocks.now()),
        nudge: api::nudges(consensus.clone()),
        tally,
    })
}

fn supervisor(config: &NodeConfig, consensus: &Consensus) -> anyhow::Result<Supervisor> {
    let leadership = consensus.leadership();
    let manager = Manager::from_environment(move || leadership.borrow().leading);
    let device = config.watchdog.as_deref().map(Device::arm).transpose()?;
    Ok(Supervisor::new(manager, device))
}

async fn os_driver(
    config: &NodeConfig,
    clocks: &Arc<dyn ClockSource>,
) -> anyhow::Result<Arc<dyn AddressDriver>> {
    match &config.os {
        #[cfg(target_os = "linux")]
        OsDriver::Linux { interfaces } => {
            let kernel = Kernel::open(&config.data_dir, interfaces.clone()).await;
            Ok(Arc::new(kernel.context("kernel addresses")?))
        }
        OsDriver::Userspace { responder } => {
            let userspace = Userspace::new(config.node.clone(), Arc::clone(clocks));
            let (_, serving) = userspace.bind(*responder).await.with_context(|| {
                format!("cannot listen at {responder}; change os.responder, or stop who does")
            })?;
            tokio::spawn(serving);
            Ok(Arc::new(userspace))
        }
    }
}

fn attendant(config: &NodeConfig, consensus: &Consensus) -> anyhow::Result<Attendant> {
    let spawner = Spawner::new().context("the thread that starts programs")?;
    let services: Arc<dyn ServiceManager> = Arc::new(Systemctl::new(spawner.clone()));
    let consensus = consensus.clone();
    let addresses = move |vip: &VipName| {
        let state = Arc::clone(&consensus.applied().borrow().state);
        let record = state.vips.get(vip);
        record
            .map_or(vec![], |record| record.spec.addresses.iter().map(|one| one.address).collect())
    };
    Ok(Attendant {
        node: config.node.clone(),
        cluster: config.cluster.clone(),
        vips: config.vips.clone(),
        spawner,
        services,
        addresses: Box::new(addresses),
    })
}

/// Heartbeats say whether the services behind VIPs are well here.
fn follow_checks(attendant: &Attendant, node: &NodeHandle) -> anyhow::Result<()> {
    let checked = || attendant.vips.iter().filter(|(_, setup)| !setup.checks.is_empty());
    if checked().next().is_none() {
        return Ok(());
    }
    let Attendant { spawner, services, .. } = attendant;
    let prober = Prober::new(attendant.node.clone(), spawner.clone(), Arc::clone(services));
    let prober = Arc::new(prober.context("health checks")?);
    for (vip, setup) in checked() {
        let node_told = node.clone();
        let told = move |vip, failing| {
            let node = node_told.clone();
            async move { node.checked(vip, failing).await }.boxed()
        };
        let (vip, checks) = (vip.clone(), setup.checks.clone());
        let prober = Arc::clone(&prober);
        tokio::spawn(health::follow(vip, checks, prober, node.served(), Box::new(told)));
    }
    Ok(())
}

/// Heartbeats go to whoever leads.
pub(crate) struct ToLeader(pub(crate) LeaderLink);

impl BeatTransport for ToLeader {
    fn beat(&self, heartbeat: Heartbeat) -> BoxFuture<'_, Result<Answer, BeatError>> {
        async move {
            self.0.beat(heartbeat).await.map_err(|error| match error {
                api::BeatError::Refused(refusal) => BeatError::Refused(refusal),
                api::BeatError::Unreachable(why) => BeatError::Unreachable(why),
            })
        }
        .boxed()
    }
}

pub(crate) fn local(node: &NodeHandle) -> Arc<dyn Fn() -> LocalStatus + Send + Sync> {
    let node = node.clone();
    Arc::new(move || {
        let view = node.view();
        let held = view.held.iter().filter(|held| held.added);
        LocalStatus {
            held: held.map(|held| (held.vip.clone(), held.epoch, held.lease_left)).collect(),
            detail: view.detail,
        }
    })
}

pub(crate) fn nudged(node: &NodeHandle) -> Arc<dyn Fn() + Send + Sync> {
    let node = node.clone();
    Arc::new(move || node.nudge())
}

/// Heartbeats say whether this node reaches Azure.
async fn follow_health(azure: Azure, node: NodeHandle) {
    let mut health = azure.health();
    health.mark_changed();
    while health.changed().await.is_ok() {
        let now = health.borrow_and_update().clone();
        node.health(now.arm_ok, now.detail).await;
    }
}

/// The replicated timers are in force once they are applied here.
pub(crate) async fn follow_timing(consensus: Consensus, node: NodeHandle) {
    let mut applied = consensus.applied();
    let mut last = None;
    while applied.changed().await.is_ok() {
        let state = Arc::clone(&applied.borrow_and_update().state);
        let interval = state.timing.agent_heartbeat();
        if state.cluster.is_some() && last != Some(interval) {
            last = Some(interval);
            node.heartbeat_every(interval).await;
        }
    }
}

/// The addresses of all VIPs, those being deleted included.
fn managed(state: &Registry) -> BTreeSet<IpAddr> {
    let addresses = state.vips.values().flat_map(|record| &record.spec.addresses);
    addresses.map(|one| one.address).collect()
}

/// What is a VIP's must not stay on this node's OS without a grant, whoever put it there.
async fn follow_vips(consensus: Consensus, node: NodeHandle) {
    let mut applied = consensus.applied();
    let mut last = BTreeSet::new();
    while applied.changed().await.is_ok() {
        let state = Arc::clone(&applied.borrow_and_update().state);
        let now = managed(&state);
        if now != last {
            node.managed_are(now.clone()).await;
            last = now;
        }
    }
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).ok();
    let (terminate, interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    let (Some(mut terminate), Some(mut interrupt)) = (terminate, interrupt) else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Ends the node in the manner that its file asks for; a second signal ends it at once.
async fn stop_cleanly(on_stop: OnStop, node: &NodeHandle, consensus: &Consensus) {
    tokio::select! {
        () = stop_as_told(on_stop, node, consensus) => {}
        () = told_to_stop() => tracing::warn!("stopping at once"),
    }
    for (vip, reason) in node.view().nowhere {
        complain(&format!("stopped; nobody serves {vip} now: {reason}"));
    }
}

async fn stop_as_told(on_stop: OnStop, node: &NodeHandle, consensus: &Consensus) {
    match on_stop {
        OnStop::Move => {
            tracing::info!("stopping: the VIPs of this node move first");
            node.stop(on_stop, STOP_WITHIN).await;
            let _ = tokio::time::timeout(GOODBYE, consensus.step_down()).await;
        }
        OnStop::Keep => {
            tracing::info!("stopping: the VIPs of this node stay for as long as their leases");
            // First: so that the heartbeat that renews them is the last thing done.
            let _ = tokio::time::timeout(KEEP_WITHIN, consensus.step_down()).await;
            node.stop(on_stop, KEEP_WITHIN).await;
        }
    }
}
