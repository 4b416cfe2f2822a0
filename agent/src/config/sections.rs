//! The sections of the file: which keys there are, their defaults, and what each value may be.
//! What concerns several values at once is in `check`.

mod azure;
mod os;
mod vips;

use std::{
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{Spanned, de::DeTable};
use vipfence_agent_core::OnStop;
use vipfence_types::{
    ClusterName, NicId, NicRecord, NodeId, Profile, Role, VipName, validate_name,
};

use super::{
    AzureConfig, Listen, NodeConfig, OsDriver, Peer, check,
    problem::Problem,
    reader::{Placed, Reader, Section, unknown_word},
};
use crate::{duty::VipSetup, os::Selector};

const TOP: &[&str] =
    &["cluster", "profile", "node", "listen", "peers", "nics", "azure", "os", "watchdog", "vips"];
const NODE: &[&str] = &["name", "data_dir", "on_stop"];
const LISTEN: &[&str] = &["grpc", "http", "insecure"];
const PEER: &[&str] = &["name", "address", "role"];
const NIC: &[&str] = &["name", "id", "interface", "mac"];
const WATCHDOG: &[&str] = &["device"];

const HTTP_PORT: u16 = 7601;

/// Everything that was read, with places: what the checks across sections look at.
pub(super) struct Draft {
    pub(super) node: Option<Placed<NodeId>>,
    pub(super) insecure: bool,
    pub(super) peers: Vec<PlacedPeer>,
    /// Where the list of peers begins.
    pub(super) peers_span: Range<usize>,
    /// Every peer of the file could be read: otherwise nothing is said about the list as a whole.
    pub(super) peers_whole: bool,
    pub(super) nics: Vec<PlacedNic>,
    /// The file has NICs, though they may be wrong.
    pub(super) nics_given: bool,
    pub(super) grpc: Option<Placed<SocketAddr>>,
    pub(super) http: Option<Placed<SocketAddr>>,
    pub(super) responder: Option<Placed<SocketAddr>>,
    pub(super) arm: Option<Placed<String>>,
    pub(super) imds: Option<Placed<String>>,
    pub(super) authority: Option<Placed<String>>,
    pub(super) on_stop: Option<Placed<OnStop>>,
    /// What runs around VIPs.
    pub(super) vips: Vec<PlacedVip>,
}

/// A peer with the places of its values.
pub(super) struct PlacedPeer {
    pub(super) node: Placed<NodeId>,
    pub(super) address: Placed<String>,
    pub(super) role: Placed<Role>,
}

/// A NIC with the places of its values.
pub(super) struct PlacedNic {
    pub(super) name: Placed<String>,
    pub(super) id: Placed<NicId>,
    pub(super) selector: Selector,
}

/// What runs around a VIP, with the places of what other sections may contradict.
pub(super) struct PlacedVip {
    pub(super) name: Placed<VipName>,
    pub(super) units: Placed<Vec<String>>,
    pub(super) setup: VipSetup,
}

/// Reads the whole file. `None` means that something necessary is missing or wrong, and has been
/// reported.
pub(super) fn read(
    reader: &mut Reader,
    file: &Spanned<DeTable<'_>>,
    folder: &Path,
) -> Option<NodeConfig> {
    let top = reader.section("", file.get_ref(), 0..0, TOP);
    let cluster = top.text(reader, "cluster", "demo");
    let cluster =
        cluster.and_then(|given| reader.convert(&given, |text| name(ClusterName::new(text))));
    let profile = top.text_or(reader, "profile", "standard");
    let profile = reader.convert(&profile, profile_of);
    let NodeSection { node, data_dir, on_stop } = read_node(reader, &top);
    let (peers_span, peers_whole, peers) = read_peers(reader, &top);
    let nics = read_nics(reader, &top);
    let azure = azure::read(reader, &top, folder);
    let os = os::read(reader, &top);
    let watchdog = read_watchdog(reader, &top);
    let mut draft = Draft {
        node,
        insecure: false,
        peers,
        peers_span,
        peers_whole,
        nics,
        nics_given: top.has("nics"),
        grpc: None,
        http: None,
        responder: match &os {
            Some(os::Os::Userspace { responder }) => Some(responder.clone()),
            Some(os::Os::Linux) | None => None,
        },
        arm: azure.arm,
        imds: azure.imds,
        authority: azure.authority,
        vips: vips::read(reader, &top),
        on_stop: on_stop.clone(),
    };
    read_listen(reader, &top, &mut draft);
    check::check(reader, &draft);
    let rest = NodeRest {
        data_dir: folder.join(data_dir?.value),
        on_stop: on_stop?.value,
        os: os::driver(os?, &draft.nics),
        watchdog,
    };
    assemble(draft, cluster?.value, profile?.value, rest, azure.rest?)
}

/// What the file says beside what is in the draft.
struct NodeRest {
    data_dir: PathBuf,
    on_stop: OnStop,
    os: OsDriver,
    watchdog: Option<PathBuf>,
}

fn assemble(
    draft: Draft,
    cluster: ClusterName,
    profile: Profile,
    rest: NodeRest,
    azure: AzureConfig,
) -> Option<NodeConfig> {
    let peer = |peer: PlacedPeer| Peer {
        node: peer.node.value,
        address: peer.address.value,
        role: peer.role.value,
    };
    let nic = |nic: PlacedNic| NicRecord { name: nic.name.value, id: nic.id.value };
    Some(NodeConfig {
        cluster,
        profile,
        node: draft.node?.value,
        data_dir: rest.data_dir,
        on_stop: rest.on_stop,
        watchdog: rest.watchdog,
        listen: Listen {
            grpc: draft.grpc?.value,
            http: draft.http?.value,
            insecure: draft.insecure,
        },
        peers: draft.peers.into_iter().map(peer).collect(),
        nics: draft.nics.into_iter().map(nic).collect(),
        azure: AzureConfig {
            arm: draft.arm?.value,
            imds: draft.imds?.value,
            authority: draft.authority?.value,
            ..azure
        },
        os: rest.os,
        vips: draft.vips.into_iter().map(|vip| (vip.name.value, vip.setup)).collect(),
    })
}

/// What the section `[node]` says, as far as it can be read.
#[derive(Default)]
struct NodeSection {
    node: Option<Placed<NodeId>>,
    data_dir: Option<Placed<String>>,
    on_stop: Option<Placed<OnStop>>,
}

fn read_node(reader: &mut Reader, top: &Section<'_>) -> NodeSection {
    let Some(section) = required(reader, top, "node", "[node]", NODE) else {
        return NodeSection::default();
    };
    let node = section.text(reader, "name", "n1");
    let node = node.and_then(|given| reader.convert(&given, |text| name(NodeId::new(text))));
    let data_dir = section.text(reader, "data_dir", "/var/lib/vipfence");
    let data_dir = data_dir.and_then(|given| reader.convert(&given, not_empty));
    let on_stop = section.text_or(reader, "on_stop", "move");
    let on_stop = reader.convert(&on_stop, on_stop_of);
    NodeSection { node, data_dir, on_stop }
}

/// The gRPC listener is by default where the peers expect it, and HTTP beside it.
fn read_listen(reader: &mut Reader, top: &Section<'_>, draft: &mut Draft) {
    let section = top.table(reader, "listen", "[listen]", LISTEN);
    let section = section.as_ref();
    draft.insecure = section.is_some_and(|section| section.flag(reader, "insecure"));
    let grpc = section.and_then(|section| section.optional_text(reader, "grpc"));
    let http = section.and_then(|section| section.optional_text(reader, "http"));
    draft.grpc = match grpc {
        Some(given) => reader.convert(&given, socket),
        None => own_address(reader, draft),
    };
    draft.http = match http {
        Some(given) => reader.convert(&given, socket),
        None => {
            draft.grpc.as_ref().map(|grpc| grpc.with(SocketAddr::new(grpc.value.ip(), HTTP_PORT)))
        }
    };
}

fn own_address(reader: &mut Reader, draft: &Draft) -> Option<Placed<SocketAddr>> {
    let node = draft.node.as_ref()?;
    // A node that is not among the peers is reported by `check`.
    let own = draft.peers.iter().find(|peer| peer.node.value == node.value)?;
    if let Ok(address) = own.address.value.parse() {
        return Some(own.address.with(address));
    }
    let problem = Problem::error(
        format!("where {} listens cannot be told from a host name", node.value),
        "this node's address",
    );
    reader.report(problem.at(own.address.span.clone()).help(
        "add `grpc = \"ADDRESS:PORT\"` to the section [listen], or write an IP address here",
    ));
    None
}

fn read_peers(reader: &mut Reader, top: &Section<'_>) -> (Range<usize>, bool, Vec<PlacedPeer>) {
    let sections = top.tables(reader, "peers", "[[peers]]", PEER);
    let span = sections.first().map_or(0..0, |section| section.span.clone());
    let peers = sections.iter().filter_map(|section| {
        let node = section.text(reader, "name", "n1");
        let address = section.text(reader, "address", "10.5.0.4:7600");
        let role = section.text_or(reader, "role", "member");
        let node = node.and_then(|given| reader.convert(&given, |text| name(NodeId::new(text))));
        let address = address.and_then(|given| reader.convert(&given, host_and_port));
        let role = reader.convert(&role, role_of);
        Some(PlacedPeer { node: node?, address: address?, role: role? })
    });
    let peers: Vec<PlacedPeer> = peers.collect();
    let whole = peers.len() == sections.len() && (!peers.is_empty() || !top.has("peers"));
    (span, whole, peers)
}

fn read_nics(reader: &mut Reader, top: &Section<'_>) -> Vec<PlacedNic> {
    let sections = top.tables(reader, "nics", "[[nics]]", NIC);
    let nics = sections.iter().enumerate().filter_map(|(at, section)| {
        let given = section.text_or(reader, "name", &format!("nic{at}"));
        let name = reader.convert(&given, |text| {
            name(validate_name("NIC name", text)).map(|name| name.to_string())
        });
        let id = section.text(reader, "id", "/subscriptions/…/networkInterfaces/…");
        let id = id.and_then(|given| reader.convert(&given, nic_id));
        let selector = os::selector(reader, section);
        Some(PlacedNic { name: name?, id: id?, selector: selector? })
    });
    nics.collect()
}

fn read_watchdog(reader: &mut Reader, top: &Section<'_>) -> Option<PathBuf> {
    let section = top.table(reader, "watchdog", "[watchdog]", WATCHDOG)?;
    let device = section.text(reader, "device", "/dev/watchdog")?;
    reader.convert(&device, not_empty).map(|device| PathBuf::from(device.value))
}

fn required<'t>(
    reader: &mut Reader,
    top: &Section<'t>,
    key: &'static str,
    title: &'static str,
    keys: &'static [&'static str],
) -> Option<Section<'t>> {
    if !top.has(key) {
        let problem = Problem::error(format!("the file needs the section {title}"), "missing")
            .help(format!("add a line `{title}` with the keys {}", keys.join(", ")));
        reader.report(problem);
    }
    top.table(reader, key, title, keys)
}

fn name<T>(checked: Result<T, vipfence_types::InvalidName>) -> Result<T, Problem> {
    checked.map_err(|error| {
        Problem::error(format!("{} \"{}\" is not valid", error.what, error.given), error.problem)
            .help("use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit")
    })
}

fn not_empty(text: &str) -> Result<String, Problem> {
    if text.trim().is_empty() {
        return Err(Problem::error("this must not be empty", "empty"));
    }
    Ok(text.to_owned())
}

fn profile_of(text: &str) -> Result<Profile, Problem> {
    // A custom profile is a matter of the replicated state, not of a file on one node.
    match text.parse() {
        Ok(Profile::Custom) | Err(_) => {
            Err(unknown_word("profile", text, &["fast", "standard", "tolerant"]))
        }
        Ok(profile) => Ok(profile),
    }
}

fn on_stop_of(text: &str) -> Result<OnStop, Problem> {
    match text {
        "move" => Ok(OnStop::Move),
        "keep" => Ok(OnStop::Keep),
        other => Err(unknown_word("on_stop", other, &["move", "keep"])),
    }
}

fn role_of(text: &str) -> Result<Role, Problem> {
    match text {
        "member" => Ok(Role::Member),
        "witness" => Ok(Role::Witness),
        "learner" => Ok(Role::Learner),
        other => Err(unknown_word("role", other, &["member", "witness", "learner"])),
    }
}

/// An address to listen on.
fn socket(text: &str) -> Result<SocketAddr, Problem> {
    text.parse().map_err(|_| {
        let problem = Problem::error(format!("\"{text}\" is not an address to listen on"), "this");
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Problem { label: "the port is missing".to_owned(), ..problem }
                .help(format!("add the port, such as \"{text}:7600\""));
        }
        problem.help("write an IP address and a port, such as \"10.5.0.4:7600\"")
    })
}

/// An address to connect to: a host name will do.
fn host_and_port(text: &str) -> Result<String, Problem> {
    let wrong = |label: &str, help: String| {
        Err(Problem::error(format!("\"{text}\" is not an address with a port"), label).help(help))
    };
    if text.contains("://") {
        return wrong("a URL", "write host and port only, such as \"10.5.0.4:7600\"".to_owned());
    }
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return wrong("the port is missing", format!("add the port, such as \"{text}:7600\""));
    };
    if port.parse::<u16>().is_ok_and(|port| port > 0) {
        let host_is_plain = !host.is_empty()
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        if host_is_plain {
            return Ok(text.to_owned());
        }
        return wrong(
            "not a host",
            "an IPv6 address stands in brackets: \"[fd00::4]:7600\"".to_owned(),
        );
    }
    wrong("not a port", "a port is a number from 1 to 65535".to_owned())
}

fn nic_id(text: &str) -> Result<NicId, Problem> {
    let id = NicId::new(text);
    if id.is_well_formed() {
        return Ok(id);
    }
    Err(Problem::error("this is not the id of a network interface", "not a NIC id").help(
        "an id reads /subscriptions/S/resourceGroups/G/providers/Microsoft.Network/\
         networkInterfaces/N; `az network nic show --query id` prints it",
    ))
}

fn url(text: &str) -> Result<String, Problem> {
    let wrong = || {
        Problem::error(format!("\"{text}\" is not a URL"), "not a URL")
            .help("write scheme and host, such as \"https://management.azure.com\"")
    };
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong());
    }
    Ok(text.trim_end_matches('/').to_owned())
}
