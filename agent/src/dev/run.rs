//! `vipfence dev` from its start to its end: brings the cluster up, tells what happens, restarts
//! nodes if asked to, and takes everything down.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::sleep,
};
use vipfence_types::told;

use super::{
    attachments::{self, Source},
    banner::Banner,
    children::{Children, Exited, Who},
    cluster::Cluster,
    error::DevError,
    folder::Folder,
    forwarder, logs,
    manifest::Manifest,
    narrate,
    plan::Plan,
    startup,
    story::{EventStory, ViewStory},
};
use crate::cli::DevArgs;

const EVENTS: Duration = Duration::from_millis(150);
const VIEW: Duration = Duration::from_millis(500);
const LOGS: Duration = Duration::from_secs(5);
/// A node that dies at once is not started again at once.
const SHORTEST_RESTART: Duration = Duration::from_millis(100);
/// Lines of its log that are shown when a node ends by itself.
const TAIL: usize = 3;

/// Runs a cluster until it is interrupted, and says why if it cannot. Every process that it
/// started has ended when this returns.
pub(crate) async fn run(args: DevArgs) -> ExitCode {
    match Box::pin(run_to_the_end(args)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            narrate::failure(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run_to_the_end(args: DevArgs) -> Result<(), DevError> {
    // Before anything is made that would have to be removed.
    let mut signals = Signals::new()?;
    let folder = Folder::take(args.dir.as_deref(), args.keep)?;
    let system =
        |source| DevError::System { what: "start the thread that starts processes", source };
    let mut children = Children::new().map_err(system)?;
    let mut started = false;
    let ended = tokio::select! {
        ended = Box::pin(live(&args, &folder, &mut children, &mut started)) => ended,
        () = signals.any() => Ok(()),
    };
    children.stop().await;
    // The logs say more than the error.
    let look = ended.is_err() && started;
    let path = folder.path().to_path_buf();
    if let Err(error) = folder.leave(look) {
        narrate::line(&format!("cannot remove {}: {error}", path.display()));
    }
    if ended.is_ok() {
        narrate::line("all processes have ended");
    }
    ended
}

/// The signals that end `dev`: of the terminal, of a service, of a terminal that is closed.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self, DevError> {
        let listen = |kind| {
            signal(kind).map_err(|source| DevError::System { what: "listen for signals", source })
        };
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Everything between taking the folder and leaving it. Returns only errors.
async fn live(
    args: &DevArgs,
    folder: &Folder,
    children: &mut Children,
    started: &mut bool,
) -> Result<(), DevError> {
    let began = jiff::Timestamp::now();
    let (plan, vip) = startup::prepare(args, folder).await?;
    narrate::line(&format!(
        "starting a simulated Azure and {} nodes in {}",
        plan.nodes.len(),
        folder.path().display()
    ));
    let other = |source| DevError::System { what: "prepare the connections", source };
    let cluster = Cluster::new(&plan).map_err(|error| other(std::io::Error::other(error)))?;
    let cluster = Arc::new(cluster);
    let source = Source::new(&plan.admin_url());
    let source = source.map_err(|error| other(std::io::Error::other(error)))?;
    let vip = tokio::net::TcpListener::from_std(vip).map_err(other)?;

    // They end with this function.
    let mut tasks = JoinSet::new();
    let (to, route) = watch::channel(None);
    let save = startup::saved_attachments(folder);
    tasks.spawn(forwarder::serve(vip, route.clone()));
    *started = true;
    // A poll before the simulator listens is refused at once, and repeated soon.
    tasks.spawn(attachments::follow(source.clone(), plan.clone(), save, to));
    let (pids, vip) = startup::come_up(children, folder, &plan, &cluster, &source, route).await?;
    let events = told_already(&cluster).await;

    let mut tending = Tending { args, folder, plan: &plan, children, pids };
    let path = folder.manifest();
    tending.manifest().write(&path).map_err(DevError::write(&path))?;
    let took = jiff::Timestamp::now().duration_since(began).unsigned_abs();
    let banner = Banner { plan: &plan, pids: &tending.pids, dir: folder.path(), vip: &vip, took };
    narrate::plain(&banner.text());
    tasks.spawn(tell_events(Arc::clone(&cluster), events));
    tasks.spawn(tell_view(cluster));
    tending.tend().await
}

/// What led to the present state is not told.
async fn told_already(cluster: &Cluster) -> EventStory {
    let mut story = EventStory::default();
    if let Ok(events) = cluster.events_after(0).await {
        story.on_events(&events);
    }
    story
}

async fn tell_events(cluster: Arc<Cluster>, mut story: EventStory) {
    loop {
        sleep(EVENTS).await;
        // While no node answers, `tell_view` says so.
        if let Ok(events) = cluster.events_after(story.last()).await {
            for line in story.on_events(&events) {
                narrate::line(&line);
            }
        }
    }
}

async fn tell_view(cluster: Arc<Cluster>) {
    let mut story = ViewStory::default();
    loop {
        match cluster.status().await {
            Ok(status) => {
                for line in story.on_status(&status) {
                    narrate::line(&line);
                }
            }
            Err(status) => {
                if let Some(line) = story.on_no_status(status.message()) {
                    narrate::line(&line);
                }
            }
        }
        sleep(VIEW).await;
    }
}

/// Looks after the processes of a cluster that is up.
struct Tending<'a> {
    args: &'a DevArgs,
    folder: &'a Folder,
    plan: &'a Plan,
    children: &'a mut Children,
    /// Of the nodes.
    pids: Vec<u32>,
}

impl Tending<'_> {
    /// For ever.
    async fn tend(&mut self) -> Result<(), DevError> {
        let mut restarts: JoinSet<usize> = JoinSet::new();
        let mut look = tokio::time::interval(LOGS);
        loop {
            tokio::select! {
                exited = self.children.next_exit() => {
                    self.on_exit(&exited);
                    if let Who::Node(index) = exited.who {
                        self.restart_later(&mut restarts, index);
                    }
                }
                Some(Ok(index)) = restarts.join_next() => {
                    if !self.restart(index).await {
                        self.restart_later(&mut restarts, index);
                    }
                }
                _ = look.tick() => self.bound_logs(),
            }
        }
    }

    fn on_exit(&self, exited: &Exited) {
        let Exited { who, pid, killed, how } = exited;
        narrate::line(&format!("{} (process {pid}) died: {how}", startup::called(self.plan, *who)));
        if !killed {
            for line in logs::tail(&startup::log_of(self.folder, *who), TAIL) {
                narrate::plain(&format!("    {line}"));
            }
        }
        if *who == Who::Simulator {
            narrate::line(
                "without it nothing can be moved: end this with Ctrl-C and start it again",
            );
        }
    }

    fn restart_later(&self, restarts: &mut JoinSet<usize>, index: usize) {
        if let Some(after) = self.args.restart_after {
            let after = after.max(SHORTEST_RESTART);
            restarts.spawn(async move {
                sleep(after).await;
                index
            });
        }
    }

    /// Whether the process runs.
    async fn restart(&mut self, index: usize) -> bool {
        let name = self.plan.name(index).to_owned();
        match startup::start(self.children, self.folder, Who::Node(index)).await {
            Ok(pid) => {
                narrate::line(&format!("{name} was started again (process {pid})"));
                if let Some(known) = self.pids.get_mut(index) {
                    *known = pid;
                }
                let path = self.folder.manifest();
                if let Err(error) = self.manifest().write(&path) {
                    narrate::line(&format!("cannot write {}: {error}", path.display()));
                }
                true
            }
            Err(error) => {
                let why = told(&error);
                narrate::line(&format!("{name} cannot be started again: {why}"));
                false
            }
        }
    }

    fn manifest(&self) -> Manifest {
        Manifest::new(self.plan, &self.pids)
    }

    fn bound_logs(&self) {
        let nodes = (0..self.plan.nodes.len()).map(Who::Node);
        let logs: Vec<PathBuf> =
            nodes.chain([Who::Simulator]).map(|who| startup::log_of(self.folder, who)).collect();
        for log in logs {
            if let Err(error) = logs::bound(&log) {
                narrate::line(&format!("cannot look after {}: {error}", log.display()));
            }
        }
    }
}
