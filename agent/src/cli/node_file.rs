//! This machine's node by its file, for the commands that ask Azure as its agent does.

use std::{path::Path, sync::Arc};

use vipfence_coordinator::azure::Azure;

use super::{exit::Exit, failure::Failure};
use crate::{
    agent,
    clock::{ClockSource, SystemClocks},
    config::{self, NodeConfig},
};

/// A node that need not run, and its way to Azure.
pub(super) struct NodeFile {
    pub(super) config: NodeConfig,
    pub(super) azure: Azure,
    pub(super) clocks: Arc<dyn ClockSource>,
}

/// Reads the file, and begins to fetch a token.
///
/// # Errors
/// What is wrong with the file: wrong usage.
pub(super) fn open(path: &Path) -> Result<NodeFile, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let config = config::load(path).map_err(|error| usage(error.render(false)))?.config;
    let clocks: Arc<dyn ClockSource> = Arc::new(SystemClocks);
    let azure = agent::azure(&config, &clocks).map_err(|error| usage(format!("{error:#}")))?;
    azure.start_keeper();
    Ok(NodeFile { config, azure, clocks })
}
