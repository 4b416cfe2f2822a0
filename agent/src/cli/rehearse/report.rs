//! What a rehearsal found: its steps, what they mean, and how it is told.

use std::time::Duration;

use serde::Serialize;

use super::outage::{EVERY, Outage};
use crate::cli::{table::one_line, words};

/// When a step is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Stage {
    /// Before the move.
    Before,
    /// On the standby.
    After,
    /// Back where it was.
    Back,
}

/// Who is to reach the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Who {
    /// This process.
    Client,
    /// The node that holds it at that time.
    Holder,
    /// The other of the two.
    Standby,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    /// Counted from 1; three to a stage.
    pub(super) number: usize,
    pub(super) stage: Stage,
    pub(super) who: Who,
    /// Empty = this process.
    pub(super) node: String,
    /// Where it connects.
    pub(super) address: String,
    /// Until it was reached, or given up.
    pub(super) took_ms: u64,
    pub(super) reached: bool,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) why: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

/// One of the two moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leg {
    pub(super) id: String,
    pub(super) to: String,
    /// By the leader's clock.
    pub(super) took_ms: u64,
    /// As the client saw it.
    pub(super) outage_ms: u64,
    /// It was not over when the steps after the move were done.
    pub(super) outage_lasts: bool,
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) vip: String,
    /// The holder, to which it comes back.
    pub(super) from: String,
    /// The standby.
    pub(super) to: String,
    /// How long each move will probably take; none = not known.
    pub(super) expected_ms: Option<u64>,
    /// How that is known.
    pub(super) expected_basis: String,
    /// Where the client connects.
    pub(super) client: String,
    /// Where the nodes connect.
    pub(super) nodes_probe: String,
    /// What the doctor found beforehand: "CHECK at n1: message".
    pub(super) doctor_errors: Vec<String>,
    pub(super) steps: Vec<Step>,
    pub(super) moves: Vec<Leg>,
    /// How exactly an outage is known.
    pub(super) outage_resolution_ms: u64,
    /// Every step was made and good.
    pub(super) passed: bool,
    /// Why it was given up; empty = it was not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) failure: String,
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(ms: u64) -> String {
    words::duration(Duration::from_millis(ms))
}

impl Stage {
    /// Its three steps have these numbers.
    pub(super) fn numbers(self) -> [usize; 3] {
        match self {
            Self::Before => [1, 2, 3],
            Self::After => [4, 5, 6],
            Self::Back => [7, 8, 9],
        }
    }
}

impl Step {
    /// ` 5  FAILED  15.0 s  holder n2 does not reach 10.5.0.110:80: refused`, and the remedy.
    pub(super) fn told(&self) -> String {
        let took = seconds(self.took_ms);
        let who = match self.who {
            Who::Client => "the client".to_owned(),
            Who::Holder => format!("holder {}", self.node),
            Who::Standby => format!("standby {}", self.node),
        };
        let Self { number, address, .. } = self;
        if self.reached {
            return format!("{number:>2}  ok      {took:>6}  {who} reaches {address}");
        }
        let (why, remedy) = (one_line(&self.why), one_line(&self.remedy));
        format!(
            "{number:>2}  FAILED  {took:>6}  {who} does not reach {address}: {why}\n    {remedy}"
        )
    }
}

/// What a step that failed means, and what to do about it.
pub(super) fn remedy(stage: Stage, who: Who, holder: &str) -> String {
    match (stage, who) {
        (Stage::Before | Stage::Back, Who::Client) => format!(
            "the VIP is not served to clients where it is: look at the service on {holder}, and at \
             routes and security rules between here and there"
        ),
        (Stage::After, Who::Client) => format!(
            "a failover to {holder} would cut clients off: let the service run there and listen on \
             the VIP, and compare its firewall and the security groups of its NIC with the other's"
        ),
        (_, Who::Holder) => format!(
            "the service on {holder} does not answer on the VIP's address: let it run there and \
             listen on 0.0.0.0, or on the VIP with net.ipv4.ip_nonlocal_bind = 1"
        ),
        (_, Who::Standby) => format!(
            "what talks to the VIP from this node is cut off while {holder} has it: open the port \
             between the nodes, in security groups and firewalls"
        ),
    }
}

impl Leg {
    /// What the client noticed.
    pub(super) fn told(&self) -> String {
        let every = words::duration(EVERY);
        let outage = seconds(self.outage_ms);
        match (self.outage_ms, self.outage_lasts) {
            (0, _) => format!("    the client noticed nothing (a connection tried every {every})"),
            (_, false) => format!(
                "    the client was without the VIP for {outage} (a connection tried every {every})"
            ),
            (_, true) => {
                format!("    the client has been without the VIP for {outage} and still is")
            }
        }
    }
}

impl Report {
    /// What will be done, and how long it takes.
    pub(super) fn announcement(&self) -> String {
        let Self { vip, from, to, client, nodes_probe, .. } = self;
        let takes = match (self.expected_ms, self.expected_basis.as_str()) {
            (None, _) => "how long each takes is not known".to_owned(),
            (Some(ms), "") => format!("each takes about {}", seconds(ms)),
            (Some(ms), basis) => format!("each takes about {} ({basis})", seconds(ms)),
        };
        format!(
            "rehearsal: {vip} moves from {from} to {to} and back; clients notice both moves\n\
             {takes}\n\
             the client is this process and connects to {client}; the nodes connect to {nodes_probe}"
        )
    }

    pub(super) fn add_move(&mut self, ended: &vipfence_proto::v1::Move, outage: Outage) -> &Leg {
        let took = match (&ended.started, &ended.ended) {
            (Some(from), Some(to)) => words::between(from, to),
            _ => Duration::ZERO,
        };
        let leg = Leg {
            id: ended.id.clone(),
            to: ended.to_node.clone(),
            took_ms: millis(took),
            outage_ms: millis(outage.longest),
            outage_lasts: outage.lasts,
        };
        self.moves.push(leg);
        self.moves.last().expect("it was just added")
    }

    /// The numbers of the steps that failed.
    pub(super) fn failed(&self) -> Vec<usize> {
        self.steps.iter().filter(|step| !step.reached).map(|step| step.number).collect()
    }

    /// The last line.
    pub(super) fn summary(&self) -> String {
        let outages: Vec<String> = self.moves.iter().map(|leg| seconds(leg.outage_ms)).collect();
        let outages = format!("outages: {}", outages.join(" there, "));
        let failed = self.failed();
        if failed.is_empty() {
            return format!("the rehearsal of {} passed; {outages} back", self.vip);
        }
        let failed: Vec<String> = failed.iter().map(ToString::to_string).collect();
        let (steps, of) = (if failed.len() == 1 { "step" } else { "steps" }, self.steps.len());
        format!(
            "the rehearsal of {} failed: {steps} {} of {of}; {} has it again; {outages} back",
            self.vip,
            failed.join(", "),
            self.from
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::move_ended;

    fn step(number: usize, who: Who, reached: bool) -> Step {
        Step {
            number,
            stage: Stage::After,
            who,
            node: if who == Who::Client { String::new() } else { "n2".to_owned() },
            address: "10.5.0.110:80".to_owned(),
            took_ms: 1_250,
            reached,
            why: if reached { String::new() } else { "connection refused".to_owned() },
            remedy: if reached { String::new() } else { remedy(Stage::After, who, "n2") },
        }
    }

    fn report() -> Report {
        Report {
            vip: "demo".to_owned(),
            from: "n1".to_owned(),
            to: "n2".to_owned(),
            expected_ms: Some(2_100),
            expected_basis: "the last switchover of demo".to_owned(),
            client: "127.0.0.1:1".to_owned(),
            nodes_probe: "10.5.0.110:80".to_owned(),
            doctor_errors: vec![],
            steps: vec![],
            moves: vec![],
            outage_resolution_ms: 100,
            passed: false,
            failure: String::new(),
        }
    }

    #[test]
    fn a_step_says_who_reaches_what_and_one_that_failed_says_what_it_means() {
        assert_eq!(
            step(4, Who::Client, true).told(),
            " 4  ok       1.2 s  the client reaches 10.5.0.110:80"
        );
        let told = step(5, Who::Holder, false).told();
        let (line, remedy) = told.split_once("\n    ").expect("two lines");
        assert_eq!(
            line,
            " 5  FAILED   1.2 s  holder n2 does not reach 10.5.0.110:80: connection refused"
        );
        assert!(remedy.starts_with("the service on n2 does not answer on the VIP's address"));
    }

    #[test]
    fn every_step_has_a_remedy_that_names_the_holder() {
        for stage in [Stage::Before, Stage::After, Stage::Back] {
            for who in [Who::Client, Who::Holder, Who::Standby] {
                assert!(remedy(stage, who, "n7").contains("n7"), "{stage:?} {who:?}");
            }
        }
    }

    #[test]
    fn the_announcement_says_what_will_be_done_and_how_long_it_takes() {
        assert_eq!(
            report().announcement(),
            "rehearsal: demo moves from n1 to n2 and back; clients notice both moves\n\
             each takes about 2.1 s (the last switchover of demo)\n\
             the client is this process and connects to 127.0.0.1:1; the nodes connect to \
             10.5.0.110:80"
        );
        let unknown = Report { expected_ms: None, ..report() }.announcement();
        assert!(unknown.contains("\nhow long each takes is not known\n"), "{unknown}");
    }

    #[test]
    fn the_summary_counts_what_failed_and_tells_both_outages() {
        use vipfence_proto::v1::MoveOutcome;
        let mut report = report();
        let outage = |ms| {
            let longest = Duration::from_millis(ms);
            Outage { longest, ..Outage::default() }
        };
        report.add_move(&move_ended(MoveOutcome::Done), outage(1_100));
        let leg = report.add_move(&move_ended(MoveOutcome::Done), outage(0));
        assert_eq!((leg.took_ms, leg.to.as_str()), (2_600, "n2"));
        assert_eq!(leg.told(), "    the client noticed nothing (a connection tried every 0.1 s)");
        let passed = "the rehearsal of demo passed; outages: 1.1 s there, 0.0 s back";
        assert_eq!(report.summary(), passed);
        report.steps = vec![step(4, Who::Client, true), step(5, Who::Holder, false)];
        assert_eq!(
            report.summary(),
            "the rehearsal of demo failed: step 5 of 2; n1 has it again; outages: 1.1 s there, \
             0.0 s back"
        );
    }
}
