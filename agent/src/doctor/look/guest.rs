//! The guest's files: who else configures addresses, and settings of the kernel. Everything is read
//! below a root folder, so that an image can be examined before it runs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::super::facts::{DiskFacts, GuestFacts};
use crate::{config::OsDriver, os::Selector};

/// chrony's own default. [chrony.conf(5), maxslewrate]
const CHRONY_DEFAULT_PPM: u64 = 83_333;
/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

pub(super) fn look(root: &Path, os: &OsDriver) -> GuestFacts {
    let interfaces = interfaces(root);
    GuestFacts {
        cloud_init: cloud_init_adds(root),
        cloud_netconfig: cloud_netconfig_adds(root),
        nm_cloud_setup: nm_cloud_setup_adds(root),
        strict: interfaces.iter().filter(|name| is_strict(root, name)).cloned().collect(),
        interfaces: interfaces.len(),
        nonlocal_bind: setting(root, "proc/sys/net/ipv4/ip_nonlocal_bind").map(|n| n != 0),
        missing: missing(root, os),
        slew_ppm: slew_ppm(root),
    }
}

/// The folder where the agent keeps its data. It need not exist yet: then its parents tell.
pub(super) fn disk(data_dir: &Path) -> DiskFacts {
    let path = data_dir.display().to_string();
    let there = data_dir.ancestors().find(|folder| folder.is_dir());
    match rustix::fs::statfs(there.unwrap_or(data_dir)) {
        Ok(seen) => {
            let block = u64::try_from(seen.f_bsize).unwrap_or(0);
            let kind = u64::try_from(seen.f_type).unwrap_or(0);
            let in_memory = IN_MEMORY.contains(&kind);
            DiskFacts::Seen { path, free_bytes: seen.f_bavail.saturating_mul(block), in_memory }
        }
        Err(error) => DiskFacts::Unusable { path, why: error.to_string() },
    }
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Without comments and white space: enough to find `key: value` in YAML and in key files.
fn bare(text: &str) -> String {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect()
}

fn files_in(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// cloud-init's Azure source configures all secondary addresses at boot unless told not to.
fn cloud_init_adds(root: &Path) -> bool {
    let main = root.join("etc/cloud/cloud.cfg");
    if !main.is_file() || root.join("etc/cloud/cloud-init.disabled").exists() {
        return false;
    }
    let parts = files_in(root.join("etc/cloud/cloud.cfg.d"));
    let parts = parts.into_iter().filter(|path| path.extension().is_some_and(|e| e == "cfg"));
    let texts = [main].into_iter().chain(parts).filter_map(|path| text(&path));
    let all: String = texts.map(|text| bare(&text)).collect();
    let told_not_to = [
        "apply_network_config_for_secondary_ips:false",
        "apply_network_config:false",
        "network:{config:disabled}",
        "network:config:disabled",
    ];
    !told_not_to.iter().any(|words| all.contains(words))
}

fn is_enabled(root: &Path, unit: &str) -> bool {
    let folders = files_in(root.join("etc/systemd/system"));
    let wants = folders.iter().filter(|path| path.extension().is_some_and(|e| e == "wants"));
    // A link may lead to where this root does not reach: that it is there says enough.
    wants.into_iter().any(|folder| folder.join(unit).symlink_metadata().is_ok())
}

fn cloud_netconfig_adds(root: &Path) -> bool {
    if !is_enabled(root, "cloud-netconfig.timer") {
        return false;
    }
    let mut files = vec![root.join("etc/default/cloud-netconfig")];
    files.extend(files_in(root.join("etc/sysconfig/network")));
    let told_not_to = |path: &PathBuf| {
        let text = text(path).map(|text| bare(&text)).unwrap_or_default();
        let text = text.replace(['\'', '"'], "").to_ascii_lowercase();
        text.contains("cloud_netconfig_manage=no")
    };
    !files.iter().any(told_not_to)
}

fn nm_cloud_setup_adds(root: &Path) -> bool {
    let unit = "nm-cloud-setup";
    let enabled =
        is_enabled(root, &format!("{unit}.timer")) || is_enabled(root, &format!("{unit}.service"));
    let folders = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
    let files = folders.iter().flat_map(|folder| {
        let folder = root.join(folder);
        let mut files = files_in(folder.join(format!("{unit}.service.d")));
        files.push(folder.join(format!("{unit}.service")));
        files
    });
    let for_azure = |path: PathBuf| {
        let text = text(&path).map(|text| bare(&text)).unwrap_or_default();
        text.contains("NM_CLOUD_SETUP_AZURE=yes")
    };
    enabled && files.into_iter().any(for_azure)
}

fn setting(root: &Path, path: &str) -> Option<u64> {
    text(&root.join(path))?.trim().parse().ok()
}

fn interfaces(root: &Path) -> BTreeSet<String> {
    let folders = files_in(root.join("proc/sys/net/ipv4/conf"));
    let names = folders.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    names.filter(|name| !matches!(name.as_str(), "all" | "default" | "lo")).collect()
}

/// The greater of the two settings is in force. [ip-sysctl, rp_filter]
fn is_strict(root: &Path, interface: &str) -> bool {
    let of = |name: &str| {
        setting(root, &format!("proc/sys/net/ipv4/conf/{name}/rp_filter")).unwrap_or(0)
    };
    of("all").max(of(interface)) == 1
}

/// What the file names and the machine does not have. Where it leaves the choice to the subnet, the
/// address decides, and there is nothing to miss.
fn missing(root: &Path, os: &OsDriver) -> Vec<Selector> {
    let OsDriver::Linux { interfaces } = os else { return Vec::new() };
    let folders = files_in(root.join("sys/class/net"));
    let is_there = |selector: &Selector| match selector {
        Selector::Subnet => true,
        Selector::Name(name) => {
            folders.iter().any(|folder| folder.file_name().is_some_and(|found| found == &**name))
        }
        Selector::Mac(mac) => {
            let written = mac.map(|byte| format!("{byte:02x}")).join(":");
            let address = |folder: &PathBuf| text(&folder.join("address"));
            folders.iter().filter_map(address).any(|found| found.trim() == written)
        }
    };
    let selectors = interfaces.iter().map(|interface| &interface.selector);
    selectors.filter(|selector| !is_there(selector)).cloned().collect()
}

fn slew_ppm(root: &Path) -> Option<u64> {
    let main = ["etc/chrony/chrony.conf", "etc/chrony.conf"];
    let main = main.iter().find_map(|path| text(&root.join(path)))?;
    let parts = files_in(root.join("etc/chrony/conf.d"));
    let parts = parts.into_iter().filter_map(|path| text(&path));
    let given = [main].into_iter().chain(parts).find_map(|text| {
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let is_it = words.next()?.eq_ignore_ascii_case("maxslewrate");
            let ppm = words.next()?.split('.').next()?.parse().ok()?;
            is_it.then_some(ppm)
        })
    });
    Some(given.unwrap_or(CHRONY_DEFAULT_PPM))
}
