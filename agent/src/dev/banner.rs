//! What is printed when the cluster is ready: where everything is, and three things to try.

use std::{fmt::Write as _, path::Path, time::Duration};

use vipfence_proto::v1;

use super::plan::{Plan, VIP_ADDRESS, VIP_NAME};

/// What there is to say.
#[derive(Debug)]
pub(super) struct Banner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) pids: &'a [u32],
    pub(super) dir: &'a Path,
    pub(super) vip: &'a v1::Vip,
    pub(super) took: Duration,
}

impl Banner<'_> {
    pub(super) fn text(&self) -> String {
        let Self { plan, pids, dir, vip, took } = self;
        let mut text = format!("ready after {:.1} s\n\n", took.as_secs_f32());
        let held = match (vip.enabled, vip.holder.as_str()) {
            (false, _) => "disabled: `vipfence vip enable demo` places it".to_owned(),
            (true, holder) => format!("held by {holder} at epoch {}", vip.epoch),
        };
        // Writing to a text does not fail.
        let _ = writeln!(text, "  VIP    {VIP_NAME} {VIP_ADDRESS} at {}, {held}", plan.vip_url());
        for (node, pid) in plan.nodes.iter().zip(*pids) {
            let _ = writeln!(
                text,
                "  {:<6} gRPC {}, HTTP http://{}, process {pid}",
                node.name, node.grpc, node.http
            );
        }
        let _ = writeln!(
            text,
            "  Azure  simulated at {} (control: {})",
            plan.arm_url(),
            plan.admin_url()
        );
        let _ = writeln!(
            text,
            "  files  {}: dev.json, logs in n1/agent.log and so on (two files of 16 MiB at most)\n",
            dir.display()
        );
        text.push_str(&self.things_to_try());
        text.push_str("\nCtrl-C ends everything. What happens:\n");
        text
    }

    fn things_to_try(&self) -> String {
        let Self { plan, pids, vip, .. } = self;
        let holder = plan.nodes.iter().position(|node| node.name == vip.holder).unwrap_or(0);
        // A node that is not the one to be killed.
        let other = plan.nodes.iter().enumerate().rev().find(|(index, _)| *index != holder);
        let grpc = other.or(plan.nodes.iter().enumerate().next());
        let grpc = grpc.map_or(plan.arm, |(_, node)| node.grpc);
        let (body, method) = match plan.nodes.len() {
            1 => (String::new(), "ClusterService/GetStatus"),
            _ => (format!("-d '{{\"vip\":\"{VIP_NAME}\"}}' "), "VipService/MoveVip"),
        };
        let pid = pids.get(holder).copied().unwrap_or_default();
        let then = match plan.nodes.len() {
            1 => "the only node",
            2 => "the other node has no majority alone, and waits for its return",
            _ => "its VIP fails over; curl again",
        };
        format!(
            "Try, in another terminal:\n  \
             curl {}\n  \
             grpcurl -plaintext {body}{grpc} vipfence.v1.{method}\n  \
             kill -9 {pid}    # {}: {then}\n",
            plan.vip_url(),
            plan.name(holder),
        )
    }
}

#[cfg(test)]
mod tests {
    use vipfence_types::Profile;

    use super::*;
    use crate::dev::ports::Ports;

    #[test]
    fn it_names_the_endpoints_and_three_things_to_try() {
        let plan = Plan::new(&Ports::at(7600, 3).unwrap(), Profile::Fast, Duration::ZERO);
        let vip =
            v1::Vip { enabled: true, holder: "n2".to_owned(), epoch: 7, ..v1::Vip::default() };
        let banner = Banner {
            plan: &plan,
            pids: &[11, 12, 13],
            dir: Path::new("/tmp/d"),
            vip: &vip,
            took: Duration::from_millis(2_340),
        };
        let text = banner.text();
        for piece in [
            "ready after 2.3 s",
            "demo 10.5.0.110 at http://127.0.0.1:8001, held by n2 at epoch 7",
            "gRPC 127.0.0.1:7602, HTTP http://127.0.0.1:7702, process 13",
            "\n  curl http://127.0.0.1:8001\n",
            "\n  grpcurl -plaintext -d '{\"vip\":\"demo\"}' 127.0.0.1:7602 \
             vipfence.v1.VipService/MoveVip\n",
            "\n  kill -9 12 ",
        ] {
            assert!(text.contains(piece), "no {piece} in {text}");
        }
    }
}
