//! `[os]`, and the interfaces of `[[nics]]`: what adds and drops addresses on this node, and where.

use std::{net::SocketAddr, ops::Range};

use super::{
    super::{
        OsDriver,
        problem::Problem,
        reader::{Placed, Reader, Section, unknown_word},
    },
    PlacedNic, socket,
};
use crate::os::{Interface, Selector};

const OS: &[&str] = &["driver", "responder"];
/// IFNAMSIZ without its closing zero.
const NAME_LONGEST: usize = 15;

/// What `[os]` says. Where it is left out, kernel addresses are meant.
pub(super) enum Os {
    Linux,
    Userspace { responder: Placed<SocketAddr> },
}

/// None: something is wrong, and has been reported.
pub(super) fn read(reader: &mut Reader, top: &Section<'_>) -> Option<Os> {
    if !top.has("os") {
        return Some(Os::Linux);
    }
    let section = top.table(reader, "os", "[os]", OS)?;
    let driver = section.text_or(reader, "driver", "linux");
    let userspace = reader.convert(&driver, |text| match text {
        "linux" => Ok(false),
        "userspace" => Ok(true),
        other => Err(unknown_word("driver", other, &["linux", "userspace"])),
    })?;
    if userspace.value {
        let responder = section.text(reader, "responder", "127.0.0.1:7800")?;
        return Some(Os::Userspace { responder: reader.convert(&responder, socket)? });
    }
    if let Some(responder) = section.optional_text(reader, "responder") {
        let problem = Problem::error("a kernel address has no responder", "not used");
        reader.report(
            problem
                .at(responder.span)
                .help("leave it out, or use `driver = \"userspace\"` to try vipfence out"),
        );
        return None;
    }
    Some(Os::Linux)
}

/// The interface of a NIC: by name, by MAC address, or by the subnet.
pub(super) fn selector(reader: &mut Reader, section: &Section<'_>) -> Option<Selector> {
    let name = section.optional_text(reader, "interface");
    let mac = section.optional_text(reader, "mac");
    match (name, mac) {
        (None, None) => Some(Selector::Subnet),
        (Some(name), None) => {
            let name = reader.convert(&name, interface_name)?;
            Some(Selector::Name(name.value))
        }
        (None, Some(given)) => Some(Selector::Mac(reader.convert(&given, mac_address)?.value)),
        (Some(_), Some(mac)) => {
            reader.report(both(mac.span));
            None
        }
    }
}

fn both(span: Range<usize>) -> Problem {
    Problem::error("a NIC is found by `interface` or by `mac`, not by both", "the second")
        .at(span)
        .help("keep the MAC address: it stays the same when interfaces are renamed")
}

fn interface_name(text: &str) -> Result<String, Problem> {
    let fits = |c: char| !c.is_whitespace() && c != '/' && c != ':';
    if text.is_empty() || text.len() > NAME_LONGEST || !text.chars().all(fits) {
        let problem = Problem::error(format!("\"{text}\" is not the name of an interface"), "this");
        return Err(problem.help("`ip -brief link` lists them, such as eth0"));
    }
    Ok(text.to_owned())
}

/// As Linux writes it, and as Azure does.
fn mac_address(text: &str) -> Result<[u8; 6], Problem> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-')).collect();
    let bytes = (digits.len() == 12 && digits.is_ascii()).then(|| {
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
        (0..12).step_by(2).map(byte).collect::<Option<Vec<u8>>>()
    });
    let mac = bytes.flatten().and_then(|bytes| bytes.try_into().ok());
    mac.ok_or_else(|| {
        Problem::error(format!("\"{text}\" is not a MAC address"), "this").help(
            "write it as `ip -brief link` does, 00:0d:3a:01:02:03, or as Azure does, \
             00-0D-3A-01-02-03",
        )
    })
}

/// The driver that a file asks for.
pub(super) fn driver(os: Os, nics: &[PlacedNic]) -> OsDriver {
    match os {
        Os::Userspace { responder } => OsDriver::Userspace { responder: responder.value },
        Os::Linux => OsDriver::Linux {
            interfaces: nics
                .iter()
                .map(|nic| Interface {
                    nic: nic.name.value.clone(),
                    selector: nic.selector.clone(),
                })
                .collect(),
        },
    }
}
