//! What may be typed after `vipfence doctor` to rehearse.

use std::{net::SocketAddr, time::Duration};

use clap::Args;

use super::super::parse;

/// `vipfence doctor --rehearse`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Rehearsal")]
pub(crate) struct RehearseArgs {
    /// Move this VIP to a standby and back, and look whether it is reached before and after
    #[arg(long, value_name = "VIP", conflicts_with_all = ["config", "vip", "this_node"])]
    pub(crate) rehearse: Option<String>,
    /// The standby [default: the best eligible candidate]
    #[arg(long, value_name = "NODE", requires = "rehearse")]
    pub(crate) to: Option<String>,
    /// Where the VIP's service listens; its first address is tried
    #[arg(long, value_name = "PORT", requires = "rehearse", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Where this process connects as the client [default: the VIP's first address and --port]
    #[arg(long, value_name = "HOST:PORT", requires = "rehearse", value_parser = host_and_port)]
    pub(crate) client: Option<String>,
    /// Where the nodes connect [default: the VIP's first address and --port, or else as --client]
    #[arg(long, value_name = "HOST:PORT", requires = "rehearse", value_parser = host_and_port)]
    pub(crate) nodes_probe: Option<String>,
    /// Rehearse in spite of the doctor's errors, and of an address that is not reached beforehand
    #[arg(long, requires = "rehearse")]
    pub(crate) force: bool,
    /// Wait for each move at most so long [default: until it ends]
    #[arg(long, value_name = "TIME", requires = "rehearse", value_parser = parse::duration)]
    pub(crate) timeout: Option<Duration>,
    /// How long after a move the VIP may take to be reached
    #[arg(long, value_name = "TIME", requires = "rehearse", default_value = "15s", value_parser = parse::duration)]
    pub(crate) settle: Duration,
}

impl RehearseArgs {
    /// Where the client and the nodes connect, if that is said.
    pub(super) fn probes(&self, vip_address: &str) -> Option<(String, String)> {
        let own = self
            .port
            .and_then(|port| Some(SocketAddr::new(vip_address.parse().ok()?, port).to_string()));
        let client = self.client.clone().or_else(|| own.clone())?;
        let nodes = self.nodes_probe.clone().or(own).unwrap_or_else(|| client.clone());
        Some((client, nodes))
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let good = |(host, port): (&str, &str)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if text.rsplit_once(':').is_some_and(good) {
        Ok(text.to_owned())
    } else {
        Err("expected a host and a port, such as 10.5.0.110:443".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[arg(long)]
        config: Option<String>,
        #[arg(long)]
        vip: Option<String>,
        #[arg(long)]
        this_node: bool,
        #[command(flatten)]
        args: RehearseArgs,
    }

    fn probes(line: &str, address: &str) -> Option<(String, String)> {
        let line = format!("x --rehearse demo {line}");
        let line = Line::try_parse_from(line.split_whitespace()).expect("valid arguments");
        assert!(line.config.is_none() && line.vip.is_none() && !line.this_node);
        line.args.probes(address)
    }

    #[test]
    fn client_and_nodes_connect_to_the_vip_unless_told_otherwise() {
        let both = |client: &str, nodes: &str| Some((client.to_owned(), nodes.to_owned()));
        let vip = "10.5.0.110";
        assert_eq!(probes("", vip), None);
        assert_eq!(probes("--port 80", vip), both("10.5.0.110:80", "10.5.0.110:80"));
        assert_eq!(probes("--port 80", "fd00::9"), both("[fd00::9]:80", "[fd00::9]:80"));
        assert_eq!(probes("--client c:1", vip), both("c:1", "c:1"));
        assert_eq!(probes("--client c:1 --port 80", vip), both("c:1", "10.5.0.110:80"));
        assert_eq!(probes("--port 80 --nodes-probe n:2", vip), both("10.5.0.110:80", "n:2"));
        assert_eq!(probes("--client c:1 --nodes-probe n:2", vip), both("c:1", "n:2"));
    }

    #[test]
    fn a_host_without_a_port_is_refused() {
        for text in ["host", "host:", ":80", "host:0", "host:99999"] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
        assert!(host_and_port("[fd00::9]:80").is_ok());
    }
}
