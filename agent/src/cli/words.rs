//! How the API's values are written for people: phases, causes, times, durations. Numbers of a
//! later version are shown as numbers.

use std::time::Duration;

use prost_types::Timestamp;
use vipfence_proto::v1;

/// What stands where there is nothing.
pub(super) const NONE: &str = "-";

/// The text, or a dash.
pub(super) fn or_none(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

/// The enum's API name without its prefix, in lower case with spaces: `holder silent`.
fn word(name: Result<&'static str, i32>, prefix: &str) -> String {
    match name {
        Ok(name) => {
            let bare = name.strip_prefix(prefix).unwrap_or(name);
            if bare == "UNSPECIFIED" {
                NONE.to_owned()
            } else {
                bare.to_lowercase().replace('_', " ")
            }
        }
        Err(number) => format!("({number})"),
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident, $message:ident, $prefix:literal;)*) => {
        $($(#[$doc])*
        pub(super) fn $name(number: i32) -> String {
            let name = v1::$message::try_from(number);
            word(name.map(|value| value.as_str_name()).map_err(|_| number), $prefix)
        })*
    };
}

words! {
    /// `detaching`
    phase, Phase, "PHASE_";
    /// `holder silent`
    cause, MoveCause, "MOVE_CAUSE_";
    /// `superseded`
    outcome, MoveOutcome, "MOVE_OUTCOME_";
    /// `witness`
    role, NodeRole, "NODE_ROLE_";
    /// `alive`
    node_state, NodeState, "NODE_STATE_";
    /// `attach`
    azure_operation, AzureOperationKind, "AZURE_OPERATION_KIND_";
    /// `load balancer`
    mode, VipMode, "VIP_MODE_";
    /// `tcp`
    probe_protocol, ProbeProtocol, "PROBE_PROTOCOL_";
    /// `late`
    release, ReleasePolicy, "RELEASE_POLICY_";
    /// `hold`
    quorum_loss, QuorumLossPolicy, "QUORUM_LOSS_POLICY_";
    /// `report`
    data_path, DataPathPolicy, "DATA_PATH_POLICY_";
    /// `repair`
    drift, DriftPolicy, "DRIFT_POLICY_";
    /// `prefer`
    failback, FailbackPolicy, "FAILBACK_POLICY_";
    /// `stay`
    unanswered, UnansweredPolicy, "UNANSWERED_POLICY_";
}

/// `0.3 s`, `12.0 s`, `3 m 05 s`, `2 h 10 m`.
pub(super) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{}.{} s", seconds, span.subsec_millis() / 100),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A duration of the API; `None` if it is negative.
pub(super) fn span(given: &prost_types::Duration) -> Option<Duration> {
    Duration::try_from(*given).ok()
}

/// From one moment to another; nothing if they are out of order.
pub(super) fn between(from: &Timestamp, to: &Timestamp) -> Duration {
    let nanos = |at: &Timestamp| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let span = nanos(to).saturating_sub(nanos(from)).max(0);
    Duration::from_nanos(u64::try_from(span).unwrap_or(u64::MAX))
}

/// `2026-09-01 12:00:03Z`.
pub(super) fn time(at: &Timestamp) -> String {
    match jiff::Timestamp::new(at.seconds, at.nanos) {
        Ok(at) => {
            let text = jiff::Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
            text.replacen('T', " ", 1)
        }
        Err(_) => "(no valid time)".to_owned(),
    }
}

/// `12:00:03Z`.
pub(super) fn time_of_day(at: &Timestamp) -> String {
    let full = time(at);
    full.split_once(' ').map_or(full.clone(), |(_, time)| time.to_owned())
}

/// The wall clock of this machine, for the margin of `watch`. Nothing is decided by it.
pub(super) fn now() -> Timestamp {
    let now = jiff::Timestamp::now();
    Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() }
}

/// `10.5.0.110`, `10.5.0.110/24@front`: as `vip create` takes it.
pub(super) fn address(given: &v1::VipAddress) -> String {
    let host = if given.address.contains(':') { 128 } else { 32 };
    let prefix = match given.prefix_len {
        0 => String::new(),
        prefix if prefix == host => String::new(),
        prefix => format!("/{prefix}"),
    };
    let nic = if given.nic.is_empty() { String::new() } else { format!("@{}", given.nic) };
    format!("{}{prefix}{nic}", given.address)
}

/// All addresses of a VIP.
pub(super) fn addresses(vip: &v1::Vip) -> String {
    let addresses: Vec<String> =
        vip.spec.iter().flat_map(|spec| &spec.addresses).map(address).collect();
    addresses.join(" ")
}

/// An epoch; a dash before the first.
pub(super) fn epoch(epoch: u64) -> String {
    if epoch == 0 { NONE.to_owned() } else { epoch.to_string() }
}

/// The last segment of an ARM id.
pub(super) fn nic(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_are_written_in_lower_case_without_their_prefix() {
        assert_eq!(phase(v1::Phase::Held.into()), "held");
        assert_eq!(cause(v1::MoveCause::HolderSilent.into()), "holder silent");
        assert_eq!(outcome(0), "-");
        assert_eq!(phase(99), "(99)");
    }

    #[test]
    fn durations_keep_a_tenth_below_a_minute() {
        let ms = Duration::from_millis;
        assert_eq!(duration(ms(349)), "0.3 s");
        assert_eq!(duration(ms(12_000)), "12.0 s");
        assert_eq!(duration(ms(185_000)), "3 m 05 s");
        assert_eq!(duration(ms(7_800_000)), "2 h 10 m");
    }

    #[test]
    fn times_are_written_in_utc_to_the_second() {
        let at = Timestamp { seconds: 1_788_264_003, nanos: 999 };
        assert_eq!(time(&at), "2026-09-01 12:00:03Z");
        assert_eq!(time_of_day(&at), "12:00:03Z");
        let later = Timestamp { seconds: 1_788_264_004, nanos: 0 };
        assert_eq!(between(&at, &later), Duration::from_nanos(999_999_001));
        assert_eq!(between(&later, &at), Duration::ZERO);
    }

    #[test]
    fn addresses_are_written_as_they_are_given() {
        let of = |address: &str, prefix_len, nic: &str| {
            super::address(&v1::VipAddress {
                address: address.to_owned(),
                prefix_len,
                nic: nic.to_owned(),
            })
        };
        assert_eq!(of("10.5.0.110", 32, ""), "10.5.0.110");
        assert_eq!(of("fd00::9", 64, "front"), "fd00::9/64@front");
    }
}
