//! `azure-sim serve`: the simulator runs until it is interrupted.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use azure_sim::server::{self, RunningTls, ServerConfig, TlsConfig};
use azure_sim::{Profile, WorldConfig};
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where ARM and /admin listen; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:8600")]
    arm: SocketAddr,
    /// VMs n1 to nN with NICs n1-nic at 10.5.0.4 and so on.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=200))]
    nodes: u8,
    /// One more VM in 10.5.0.0/24, with NIC NAME-nic.
    #[arg(long = "node", value_name = "NAME=ADDRESS", value_parser = named_address)]
    more_nodes: Vec<(String, Ipv4Addr)>,
    /// Somebody else's NIC in 10.5.0.0/24, without a VM.
    #[arg(long = "stranger", value_name = "NIC=ADDRESS", value_parser = named_address)]
    strangers: Vec<(String, Ipv4Addr)>,
    /// A world from a JSON file instead (fields as in `WorldConfig`).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "more_nodes", "strangers"])]
    world: Option<PathBuf>,
    /// What kind of Azure to be like: instant, new-control-plane, classic or bad-day. Replaces the
    /// settings of a `--world`; the options below change single ones.
    #[arg(long)]
    profile: Option<Profile>,
    /// Where the IMDS of the VMs listen.
    #[arg(long, default_value = "127.0.0.1")]
    imds_host: IpAddr,
    /// Port of the first VM's IMDS, the others follow; 0 takes any free ones.
    #[arg(long, default_value_t = 8700)]
    imds_base_port: u16,
    /// Duration of an operation on the NIC of a VM.
    #[arg(long, value_parser = duration)]
    latency: Option<Duration>,
    /// The same for one that only takes addresses away.
    #[arg(long, value_parser = duration)]
    detach_latency: Option<Duration>,
    /// How far the data plane lags behind the end of an operation.
    #[arg(long, value_parser = duration)]
    data_plane_lag: Option<Duration>,
    /// ARM through TLS as well, with a CA made at this start.
    #[arg(long)]
    tls: bool,
    /// Where that listens.
    #[arg(long, default_value = "127.0.0.1:8643", requires = "tls")]
    tls_listen: SocketAddr,
    /// Where the CA's certificate is written, as `ca.pem`.
    #[arg(long, value_name = "DIR", default_value = ".", requires = "tls")]
    tls_dir: PathBuf,
    /// One more name or address of the server's certificate.
    #[arg(long = "tls-name", value_name = "NAME", requires = "tls")]
    tls_names: Vec<String>,
    /// GUIDs, ETags and tokens derive from it.
    #[arg(long)]
    seed: Option<u64>,
}

fn named_address(text: &str) -> Result<(String, Ipv4Addr), String> {
    let (name, address) = text.split_once('=').ok_or("expected NAME=ADDRESS")?;
    let address = address.parse().map_err(|_| format!("{address} is not an IPv4 address"))?;
    Ok((name.to_owned(), address))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text} is not a duration such as 250ms, 1s or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(refuse()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(refuse)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Serve {
    fn world(&self) -> anyhow::Result<WorldConfig> {
        let mut world = match &self.world {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                serde_json::from_str(&text)
                    .with_context(|| format!("{} is no world", path.display()))?
            }
            None => WorldConfig::nodes(self.nodes),
        };
        for (name, address) in &self.more_nodes {
            world = world.with_node(name, *address);
        }
        for (nic, address) in &self.strangers {
            world = world.with_stranger(nic, *address);
        }
        if let Some(profile) = self.profile {
            world.settings = profile.settings();
        }
        if let Some(latency) = self.latency {
            world.settings.operation_ms = millis(latency);
        }
        if let Some(latency) = self.detach_latency {
            world.settings.detach_operation_ms = Some(millis(latency));
        }
        if let Some(lag) = self.data_plane_lag {
            world.settings.data_plane_lag_ms = millis(lag);
        }
        if let Some(seed) = self.seed {
            world.seed = seed;
        }
        Ok(world)
    }

    fn config(&self) -> anyhow::Result<ServerConfig> {
        let world = self.world()?;
        let mut imds = Vec::new();
        for (vm, i) in world.vms.iter().zip(0_u16..) {
            let port = match self.imds_base_port {
                0 => 0,
                base => base.checked_add(i).context("--imds-base-port is too high")?,
            };
            imds.push((vm.name.clone(), SocketAddr::new(self.imds_host, port)));
        }
        let tls =
            self.tls.then(|| TlsConfig { listen: self.tls_listen, names: self.tls_names.clone() });
        Ok(ServerConfig { arm: self.arm, imds, tls, world })
    }
}

pub(crate) async fn run(serve: &Serve) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    let running = server::run(serve.config()?).await?;
    let imds: serde_json::Map<String, serde_json::Value> = running
        .imds
        .iter()
        .map(|(node, address)| (node.clone(), json!(format!("http://{address}"))))
        .collect();
    let mut ready = json!({
        "arm": running.arm_url(),
        "admin": format!("{}/admin", running.arm_url()),
        "imds": imds,
    });
    if let Some(tls) = &running.tls {
        ready["tls"] = json!({"arm": tls.arm_url(), "ca": write_ca(&serve.tls_dir, tls)?});
    }
    writeln!(std::io::stdout(), "{ready}").context("nobody reads standard output")?;
    stop_signal().await?;
    Ok(())
}

/// Writes what clients must trust; the whole path of the file.
fn write_ca(dir: &Path, tls: &RunningTls) -> anyhow::Result<PathBuf> {
    let path = dir.join("ca.pem");
    let refuse = || format!("cannot write {}", path.display());
    std::fs::create_dir_all(dir).with_context(refuse)?;
    std::fs::write(&path, &tls.ca_pem).with_context(refuse)?;
    path.canonicalize().with_context(refuse)
}

async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for SIGINT")?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("1").is_err());
        assert!(duration("s").is_err());
    }

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    #[test]
    fn single_options_change_the_profile() {
        use clap::Parser as _;
        let words = ["azure-sim", "--data-plane-lag", "2s", "--profile", "classic"];
        let world = Line::parse_from(words).serve.world().expect("a world");
        let expected =
            azure_sim::Settings { data_plane_lag_ms: 2_000, ..Profile::Classic.settings() };
        assert_eq!(world.settings, expected);
        assert!(Line::try_parse_from(["azure-sim", "--profile", "sunny"]).is_err());
    }
}
