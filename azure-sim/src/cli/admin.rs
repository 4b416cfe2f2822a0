//! `azure-sim admin`: the tester's hand, from the command line.

use anyhow::Context as _;
use azure_sim::AdminCommand;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, print};
use super::deed::Deed;

/// Look into a running simulator, or change what it does.
#[derive(Debug, Args)]
pub(crate) struct Admin {
    /// Where the simulator's ARM listens.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8600")]
    at: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Everything at a glance.
    State,
    /// Which NIC gets the traffic of which address.
    Attachments,
    /// What happened, one line of JSON each.
    Journal {
        /// Only what came after this entry.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Go on until interrupted.
        #[arg(long)]
        follow: bool,
    },
    /// Shows the settings, or changes some.
    Settings {
        /// For instance cleanup_ms=5000 or concurrent_write=fail_later.
        #[arg(value_name = "NAME=VALUE", value_parser = named_value)]
        changes: Vec<(String, Value)>,
    },
    #[command(flatten)]
    Deed(Box<Deed>),
}

/// A value is JSON, and anything else a text: `fail_later` needs no quotes.
fn named_value(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    Ok((name.to_owned(), value))
}

/// Does it and prints the answer.
pub(crate) async fn run(admin: Admin) -> anyhow::Result<()> {
    let client = Client::new(&admin.at)?;
    match admin.verb {
        Verb::State => print(&client.get("state").await?, true),
        Verb::Attachments => print(&client.get("attachments").await?, true),
        Verb::Journal { after, follow } => journal(&client, after, follow).await,
        Verb::Settings { changes } if changes.is_empty() => {
            print(&client.get("state").await?["settings"], true)
        }
        Verb::Settings { changes } => {
            let changes = changes.into_iter().collect();
            print(&client.command(&AdminCommand::ChangeSettings { changes }).await?, false)
        }
        Verb::Deed(deed) => print(&client.command(&(*deed).into()).await?, false),
    }
}

async fn journal(client: &Client, mut after: u64, follow: bool) -> anyhow::Result<()> {
    loop {
        let wait_ms = if follow { 30_000 } else { 0 };
        let page = client.get(&format!("journal?after={after}&wait_ms={wait_ms}")).await?;
        let entries = page["entries"].as_array().context("the journal has no entries field")?;
        for entry in entries {
            print(entry, false)?;
        }
        if entries.is_empty() && !follow {
            return Ok(());
        }
        after = page["next_after"].as_u64().context("the journal does not say how it goes on")?;
    }
}
