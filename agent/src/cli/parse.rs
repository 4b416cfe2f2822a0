//! The small languages of single arguments: durations, addresses, candidates, policies, profiles.

use std::{net::IpAddr, time::Duration};

#[cfg(feature = "dev")]
use vipfence_types::Profile;
use vipfence_types::{
    DataPath, Failback, Failover, FlapBudget, ProbeProtocol, Unanswered, VipSpec,
};

/// The longest duration that is taken: a day.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The priority of a candidate that is given without one: room for better and for worse.
const PRIORITY: u32 = 100;

/// `10.5.0.110`, `10.5.0.110/24`, `fd00::9/64@front`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The address.
    pub(crate) address: IpAddr,
    /// The prefix length, if given.
    pub(crate) prefix_len: Option<u8>,
    /// The NIC's name, if given.
    pub(crate) nic: Option<String>,
}

/// `n1`, `n1=200`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CandidateArg {
    /// The node.
    pub(crate) node: String,
    /// Greater is preferred.
    pub(crate) priority: u32,
}

/// `tcp:63001`, `http:63001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeArg {
    /// What is spoken.
    pub(crate) protocol: ProbeProtocol,
    /// The port.
    pub(crate) port: u16,
}

/// Reads `off`, `report`, `required:5432`.
pub(crate) fn data_path(text: &str) -> Result<(DataPath, u16), String> {
    let (policy, port) = match text.split_once(':') {
        None => (text, VipSpec::default_data_path_port()),
        Some((policy, port)) => {
            let port = port.parse().ok().filter(|port| *port > 0);
            (policy, port.ok_or("a port is a number from 1 to 65535")?)
        }
    };
    match policy {
        "off" => Ok((DataPath::Off, port)),
        "report" => Ok((DataPath::Report, port)),
        "required" => Ok((DataPath::Required, port)),
        _ => Err("write off, report or required, and a port if wanted: report:5432".to_owned()),
    }
}

/// Reads a load balancer's probe.
pub(crate) fn probe(text: &str) -> Result<ProbeArg, String> {
    let (protocol, port) = text.split_once(':').unwrap_or(("", text));
    let protocol = match protocol {
        "tcp" => ProbeProtocol::Tcp,
        "http" => ProbeProtocol::Http,
        _ => return Err(format!("write what the probe speaks and its port: tcp:{port}")),
    };
    match port.parse() {
        Ok(port) if port > 0 => Ok(ProbeArg { protocol, port }),
        _ => Err(format!("\"{port}\" is not a port: write a number from 1 to 65535")),
    }
}

/// Reads `1s`, `200ms`, `1m30s`, `1.5h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let help = "use a number with a unit, such as 200ms, 1s, 1m30s";
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Err(format!("the unit is missing: write {text}s or {text}ms"));
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|_| help.to_owned())?;
    let duration = Duration::try_from(signed).map_err(|_| "it must not be negative".to_owned())?;
    if duration > LONGEST {
        return Err("it is longer than a day".to_owned());
    }
    Ok(duration)
}

/// Reads an address of a VIP.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    let (rest, nic) = match text.split_once('@') {
        Some((_, "")) => return Err("the name of the NIC is missing after '@'".to_owned()),
        Some((rest, nic)) => (rest, Some(nic.to_owned())),
        None => (text, None),
    };
    let (address, prefix) = match rest.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (rest, None),
    };
    let address: IpAddr =
        address.parse().map_err(|_| format!("\"{address}\" is not an IP address"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix_len = match prefix.map(str::parse::<u8>) {
        None => None,
        Some(Ok(prefix)) if (1..=most).contains(&prefix) => Some(prefix),
        Some(_) => return Err(format!("the prefix length must be 1 to {most}")),
    };
    Ok(Address { address, prefix_len, nic })
}

/// Reads a candidate.
pub(crate) fn candidate(text: &str) -> Result<CandidateArg, String> {
    let (node, priority) = match text.split_once('=') {
        Some((node, priority)) => {
            let wrong = |_| format!("\"{priority}\" is not a priority: use a whole number");
            (node, priority.parse().map_err(wrong)?)
        }
        None => (text, PRIORITY),
    };
    let node = vipfence_types::NodeId::new(node).map_err(|error| error.to_string())?;
    Ok(CandidateArg { node: node.to_string(), priority })
}

/// Reads `manual`, `after:10m`, `prefer`.
pub(crate) fn failback(text: &str) -> Result<Failback, String> {
    match text.split_once(':') {
        None if text == "manual" => Ok(Failback::Manual),
        None if text == "prefer" => Ok(Failback::Prefer),
        Some(("after", time)) => Ok(Failback::After { ms: millis(time)? }),
        _ => Err("use manual, after:10m or prefer".to_owned()),
    }
}

/// Reads `3/10m`.
pub(crate) fn flap_budget(text: &str) -> Result<FlapBudget, String> {
    let help = || "use moves/time, such as 3/10m".to_owned();
    let (moves, window) = text.split_once('/').ok_or_else(help)?;
    let moves = moves.parse().map_err(|_| help())?;
    Ok(FlapBudget { moves, window_ms: millis(window)? })
}

/// Reads `automatic`, `confirm:60s:move`, `confirm:60s:stay`.
pub(crate) fn failover(text: &str) -> Result<Failover, String> {
    let help = || "use automatic, confirm:60s:move or confirm:60s:stay".to_owned();
    if text == "automatic" {
        return Ok(Failover::Automatic);
    }
    let rest = text.strip_prefix("confirm:").ok_or_else(help)?;
    let (time, then) = rest.split_once(':').ok_or_else(help)?;
    let then = match then {
        "move" => Unanswered::Move,
        "stay" => Unanswered::Stay,
        _ => return Err(help()),
    };
    Ok(Failover::Confirm { timeout_ms: millis(time)?, then })
}

fn millis(text: &str) -> Result<u64, String> {
    u64::try_from(duration(text)?.as_millis()).map_err(|_| "it is too long".to_owned())
}

/// Reads a profile that a cluster can start with.
#[cfg(feature = "dev")]
pub(crate) fn profile(text: &str) -> Result<Profile, String> {
    match text.parse()? {
        Profile::Custom => Err("a cluster starts as fast, standard or tolerant".to_owned()),
        profile => Ok(profile),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_are_not_negative() {
        for (text, ms) in [
            ("1s", 1_000),
            ("200ms", 200),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("0s", 0),
            ("2h", 7_200_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("10"), Err("the unit is missing: write 10s or 10ms".to_owned()));
        for bad in ["", "soon", "-1s", "s", "25h", "1 parsec"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_may_carry_a_prefix_and_a_nic() {
        let full = address("10.5.0.110/24@front").expect("full");
        assert_eq!((full.prefix_len, full.nic.as_deref()), (Some(24), Some("front")));
        let bare = address("fd00::9").expect("bare");
        assert_eq!((bare.prefix_len, bare.nic), (None, None));
        for bad in ["10.5.0", "10.5.0.1/33", "10.5.0.1/0", "10.5.0.1@", "10.5.0.1/x", "fd00::9/129"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_candidate_has_a_priority_of_100_unless_said_otherwise() {
        let of = |text| candidate(text).map(|c| (c.node, c.priority));
        assert_eq!(of("N1"), Ok(("n1".to_owned(), 100)));
        assert_eq!(of("n2=7"), Ok(("n2".to_owned(), 7)));
        assert!(of("n2=").is_err() && of("n_2").is_err() && of("n2=-1").is_err());
    }

    #[test]
    fn policies_are_read_as_they_are_shown() {
        assert_eq!(failback("manual"), Ok(Failback::Manual));
        assert_eq!(failback("prefer"), Ok(Failback::Prefer));
        assert_eq!(failback("after:10m"), Ok(Failback::After { ms: 600_000 }));
        assert_eq!(flap_budget("3/10m"), Ok(FlapBudget { moves: 3, window_ms: 600_000 }));
        assert_eq!(failover("automatic"), Ok(Failover::Automatic));
        let then = Unanswered::Stay;
        assert_eq!(
            failover("confirm:60s:stay"),
            Ok(Failover::Confirm { timeout_ms: 60_000, then })
        );
        for bad in ["", "after", "after:", "after:10", "soon", "prefer:1s"] {
            assert!(failback(bad).is_err(), "{bad}");
        }
        assert!(flap_budget("3").is_err() && flap_budget("x/10m").is_err());
        assert!(failover("confirm").is_err() && failover("confirm:60s").is_err());
        assert!(failover("confirm:60s:hold").is_err());
    }

    #[cfg(feature = "dev")]
    #[test]
    fn a_dev_cluster_has_one_of_the_named_profiles() {
        assert_eq!(profile("tolerant"), Ok(Profile::Tolerant));
        assert!(profile("custom").is_err() && profile("quick").is_err());
    }
}
