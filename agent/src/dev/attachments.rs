//! Follows where the simulated data plane sends the VIP, by a long poll.
//!
//! While the simulator does not answer, the last word counts: a control plane that is down does
//! not stop the packets.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use azure_sim::Attachments;
use tokio::{sync::watch, time::sleep};

use super::{
    manifest::write_json,
    plan::{Plan, VIP_ADDRESS},
};

/// How long the simulator may keep a poll.
const POLL_MS: u64 = 30_000;
/// Before asking again after a failure.
const PAUSE: Duration = Duration::from_millis(50);

/// Where the VIP's connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) node: String,
    pub(super) responder: SocketAddr,
}

impl Route {
    /// To the node whose NIC has the VIP's address; `None` if none of the cluster's has.
    pub(super) fn of(plan: &Plan, attachments: &Attachments) -> Option<Self> {
        let nic_id = attachments.attachments.get(&VIP_ADDRESS)?;
        let node = plan.node_of_nic(nic_id)?;
        Some(Self { node: node.name.clone(), responder: node.responder })
    }
}

/// Asks the simulator for attachments.
#[derive(Clone, Debug)]
pub(super) struct Source {
    client: reqwest::Client,
    url: String,
}

impl Source {
    pub(super) fn new(admin_url: &str) -> Result<Self, reqwest::Error> {
        // It speaks plain HTTP; the client still wants a provider. Another may be installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .timeout(Duration::from_millis(POLL_MS) + Duration::from_secs(10))
            .build()?;
        Ok(Self { client, url: format!("{admin_url}/attachments") })
    }

    /// The attachments, as soon as their version is another one than `after`.
    pub(super) async fn ask(&self, after: Option<u64>) -> Result<Attachments, reqwest::Error> {
        let url = match after {
            Some(version) => format!("{}?after={version}&wait_ms={POLL_MS}", self.url),
            None => self.url.clone(),
        };
        self.client.get(url).send().await?.error_for_status()?.json().await
    }
}

/// Follows the attachments for ever. `save` gets them for the next run.
pub(super) async fn follow(
    source: Source,
    plan: Plan,
    save: PathBuf,
    route: watch::Sender<Option<Route>>,
) {
    let mut after = None;
    loop {
        match source.ask(after).await {
            Ok(news) if after == Some(news.version) => {}
            Ok(news) => {
                after = Some(news.version);
                let now = Route::of(&plan, &news);
                route.send_if_modified(|before| {
                    let changed = *before != now;
                    *before = now;
                    changed
                });
                // Only --keep misses it.
                let _ = write_json(&save, &news);
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use azure_sim::{AdminCommand, server};
    use tokio::time::timeout;
    use vipfence_types::Profile;

    use super::*;
    use crate::dev::{plan::node_name, ports};

    #[tokio::test]
    async fn the_route_follows_the_data_plane_of_a_real_simulator() {
        let ports = ports::Ports::at(7600, 2).unwrap();
        let mut plan = Plan::new(&ports, Profile::Fast, Duration::ZERO);
        let world = plan.world.clone();
        let config =
            server::ServerConfig { arm: ports::local(0), imds: Vec::new(), tls: None, world };
        let running = server::run(config).await.unwrap();
        plan.arm = running.arm;
        let dir = tempfile::tempdir().unwrap();
        let save = dir.path().join("attachments.json");
        let (sender, mut route) = watch::channel(None);
        let source = Source::new(&plan.admin_url()).unwrap();
        let following = tokio::spawn(follow(source, plan.clone(), save.clone(), sender));
        for to in [Some(0), Some(1), None] {
            running.with_world(|world, now| {
                for index in 0..2 {
                    let nic = format!("{}-nic", node_name(index));
                    let detach = AdminCommand::ThirdPartyDetach {
                        nic,
                        address: VIP_ADDRESS,
                        immediate: true,
                    };
                    // Where it is not attached, there is nothing to detach.
                    let _ = world.admin(now, detach);
                }
                if let Some(index) = to {
                    let attach = AdminCommand::ThirdPartyAttach {
                        nic: format!("{}-nic", node_name(index)),
                        address: VIP_ADDRESS,
                        ip_config: None,
                        immediate: true,
                    };
                    world.admin(now, attach).unwrap();
                }
            });
            let expected = to.map(node_name);
            let reached =
                route.wait_for(|route| route.as_ref().map(|route| route.node.clone()) == expected);
            timeout(Duration::from_secs(10), reached).await.unwrap().unwrap();
        }
        following.abort();
        let saved: Attachments =
            serde_json::from_str(&std::fs::read_to_string(save).unwrap()).unwrap();
        assert_eq!(Route::of(&plan, &saved), None);
    }
}
