//! The guest: who else configures addresses, the kernel's settings, the clock, the disk, the peers.

use vipfence_types::Finding;

use super::super::{
    check::Check,
    facts::{DiskFacts, Facts, GuestFacts, PeerFacts, Reach},
};

/// Clocks must run within ± 1 % of each other (design.md §6).
const MOST_SLEW_PPM: u64 = 10_000;
/// What the log may grow by before a snapshot, with much to spare.
const LEAST_FREE: u64 = 256 << 20;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = helpers(&facts.guest);
    findings.extend(kernel(&facts.guest));
    findings.extend(slew(&facts.guest));
    findings.extend(disk(&facts.disk));
    findings.extend(facts.peers.iter().filter_map(peer));
    findings
}

fn helpers(guest: &GuestFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if guest.cloud_init {
        findings.push(Check::CloudInit.finds(
            "cloud-init",
            "cloud-init adds every secondary address at boot: a node that comes back would have the \
             VIP that another one holds",
            "write `datasource: {Azure: {apply_network_config_for_secondary_ips: false}}` to \
             /etc/cloud/cloud.cfg.d/90-vipfence.cfg (cloud-init before 23.4: apply_network_config)",
        ));
    }
    if guest.cloud_netconfig {
        findings.push(Check::CloudNetconfig.finds(
            "cloud-netconfig",
            "cloud-netconfig adds every secondary address that Azure names, and takes it off again",
            "set CLOUD_NETCONFIG_MANAGE=no in /etc/default/cloud-netconfig, or `systemctl disable \
             --now cloud-netconfig.timer`",
        ));
    }
    if guest.nm_cloud_setup {
        findings.push(Check::NmCloudSetup.finds(
            "nm-cloud-setup",
            "NetworkManager's nm-cloud-setup adds every secondary address that Azure names",
            "`systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service`",
        ));
    }
    findings
}

fn kernel(guest: &GuestFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(guest.missing.iter().map(|selector| {
        Check::InterfaceMissing.finds(
            selector.to_string(),
            format!("this machine has no interface {selector}: a VIP of its NIC cannot be added"),
            "`ip -brief link` lists names and MAC addresses; correct `interface` or `mac` under \
             [[nics]], or leave both out where the subnet decides",
        )
    }));
    if guest.interfaces > 1 && !guest.strict.is_empty() {
        let names: Vec<&str> = guest.strict.iter().map(String::as_str).collect();
        findings.push(Check::RpFilterStrict.finds(
            names.join(", "),
            "strict reverse path filtering drops packets to a VIP that would be answered through \
             another interface",
            "set net.ipv4.conf.all.rp_filter=2 (loose) in /etc/sysctl.d",
        ));
    }
    if guest.nonlocal_bind == Some(false) {
        findings.push(Check::NonlocalBindOff.finds(
            "net.ipv4.ip_nonlocal_bind",
            "a service that binds to the VIP cannot start before this node holds it",
            "set net.ipv4.ip_nonlocal_bind=1, or let the service listen on all addresses, or start \
             it when the VIP arrives",
        ));
    }
    findings
}

fn slew(guest: &GuestFacts) -> Option<Finding> {
    let ppm = guest.slew_ppm.filter(|ppm| *ppm > MOST_SLEW_PPM)?;
    Some(Check::ClockSlew.finds(
        "chrony",
        format!("chrony may make the clocks run {ppm} ppm fast or slow; leases allow for 10000"),
        "add `maxslewrate 5000` to chrony.conf and restart chrony",
    ))
}

fn disk(disk: &DiskFacts) -> Option<Finding> {
    match disk {
        DiskFacts::Unusable { path, why } => Some(Check::DataDirUnusable.finds(
            path,
            format!("the data folder cannot be used: {why}"),
            "correct node.data_dir, or make the folder and give it to the agent's user",
        )),
        DiskFacts::Seen { path, in_memory: true, .. } => Some(Check::DataDirVolatile.finds(
            path,
            "the data folder is in memory: after a reboot this node has forgotten its vote and which \
             epochs it has spent",
            "put node.data_dir on a disk that survives a reboot, not on the temporary one",
        )),
        DiskFacts::Seen { path, free_bytes, .. } if *free_bytes < LEAST_FREE => {
            let left = free_bytes >> 20;
            Some(Check::DataDirFull.finds(
                path,
                format!("the data folder has {left} MiB left"),
                "make room: without it this node cannot vote, nor confirm that it has let go",
            ))
        }
        DiskFacts::Seen { .. } => None,
    }
}

fn peer(peer: &PeerFacts) -> Option<Finding> {
    let PeerFacts { name, address, reach } = peer;
    match reach {
        Reach::Connected => None,
        Reach::Refused => Some(Check::PeerRefused.finds(
            address,
            format!("{name} refuses connections at {address}"),
            "start its agent, and check listen.grpc there; a firewall that rejects looks the same",
        )),
        Reach::TimedOut => Some(Check::PeerTimeout.finds(
            address,
            format!("{name} does not answer at {address}"),
            "open the port between the nodes, both ways: network security groups, the guest's \
             firewall; or the VM is down",
        )),
        Reach::NoSuchName(why) => Some(Check::PeerUnknown.finds(
            address,
            format!("{name} has no address: {why}"),
            "correct the address of the peer, or write an IP address: a cluster that needs a name \
             server to fail over has one more thing that can fail",
        )),
        Reach::Failed(why) => Some(Check::PeerTimeout.finds(
            address,
            format!("{name} is not reached at {address}: {why}"),
            "check the route between the nodes, and the address in [[peers]]",
        )),
    }
}
