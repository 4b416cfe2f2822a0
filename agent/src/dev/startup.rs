//! From nothing to a cluster whose VIP is held.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use azure_sim::Attachments;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use vipfence_proto::v1;

use super::{
    agent_file,
    attachments::{Route, Source},
    children::{Children, Exited, Start, Who, own_program},
    cluster::{Cluster, is_passing},
    error::DevError,
    folder::Folder,
    logs,
    manifest::write_json,
    narrate,
    plan::{Plan, VIP_NAME},
    ports::{self, Claimed, Ports},
    simulator::{SUBCOMMAND, Setup},
};
use crate::cli::DevArgs;

/// How often it is asked whether the next step is reached.
const LOOK: Duration = Duration::from_millis(15);
/// For the whole start, besides what Azure takes.
const LONGEST: Duration = Duration::from_secs(60);
/// How often it is told what is waited for.
const TELL: Duration = Duration::from_secs(4);
/// Lines of a log that are shown of a child that died.
const TAIL: usize = 12;

/// Chooses the ports and writes the files.
pub(super) async fn prepare(
    args: &DevArgs,
    folder: &Folder,
) -> Result<(Plan, std::net::TcpListener), DevError> {
    let kept = if args.keep { kept_ports(folder) } else { None };
    let claimed = match &kept {
        Some(kept) => {
            let count = kept.nodes.len();
            if count != usize::from(args.nodes) {
                narrate::line(&format!("going on with the {count} nodes that are in the folder"));
            }
            ports::take_kept(kept).await?
        }
        None => ports::take(args.base_port, args.nodes).await?,
    };
    let Claimed { ports, vip } = claimed;
    let plan = Plan::new(&ports, args.profile, args.arm_latency);
    write_files(&plan, &ports, folder)?;
    vip.set_nonblocking(true)
        .map_err(|source| DevError::System { what: "prepare the VIP's port", source })?;
    Ok((plan, vip))
}

/// The nodes of a kept cluster know each other by their ports.
fn kept_ports(folder: &Folder) -> Option<Ports> {
    let ports: Ports = read_json(&folder.ports())?;
    (!ports.nodes.is_empty() && ports.nodes.len() <= super::plan::MAX_NODES).then_some(ports)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

fn write_files(plan: &Plan, ports: &Ports, folder: &Folder) -> Result<(), DevError> {
    let azure = folder.azure();
    fs::create_dir_all(&azure).map_err(DevError::write(&azure))?;
    let before: Attachments = read_json(&saved_attachments(folder)).unwrap_or_default();
    let setup = simulator_file(folder);
    write_json(&setup, &Setup::new(plan, &before)).map_err(DevError::write(&setup))?;
    for (index, node) in plan.nodes.iter().enumerate() {
        let dir = folder.node(index);
        fs::create_dir_all(&dir).map_err(DevError::write(&dir))?;
        let file = dir.join("agent.toml");
        fs::write(&file, agent_file::text(plan, node)).map_err(DevError::write(&file))?;
    }
    let nodes = (0..plan.nodes.len()).map(Who::Node);
    for log in nodes.chain([Who::Simulator]).map(|who| log_of(folder, who)) {
        logs::set_aside(&log).map_err(DevError::write(&log))?;
    }
    let file = folder.ports();
    write_json(&file, ports).map_err(DevError::write(&file))
}

fn simulator_file(folder: &Folder) -> PathBuf {
    folder.azure().join("simulator.json")
}

/// What the data plane did last.
pub(super) fn saved_attachments(folder: &Folder) -> PathBuf {
    folder.azure().join("attachments.json")
}

/// The log of a child.
pub(super) fn log_of(folder: &Folder, who: Who) -> PathBuf {
    match who {
        Who::Simulator => folder.azure().join("simulator.log"),
        Who::Node(index) => folder.node(index).join("agent.log"),
    }
}

/// "n1", for messages.
pub(super) fn called(plan: &Plan, who: Who) -> String {
    match who {
        Who::Simulator => "the simulated Azure".to_owned(),
        Who::Node(index) => plan.name(index).to_owned(),
    }
}

/// Starts one process.
pub(super) async fn start(
    children: &mut Children,
    folder: &Folder,
    who: Who,
) -> Result<u32, DevError> {
    let log = log_of(folder, who);
    let (subcommand, flag, file) = match who {
        Who::Simulator => (SUBCOMMAND, None, simulator_file(folder)),
        Who::Node(index) => ("agent", Some("--config"), folder.node(index).join("agent.toml")),
    };
    let mut arguments = vec![OsStr::new(subcommand)];
    arguments.extend(flag.map(OsStr::new));
    arguments.push(file.as_os_str());
    let program = own_program();
    let start = Start {
        who,
        program: program.as_os_str(),
        arguments,
        log: logs::open(&log).map_err(DevError::write(&log))?,
    };
    let started = children.start(start).await;
    started.map_err(|source| DevError::System { what: "start a process", source })
}

/// Starts all processes and waits until the VIP is held. Gives the nodes' process ids, and the VIP.
pub(super) async fn come_up(
    children: &mut Children,
    folder: &Folder,
    plan: &Plan,
    cluster: &Cluster,
    source: &Source,
    route: watch::Receiver<Option<Route>>,
) -> Result<(Vec<u32>, v1::Vip), DevError> {
    start(children, folder, Who::Simulator).await?;
    // A few milliseconds; the nodes find it there at their first attempt.
    tokio::select! {
        () = simulator_answers(source) => {}
        exited = children.next_exit() => return Err(died(folder, plan, &exited)),
    }
    let mut pids = Vec::new();
    for index in 0..plan.nodes.len() {
        pids.push(start(children, folder, Who::Node(index)).await?);
    }
    let operation = Duration::from_millis(plan.world.settings.operation_ms);
    let longest = LONGEST.saturating_add(operation.saturating_mul(4));
    let missing = watch::Sender::new(String::new());
    let held = tokio::select! {
        held = timeout(longest, ready(plan, cluster, route, &missing)) => held,
        exited = children.next_exit() => return Err(died(folder, plan, &exited)),
        () = tell_missing(missing.subscribe()) => std::future::pending().await,
    };
    match held {
        Ok(vip) => Ok((pids, vip)),
        Err(_) => Err(DevError::NotReady {
            seconds: longest.as_secs(),
            state: missing.borrow().clone(),
            dir: folder.path().to_path_buf(),
        }),
    }
}

fn died(folder: &Folder, plan: &Plan, exited: &Exited) -> DevError {
    let log = log_of(folder, exited.who);
    let tail = logs::tail(&log, TAIL).iter().map(|line| format!("  {line}\n")).collect();
    DevError::Died {
        who: called(plan, exited.who),
        how: exited.how.clone(),
        log: log.display().to_string(),
        tail,
    }
}

async fn simulator_answers(source: &Source) {
    while source.ask(None).await.is_err() {
        sleep(Duration::from_millis(3)).await;
    }
}

/// A start that takes its time says what it waits for.
async fn tell_missing(missing: watch::Receiver<String>) {
    let mut told = String::new();
    loop {
        sleep(TELL).await;
        let now = missing.borrow().clone();
        if now != told {
            narrate::line(&format!("waiting: {now}"));
            told = now;
        }
    }
}

/// Waits for a leader that hears all nodes, makes the VIP, and waits until it is held and its
/// connections go to its holder. `missing` says what is not there yet.
async fn ready(
    plan: &Plan,
    cluster: &Cluster,
    mut route: watch::Receiver<Option<Route>>,
    missing: &watch::Sender<String>,
) -> v1::Vip {
    loop {
        missing.send_replace(match cluster.status().await {
            Ok(status) => match not_up(plan, &status) {
                Some(missing) => missing,
                None => break,
            },
            Err(status) => format!("no node answers as the leader: {}", status.message()),
        });
        sleep(LOOK).await;
    }
    create(cluster, missing).await;
    let vip = held(cluster, missing).await;
    if vip.enabled {
        missing.send_replace("no connection reaches the VIP's holder".to_owned());
        let arrived =
            route.wait_for(|route| route.as_ref().is_some_and(|route| route.node == vip.holder));
        // An error means that nobody follows the attachments any more: all is ending.
        let _ = arrived.await;
    }
    vip
}

/// What keeps the cluster from being whole.
fn not_up(plan: &Plan, status: &v1::GetStatusResponse) -> Option<String> {
    if status.leader.is_empty() || !status.quorum {
        return Some("there is no leader with a majority".to_owned());
    }
    let of = |name: &str| status.nodes.iter().find(|node| node.name == name);
    let alive = |node: &v1::Node| node.state() == v1::NodeState::Alive;
    if let Some(absent) = plan.nodes.iter().find(|planned| !of(&planned.name).is_some_and(alive)) {
        return Some(format!("the leader, {}, does not hear {}", status.leader, absent.name));
    }
    // Nodes report their NICs a moment after they are alive; before that nothing moves to them.
    let reports = |node: &v1::Node| !node.nics.is_empty();
    let mute = plan.nodes.iter().find(|planned| !of(&planned.name).is_some_and(reports))?;
    Some(format!("{} has not reported its NICs", mute.name))
}

async fn create(cluster: &Cluster, missing: &watch::Sender<String>) {
    // Made once per run: a VIP that was deleted in an earlier one is made again.
    let request_id = format!("dev-{}", uuid::Uuid::new_v4());
    while let Err(status) = cluster.create_vip(&request_id).await {
        missing.send_replace(format!("VIP {VIP_NAME} cannot be made: {}", status.message()));
        // A refusal may pass as well: nodes report their NICs a moment after they are alive.
        sleep(if is_passing(&status) { LOOK } else { LOOK * 4 }).await;
    }
}

/// Waits until the VIP is held; one that was disabled in an earlier run stays so.
async fn held(cluster: &Cluster, missing: &watch::Sender<String>) -> v1::Vip {
    loop {
        missing.send_replace(match cluster.vip().await {
            Ok(vip) if vip.phase() == v1::Phase::Held || !vip.enabled => return vip,
            Ok(vip) => match vip.blocked_reason.as_str() {
                "" => format!("VIP {VIP_NAME} is in phase {}", vip.phase().as_str_name()),
                why => format!("VIP {VIP_NAME} waits: {why}"),
            },
            Err(status) => format!("VIP {VIP_NAME} cannot be read: {}", status.message()),
        });
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use vipfence_types::Profile;

    use super::*;

    fn plan() -> Plan {
        Plan::new(&Ports::at(7600, 2).unwrap(), Profile::Fast, Duration::ZERO)
    }

    #[test]
    fn a_cluster_is_up_when_its_leader_hears_every_node() {
        let node = |name: &str, state: v1::NodeState| v1::Node {
            name: name.to_owned(),
            state: state.into(),
            ..v1::Node::default()
        };
        let mut status = v1::GetStatusResponse { quorum: true, ..Default::default() };
        assert!(not_up(&plan(), &status).is_some_and(|why| why.contains("no leader")));
        status.leader = "n1".to_owned();
        status.nodes = vec![node("n1", v1::NodeState::Alive)];
        assert_eq!(not_up(&plan(), &status).as_deref(), Some("the leader, n1, does not hear n2"));
        status.nodes.push(node("n2", v1::NodeState::Silent));
        assert!(not_up(&plan(), &status).is_some());
        status.nodes[1] = node("n2", v1::NodeState::Alive);
        assert_eq!(not_up(&plan(), &status).as_deref(), Some("n1 has not reported its NICs"));
        for node in &mut status.nodes {
            node.nics.push(v1::Nic::default());
        }
        assert_eq!(not_up(&plan(), &status), None);
    }

    #[tokio::test]
    async fn a_kept_cluster_keeps_its_ports_and_what_was_attached() {
        let dir = tempfile::tempdir().unwrap();
        let mut args = DevArgs {
            dir: Some(dir.path().to_path_buf()),
            keep: true,
            nodes: 2,
            profile: Profile::Fast,
            arm_latency: Duration::from_secs(1),
            base_port: 0,
            restart_after: None,
        };
        let folder = Folder::take(args.dir.as_deref(), true).unwrap();
        let (first, _) = prepare(&args, &folder).await.unwrap();
        let vip = crate::dev::plan::VIP_ADDRESS;
        let attachments = [(vip, first.nodes[1].nic_id.clone())].into();
        let saved = Attachments { version: 9, attachments };
        write_json(&saved_attachments(&folder), &saved).unwrap();
        args.base_port = 7600;
        let (second, _) = prepare(&args, &folder).await.unwrap();
        assert_eq!(second.nodes, first.nodes);
        let world = fs::read_to_string(simulator_file(&folder)).unwrap();
        assert!(world.contains("vipfence-demo"), "{world}");
        let file = fs::read_to_string(folder.node(1).join("agent.toml")).unwrap();
        assert!(file.contains(&second.nodes[1].grpc.to_string()), "{file}");
    }

    #[tokio::test]
    async fn a_child_that_dies_is_shown_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::take(Some(dir.path()), false).unwrap();
        fs::create_dir_all(folder.node(1)).unwrap();
        fs::write(log_of(&folder, Who::Node(1)), "starting\nno disk\n").unwrap();
        let how = "ended with exit code 1".to_owned();
        let exited = Exited { who: Who::Node(1), pid: 7, killed: false, how };
        let text = died(&folder, &plan(), &exited).to_string();
        assert!(text.starts_with("n2 died while the cluster was starting: ended with"), "{text}");
        assert!(text.contains("n2/agent.log, ends with:\n  starting\n  no disk\n"), "{text}");
    }
}
