//! The timers, and the inequalities between them that a cluster refuses to start without
//! (design.md §6 and §7).
//!
//! Raft timers and VIP timers are separate: leadership is cheap to move, a VIP is not. Safety
//! rests on `lease_wait` alone; `failover_after` is a matter of taste. Keeps I1 (`lease_wait`) and
//! the promise that the death of a leader which holds nothing costs no client a request.

use core::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Mutation;

/// The ratio of the fastest to the slowest clock that is allowed: clocks run within ± 1 %, so
/// 1.01 / 0.99.
pub const CLOCK_RATIO: f64 = 1.0202;

/// How late a Linux kernel may remove an address after its valid lifetime (measured on Linux 6.18,
/// HZ 250: at most 1.35 s late for lifetimes up to 10 s).
pub const KERNEL_SLACK: Duration = Duration::from_millis(1500);

/// The longest valid lifetime that an address gets. From 16 s on the kernel's timer wheel is
/// coarser than `KERNEL_SLACK` allows for.
pub const KERNEL_LIFETIME_CAP: Duration = Duration::from_secs(12);

/// How long after the last answered heartbeat a grant can still be alive anywhere.
#[must_use]
pub fn lease_wait(lease_ttl: Duration) -> Duration {
    let slack = if Mutation::NoKernelSlack.is_on() { Duration::ZERO } else { KERNEL_SLACK };
    let ratio = if Mutation::WaitWithoutDrift.is_on() { 1.0 } else { CLOCK_RATIO };
    (lease_ttl + slack).mul_f64(ratio)
}

/// A named set of timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// For Azure's new control plane, and for trying things out.
    Fast,
    /// Rides out the common pauses of a VM.
    #[default]
    Standard,
    /// Rides out memory-preserving maintenance (up to 30 s).
    Tolerant,
    /// Timers of one's own.
    Custom,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Standard => "standard",
            Self::Tolerant => "tolerant",
            Self::Custom => "custom",
        })
    }
}

impl FromStr for Profile {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fast" => Ok(Self::Fast),
            "standard" => Ok(Self::Standard),
            "tolerant" => Ok(Self::Tolerant),
            "custom" => Ok(Self::Custom),
            other => {
                Err(format!("profile \"{other}\" is not known: use fast, standard or tolerant"))
            }
        }
    }
}

/// The timers of a cluster, in milliseconds. Replicated; the Raft timers take effect when a
/// process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The profile these came from.
    pub profile: Profile,
    /// Raft heartbeat interval, and the time-out of a Raft RPC.
    pub raft_heartbeat_ms: u64,
    /// For how long the voter that stands first waits for a leader's word.
    pub election_min_ms: u64,
    /// The same of the voter that stands last.
    pub election_max_ms: u64,
    /// How often an agent beats.
    pub agent_heartbeat_ms: u64,
    /// Silence after which a node is shown as suspect.
    pub suspect_after_ms: u64,
    /// How long a grant lasts from the sending of the heartbeat that it answers.
    pub lease_ttl_ms: u64,
    /// Silence of a holder after which its VIPs fail over.
    pub failover_after_ms: u64,
    /// An Azure write is sent at most so long after its quorum round began (boot clock).
    pub write_window_ms: u64,
    /// How long ARM may take to execute a request; only where `If-Match` is not trusted, or a
    /// seal is refused for good.
    pub azure_max_ms: u64,
}

/// An inequality that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// A healthy holder could lose its lease while a new leader is elected.
    #[error(
        "lease_ttl of {lease_ttl_ms} ms is too short: 4 * election_max + quorum round + agent \
         heartbeat + 2 * rpc time-out + 1 s is {needed_ms} ms; lengthen lease_ttl or shorten the \
         election or heartbeat timers"
    )]
    LeaseTooShort {
        /// What was given.
        lease_ttl_ms: u64,
        /// The least that holds.
        needed_ms: u64,
    },
    /// Elections would start while a leader is healthy.
    #[error(
        "election_min of {election_min_ms} ms must be at least 3 Raft heartbeats \
         ({raft_heartbeat_ms} ms each)"
    )]
    ElectionTooShort {
        /// What was given.
        election_min_ms: u64,
        /// One Raft heartbeat.
        raft_heartbeat_ms: u64,
    },
    /// The range of election values is empty.
    #[error("election_max of {max} ms must be greater than election_min of {min} ms")]
    ElectionRange {
        /// The smallest value.
        min: u64,
        /// The largest value.
        max: u64,
    },
    /// A timer that must run is zero, or absurdly long.
    #[error("{name} of {value_ms} ms is out of range: use 1 to 86400000")]
    OutOfRange {
        /// Which timer.
        name: &'static str,
        /// What was given.
        value_ms: u64,
    },
}

impl Timing {
    /// The timers of a profile (`Custom` starts from `Standard`).
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let (raft, election, agent, suspect, lease, failover) = match profile {
            Profile::Fast => (75, (300, 450), 500, 1_500, 4_000, 3_000),
            Profile::Standard | Profile::Custom => (100, (500, 800), 1_000, 3_000, 10_000, 12_000),
            Profile::Tolerant => (250, (1_200, 2_000), 1_000, 5_000, 30_000, 35_000),
        };
        Self {
            profile,
            raft_heartbeat_ms: raft,
            election_min_ms: election.0,
            election_max_ms: election.1,
            agent_heartbeat_ms: agent,
            suspect_after_ms: suspect,
            lease_ttl_ms: lease,
            failover_after_ms: failover,
            write_window_ms: 1_000,
            azure_max_ms: 300_000,
        }
    }

    /// Holds these timers against the inequalities.
    ///
    /// # Errors
    /// Names the first inequality that does not hold, with the figures.
    pub fn check(&self) -> Result<(), TimingError> {
        for (name, value_ms) in [
            ("raft_heartbeat", self.raft_heartbeat_ms),
            ("election_min", self.election_min_ms),
            ("election_max", self.election_max_ms),
            ("agent_heartbeat", self.agent_heartbeat_ms),
            ("suspect_after", self.suspect_after_ms),
            ("lease_ttl", self.lease_ttl_ms),
            ("failover_after", self.failover_after_ms),
            ("write_window", self.write_window_ms),
            ("azure_max", self.azure_max_ms),
        ] {
            if value_ms == 0 || value_ms > 86_400_000 {
                return Err(TimingError::OutOfRange { name, value_ms });
            }
        }
        if self.election_max_ms <= self.election_min_ms {
            let (min, max) = (self.election_min_ms, self.election_max_ms);
            return Err(TimingError::ElectionRange { min, max });
        }
        if self.election_min_ms < 3 * self.raft_heartbeat_ms {
            return Err(TimingError::ElectionTooShort {
                election_min_ms: self.election_min_ms,
                raft_heartbeat_ms: self.raft_heartbeat_ms,
            });
        }
        let needed_ms = 4 * self.election_max_ms
            + self.quorum_round_ms()
            + self.agent_heartbeat_ms
            + 2 * self.rpc_timeout_ms()
            + 1_000;
        if needed_ms > self.lease_ttl_ms {
            return Err(TimingError::LeaseTooShort { lease_ttl_ms: self.lease_ttl_ms, needed_ms });
        }
        Ok(())
    }

    /// The longest that a quorum round takes which waits for the next of its leader's heartbeats
    /// (openraft sends one each one and a half of the interval), and then for one RPC time-out, if
    /// no message is lost.
    #[must_use]
    pub fn quorum_round_ms(&self) -> u64 {
        3 * self.raft_heartbeat_ms / 2 + self.rpc_timeout_ms()
    }

    /// openraft's RPC time-out is its heartbeat interval.
    #[must_use]
    pub fn rpc_timeout_ms(&self) -> u64 {
        self.raft_heartbeat_ms
    }

    /// For so long after its leader's last word a voter votes for nobody: a heartbeat less than the
    /// least election value, since the word reaches one voter later than another.
    #[must_use]
    pub fn vote_guard_ms(&self) -> u64 {
        self.election_min_ms.saturating_sub(self.raft_heartbeat_ms)
    }

    /// `lease_ttl` as a duration.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.lease_ttl_ms)
    }
    /// `agent_heartbeat` as a duration.
    #[must_use]
    pub fn agent_heartbeat(&self) -> Duration {
        Duration::from_millis(self.agent_heartbeat_ms)
    }
    /// `failover_after` as a duration.
    #[must_use]
    pub fn failover_after(&self) -> Duration {
        Duration::from_millis(self.failover_after_ms)
    }
    /// `suspect_after` as a duration.
    #[must_use]
    pub fn suspect_after(&self) -> Duration {
        Duration::from_millis(self.suspect_after_ms)
    }
    /// `write_window` as a duration.
    #[must_use]
    pub fn write_window(&self) -> Duration {
        Duration::from_millis(self.write_window_ms)
    }
    /// `azure_max` as a duration.
    #[must_use]
    pub fn azure_max(&self) -> Duration {
        Duration::from_millis(self.azure_max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_keeps_its_own_inequalities() {
        for profile in [Profile::Fast, Profile::Standard, Profile::Tolerant] {
            assert_eq!(Timing::of(profile).check(), Ok(()), "{profile}");
        }
    }

    #[test]
    fn a_lease_too_short_for_an_election_is_refused_with_the_figures() {
        let timing = Timing { lease_ttl_ms: 3_000, ..Timing::of(Profile::Fast) };
        let error = timing.check().expect_err("too short");
        assert_eq!(error, TimingError::LeaseTooShort { lease_ttl_ms: 3_000, needed_ms: 3_637 });
        assert!(error.to_string().contains("lengthen lease_ttl"));
    }

    #[test]
    fn an_absurd_timer_is_named_and_does_not_overflow_the_sum() {
        let huge = u64::MAX / 4 + 1;
        let timing = Timing { election_max_ms: huge, ..Timing::of(Profile::Fast) };
        let expected = TimingError::OutOfRange { name: "election_max", value_ms: huge };
        assert_eq!(timing.check(), Err(expected));
    }

    #[test]
    fn the_lease_wait_of_the_fast_profile_is_5_6_seconds() {
        let wait = lease_wait(Timing::of(Profile::Fast).lease_ttl());
        assert_eq!(wait.as_millis(), 5_611);
    }
}
