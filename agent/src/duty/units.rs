//! Units of systemd: started in order, stopped in the opposite one, and bound to the agent by a
//! drop-in, so that they do not run on when it was killed.
//!
//! `systemctl` waits for what it has asked for, and so do we. What systemd has begun with a unit goes
//! on where we stop waiting; a stop that is asked for later replaces a start that is under way.
//!
//! Tried with a `systemctl` of our own making; not with a real systemd.

use std::{future::pending, path::Path};

use futures_util::future::BoxFuture;
use vipfence_types::VipName;

use crate::{
    program::{self, Program},
    spawner::Spawner,
};

/// Starts and stops units. Each call ends when the unit has arrived; dropped, it waits no more.
pub(crate) trait ServiceManager: Send + Sync {
    /// Starts a unit; one that runs is no error.
    fn start<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), String>>;
    /// Stops a unit; one that does not run is no error.
    fn stop<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), String>>;
    /// `Ok` if it runs; else how it is.
    fn is_active<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), String>>;
}

/// The real one: `systemctl`, in the agent's own environment.
pub(crate) struct Systemctl {
    spawner: Spawner,
    program: String,
}

impl Systemctl {
    /// As PATH finds it.
    pub(crate) fn new(spawner: Spawner) -> Self {
        Self::at(spawner, "systemctl")
    }

    /// Another one.
    pub(crate) fn at(spawner: Spawner, program: &str) -> Self {
        Self { spawner, program: program.to_owned() }
    }

    fn ask<'a>(&'a self, verb: &'static str, unit: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let words = [&self.program, "--no-ask-password", verb, "--", unit];
            let words = words.map(str::to_owned).to_vec();
            let program = Program { words, environment: None };
            let ended = program::run(&self.spawner, &program, pending()).await;
            ended.told().map_err(|problem| format!("systemctl {verb} {unit}: {problem}"))
        })
    }
}

impl ServiceManager for Systemctl {
    fn start<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), String>> {
        self.ask("start", unit)
    }

    fn stop<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), String>> {
        self.ask("stop", unit)
    }

    fn is_active<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), String>> {
        self.ask("is-active", unit)
    }
}

/// Starts all in order. After one that fails none is started: it may need it.
pub(super) async fn start_all(
    services: &dyn ServiceManager,
    units: &[String],
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let all = async {
        for unit in units {
            services.start(unit).await?;
        }
        Ok(())
    };
    unless(stop, all).await
}

/// Stops all in the opposite order. One that fails does not keep the others running.
pub(super) async fn stop_all(
    services: &dyn ServiceManager,
    units: &[String],
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let all = async {
        let mut problems = Vec::new();
        for unit in units.iter().rev() {
            problems.extend(services.stop(unit).await.err());
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    };
    unless(stop, all).await
}

async fn unless(
    stop: impl Future<Output = ()>,
    all: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    tokio::select! {
        ended = all => ended,
        () = stop => Err("the units took too long, or were not wanted any more; systemd goes on with \
                          what it has begun".to_owned()),
    }
}

/// A drop-in that binds a unit to the agent, and to the VIP: it stops with the agent, however that
/// ends, and starts only while this node may hold the VIP.
pub(crate) fn drop_in(unit: &str, vip: &VipName, data_dir: &Path) -> String {
    // Specifiers and spaces mean something to systemd.
    let token = data_dir.join("tokens").join(vip.as_str()).display().to_string();
    let token = token.replace('%', "%%");
    format!(
        "# Made by `vipfence units`. {unit} starts and stops with the VIP {vip}, by the agent's hand:\n\
         # it must not be enabled. It stops when the agent ends, also when that was killed, and no\n\
         # other start of it succeeds on a node that does not hold the VIP.\n\
         [Unit]\n\
         BindsTo=vipfence.service\n\
         After=vipfence.service\n\
         AssertPathExists={token}\n"
    )
}
