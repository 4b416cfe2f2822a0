//! The command line (design.md §9): what may be typed, and the commands that talk to a running
//! cluster over its gRPC API.
//!
//! The client decides nothing about the cluster: it asks, prints, and waits. Its exit codes are
//! decided in `exit`, what it says about an error in `failure`, and everything that it prints goes
//! through `output`. A write carries a request id, so that repeating it on another node is safe
//! (I4). Those without one may be repeated without harm (`hands`); stepping down is not repeated.

mod args;
mod azure;
mod doctor;
mod execute;
mod exit;
mod failure;
mod hands;
mod history;
mod json;
mod link;
mod moving;
mod node_file;
mod output;
mod parse;
mod policies;
mod progress;
mod rehearse;
mod status;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod units;
mod vips;
mod watch;
mod words;

use std::{fmt, future::Future, pin::Pin, process::ExitCode};

use vipfence_proto::v1::{StepDownRequest, cluster_service_client::ClusterServiceClient};

#[cfg(feature = "dev")]
pub(crate) use args::DevArgs;
pub(crate) use args::{AgentArgs, Cli, ClientCommand, ClientOptions, Command};
pub(crate) use parse::duration;

use args::{AzureCommand, VipCommand};
use exit::Exit;
use failure::Failure;
use link::{ANSWER, Link, Repeat};
use output::Output;
use target::Target;

/// Carries out a client command, prints what there is to say, and gives the exit code.
pub(crate) async fn run(command: ClientCommand, options: ClientOptions) -> ExitCode {
    let out = Output::standard(options.output);
    let interrupt = Box::pin(async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the signal ends the process by itself.
            std::future::pending::<()>().await;
        }
    });
    let mut session = Session::new(options.endpoints, out, interrupt);
    perform(&mut session, command).await.into()
}

/// What a command works with.
struct Session {
    link: Link,
    out: Output,
    /// Ready when the user has pressed Ctrl-C; looked at only while a move is waited for.
    interrupt: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Session {
    fn new(
        endpoints: Vec<Target>,
        out: Output,
        interrupt: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Self {
        Self { link: Link::new(endpoints), out, interrupt }
    }
}

async fn perform(session: &mut Session, command: ClientCommand) -> Exit {
    let result = match command {
        ClientCommand::Status => status::run(session).await,
        ClientCommand::Move(args) => moving::run(session, &args).await,
        ClientCommand::Vip(VipCommand::Create(args)) => vips::create(session, &args).await,
        ClientCommand::Vip(VipCommand::List) => vips::list(session).await,
        ClientCommand::Vip(VipCommand::Show(args)) => vips::show(session, &args.name).await,
        ClientCommand::Vip(VipCommand::Update(args)) => vips::update(session, &args).await,
        ClientCommand::Pause(args) => hands::pause(session, &args).await,
        ClientCommand::Resume(args) => hands::resume(session, &args).await,
        ClientCommand::Confirm(args) => hands::confirm(session, &args).await,
        ClientCommand::Vip(VipCommand::Enable(args)) => vips::enable(session, &args).await,
        ClientCommand::Vip(VipCommand::Disable(args)) => vips::disable(session, &args).await,
        ClientCommand::Vip(VipCommand::Delete(args)) => vips::delete(session, &args).await,
        ClientCommand::Watch(args) => watch::run(session, args.vip.as_deref()).await,
        ClientCommand::History(args) => history::run(session, &args).await,
        ClientCommand::StepDown => step_down(session).await,
        ClientCommand::Doctor(args) => Box::pin(doctor::run(session, &args)).await,
        ClientCommand::Units(args) => units::run(session, &args),
        ClientCommand::Azure(AzureCommand::Role(args)) => azure::role(session, &args).await,
    };
    let exit = match result {
        Ok(exit) => exit,
        Err(failure) => {
            session.out.failure(&failure);
            failure.exit
        }
    };
    match session.out.take_fault() {
        Some(fault) => {
            let message = format!("cannot write to standard output: {fault}");
            session.out.failure(&Failure::new(Exit::Failed, message));
            if exit == Exit::Done { Exit::Failed } else { exit }
        }
        None => exit,
    }
}

async fn step_down(session: &mut Session) -> Result<Exit, Failure> {
    let call = async |channel, request| ClusterServiceClient::new(channel).step_down(request).await;
    let request = StepDownRequest {};
    let answer = session.link.call_with(&request, Repeat::Never, ANSWER, call).await?;
    if session.out.is_json() {
        session.out.json(&answer);
    } else if answer.leader.is_empty() {
        session.out.line("the leader has stepped down; its successor is not known yet");
    } else {
        session.out.line(&format!("the leader has stepped down; {} leads now", answer.leader));
    }
    Ok(Exit::Done)
}
