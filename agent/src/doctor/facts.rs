//! What was seen of a node, as plain values: what the rules look at.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_json::Value;
use vipfence_coordinator::api::Frontend;
use vipfence_coordinator_core::{NicDocument, Prefix};
use vipfence_types::{NicId, VipName, brief};

use crate::os::Selector;

/// What came of looking at something that may not answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen<T> {
    /// It was seen.
    Yes(T),
    /// It answered, with an error.
    Refused(Refusal),
    /// It did not answer.
    Silent(String),
}

/// An error as ARM or the metadata service tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Refusal {
    /// Reads `{"error":{"code","message"}}` of ARM, and `{"error","error_description"}` of IMDS.
    pub(crate) fn read(status: u16, body: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(brief);
        let error = &body["error"];
        let code = text(&error["code"]).or_else(|| text(error)).unwrap_or_default();
        let message = text(&error["message"]).or_else(|| text(&body["error_description"]));
        let message = message.unwrap_or_else(|| brief(body.as_str().unwrap_or_default().trim()));
        Self { status, code, message }
    }

    /// In one line.
    pub(crate) fn told(&self) -> String {
        let Self { status, code, message } = self;
        match (code.is_empty(), message.is_empty()) {
            (true, true) => format!("HTTP status {status}"),
            (true, false) => format!("HTTP status {status}: {message}"),
            (false, _) => format!("{status} {code}: {message}"),
        }
    }
}

impl<T> Seen<T> {
    pub(crate) fn yes(&self) -> Option<&T> {
        match self {
            Self::Yes(seen) => Some(seen),
            Self::Refused(_) | Self::Silent(_) => None,
        }
    }

    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Yes(_) | Self::Silent(_) => None,
        }
    }

    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::Yes(seen) => Seen::Yes(change(seen)),
            Self::Refused(refusal) => Seen::Refused(refusal),
            Self::Silent(why) => Seen::Silent(why),
        }
    }
}

/// Everything that was seen of this node and of Azure from it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Where the file says that ARM is.
    pub(crate) arm: String,
    pub(crate) imds: String,
    /// The user-assigned identity that the file names.
    pub(crate) client_id: Option<String>,
    /// IMDS's document of this VM.
    pub(crate) instance: Seen<Value>,
    /// What the metadata service says to the request for a token; none = this node's come from
    /// elsewhere.
    pub(crate) token: Option<Seen<()>>,
    /// Why the agent's own keeper has no token; none = it has one.
    pub(crate) keeper: Option<String>,
    /// The node's NICs, in the file's order.
    pub(crate) nics: Vec<NicFacts>,
    /// The virtual networks of their subnets, by id in lower case.
    pub(crate) networks: BTreeMap<String, Seen<Value>>,
    /// What the identity may do, by scope in lower case.
    pub(crate) rights: BTreeMap<String, Seen<Vec<Permission>>>,
    /// The ipConfigurations of each VM that the NICs belong to, by the VM's id.
    pub(crate) vm_addresses: BTreeMap<String, usize>,
    /// The most addresses of a NIC and of a VM.
    pub(crate) limit: usize,
    /// How far this node's wall clock is ahead of ARM's, in seconds.
    pub(crate) ahead_of_arm_s: Option<i64>,
    /// The VIPs that this node may hold, and the addresses that were asked about.
    pub(crate) addresses: Vec<AddressFacts>,
    /// The load balancer's frontend that was asked about.
    pub(crate) frontend: Option<FrontendFacts>,
    /// The NICs of all members, where this node looks for the holders of addresses.
    pub(crate) members: Vec<(NicId, Seen<NicDocument>)>,
    pub(crate) guest: GuestFacts,
    pub(crate) peers: Vec<PeerFacts>,
    pub(crate) disk: DiskFacts,
}

/// A NIC of this node.
#[derive(Clone, Debug)]
pub(crate) struct NicFacts {
    pub(crate) id: NicId,
    pub(crate) document: Seen<NicDocument>,
    pub(crate) locks: Seen<Vec<Lock>>,
}

/// A management lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lock {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) read_only: bool,
}

/// One entry of what an identity may do: all that matches an action and no exception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permission {
    pub(crate) actions: Vec<String>,
    pub(crate) except: Vec<String>,
}

/// An address of a VIP, or one that somebody asked about.
#[derive(Clone, Debug)]
pub(crate) struct AddressFacts {
    /// None = not of a VIP yet.
    pub(crate) vip: Option<VipName>,
    pub(crate) address: IpAddr,
    /// The NIC of this node that would carry it, if this node may hold it.
    pub(crate) nic: Option<NicId>,
    /// The prefixes of that NIC's subnet; none = not readable.
    pub(crate) prefixes: Option<Vec<Prefix>>,
    /// Whether Azure says that it is free; none = not asked by this node.
    pub(crate) free: Option<Seen<bool>>,
}

/// A frontend, and the document of its load balancer.
#[derive(Clone, Debug)]
pub(crate) struct FrontendFacts {
    pub(crate) asked: Frontend,
    pub(crate) document: Seen<Value>,
}

/// The guest's own network software and settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuestFacts {
    /// cloud-init adds secondary addresses at boot.
    pub(crate) cloud_init: bool,
    /// SUSE's cloud-netconfig adds secondary addresses.
    pub(crate) cloud_netconfig: bool,
    /// NetworkManager's nm-cloud-setup adds secondary addresses.
    pub(crate) nm_cloud_setup: bool,
    /// Interfaces with strict reverse path filtering.
    pub(crate) strict: BTreeSet<String>,
    /// How many interfaces there are but for the loopback.
    pub(crate) interfaces: usize,
    /// `net.ipv4.ip_nonlocal_bind`; none = unknown.
    pub(crate) nonlocal_bind: Option<bool>,
    /// What the file finds a NIC's interface by, where there is no such interface.
    pub(crate) missing: Vec<Selector>,
    /// How much chrony may slew, in parts per million; none = no chrony.
    pub(crate) slew_ppm: Option<u64>,
}

/// A peer by what happened when its address was connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerFacts {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) reach: Reach,
}

/// What became of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Connected,
    /// RST: nobody listens, or a firewall rejects.
    Refused,
    /// Nothing came back.
    TimedOut,
    /// The name has no address.
    NoSuchName(String),
    /// Something else, such as no route.
    Failed(String),
}

/// The folder of the log and of the spent epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DiskFacts {
    Seen { path: String, free_bytes: u64, in_memory: bool },
    Unusable { path: String, why: String },
}
