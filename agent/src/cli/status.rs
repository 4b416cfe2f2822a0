//! `vipfence status`: the cluster as a majority knows it, or, without a quorum, as one node does.
//! The second is when people type it, so it never shows an empty page.

use std::time::Duration;

use vipfence_proto::v1::{
    self, Consistency, GetStatusRequest, GetStatusResponse,
    cluster_service_client::ClusterServiceClient,
};

use super::{
    Session,
    exit::Exit,
    failure::Failure,
    link::{CallError, Repeat},
    output::Paint,
    table::{one_line, table},
    words,
};

/// A node that cannot say within this time is asked for what it knows by itself.
const WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn run(session: &mut Session) -> Result<Exit, Failure> {
    match ask(session, Consistency::Linearizable).await {
        Ok(status) if status.quorum => {
            print(session, &status);
            Ok(Exit::Done)
        }
        Ok(status) => {
            print_local(session, &status, "the node reached no majority");
            Ok(Exit::Unavailable)
        }
        Err(error) if error.is_passing() => {
            // Where nobody answers at all, the first failure says it best.
            let why = Failure::from(error);
            let Ok(status) = ask(session, Consistency::Local).await else { return Err(why) };
            print_local(session, &status, &why.message);
            Ok(Exit::Unavailable)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn ask(
    session: &mut Session,
    consistency: Consistency,
) -> Result<GetStatusResponse, CallError> {
    let request = GetStatusRequest { consistency: consistency.into() };
    let call =
        async |channel, request| ClusterServiceClient::new(channel).get_status(request).await;
    session.link.call_with(&request, Repeat::Safe, WITHIN, call).await
}

fn print(session: &mut Session, status: &GetStatusResponse) {
    if session.out.is_json() {
        session.out.json(status);
    } else {
        session.out.line(&render(status));
    }
}

fn print_local(session: &mut Session, status: &GetStatusResponse, why: &str) {
    if session.out.is_json() {
        let title = session.out.painted_note("no quorum:", Paint::Bad);
        session.out.note(&format!("{title} {}", banner(status, why)));
        session.out.json(status);
        return;
    }
    let title = session.out.painted("NO QUORUM:", Paint::Bad);
    session.out.line(&format!("{title} {}\n", banner(status, why)));
    session.out.line(&render(status));
    session.out.line(&render_local(status));
}

fn banner(status: &GetStatusResponse, why: &str) -> String {
    let leader = match status.leader.as_str() {
        "" => "no leader is known".to_owned(),
        leader => format!("{leader} was the last known leader"),
    };
    format!(
        "{}; {leader}. This is what {} knows by itself, and it may be old. VIPs do not move until \
         a majority of the voters is back.",
        one_line(why),
        status.answered_by
    )
}

/// The cluster for people.
fn render(status: &GetStatusResponse) -> String {
    let mut text = format!(
        "cluster {}   leader {}   term {}   quorum {}   profile {}\nanswered by {} ({})",
        status.cluster,
        words::or_none(&status.leader),
        status.term,
        if status.quorum { "yes" } else { "no" },
        words::or_none(&status.profile),
        status.answered_by,
        words::or_none(&status.version),
    );
    let timers = (status.failover_after.as_ref(), status.lease_wait.as_ref());
    if let (Some(failover), Some(wait)) =
        (timers.0.and_then(words::span), timers.1.and_then(words::span))
    {
        text.push_str(&format!(
            "; a silent holder is replaced after {}, and its grant is over {} after its \
             last renewal",
            words::duration(failover),
            words::duration(wait)
        ));
    }
    if let Some(pause) = &status.pause {
        text.push_str(&format!("\nPAUSED: no automatic moves{}", paused(pause)));
    }
    text.push_str("\n\n");
    text.push_str(&nodes(&status.nodes, &status.leader));
    text.push_str("\n\n");
    if status.vips.is_empty() {
        text.push_str("no VIPs; make one with `vipfence vip create NAME --address A`");
    } else {
        text.push_str(&vips(&status.vips));
    }
    text
}

fn nodes(nodes: &[v1::Node], leader: &str) -> String {
    let header = ["NODE", "ROLE", "STATE", "LAST HEARD", "AZURE", "NICS", "VERSION", "DETAIL"];
    table(
        header,
        nodes.iter().map(|node| {
            let heard = node.last_heard.as_ref().and_then(words::span);
            let nics: Vec<String> = node
                .nics
                .iter()
                .map(|nic| format!("{}={}", nic.name, words::nic(&nic.id)))
                .collect();
            let lead = if node.name == leader && !leader.is_empty() { " (leader)" } else { "" };
            [
                format!("{}{lead}", node.name),
                words::role(node.role),
                words::node_state(node.state),
                heard.map_or(words::NONE.to_owned(), |heard| {
                    format!("{} ago", words::duration(heard))
                }),
                // The API cannot tell "not tried" from "failed"; a witness need not reach Azure.
                match node.arm_ok {
                    Some(true) => "ok",
                    Some(false) => "no",
                    None => "",
                }
                .to_owned(),
                words::or_none(&nics.join(" ")).to_owned(),
                words::or_none(&node.version).to_owned(),
                detail(node),
            ]
        }),
    )
}

/// ` by 10.0.0.9:41000 until 2026-09-01 12:00:00Z: patching`
fn paused(pause: &v1::Pause) -> String {
    let until = pause.until.as_ref().map(words::time);
    let until = until.map_or(String::new(), |until| format!(" until {until}"));
    let reason = if pause.reason.is_empty() { "" } else { ": " };
    format!(" by {}{until}{reason}{}", pause.by, one_line(&pause.reason))
}

fn detail(node: &v1::Node) -> String {
    let paused = node.pause.as_ref().map(|pause| format!("paused{}", paused(pause)));
    let known = Some(node.detail.clone()).filter(|detail| !detail.is_empty());
    paused.into_iter().chain(known).collect::<Vec<_>>().join("; ")
}

/// The VIPs as a table.
pub(super) fn vips(vips: &[v1::Vip]) -> String {
    let header = ["VIP", "ADDRESSES", "PHASE", "HOLDER", "EPOCH", "ATTACHED TO", "REMARKS"];
    table(
        header,
        vips.iter().map(|vip| {
            [
                vip.name.clone(),
                words::addresses(vip),
                words::phase(vip.phase),
                words::or_none(&vip.holder).to_owned(),
                words::epoch(vip.epoch),
                words::or_none(&vip.attached_to).to_owned(),
                remarks(vip),
            ]
        }),
    )
}

/// What is not as it should be.
pub(super) fn remarks(vip: &v1::Vip) -> String {
    let mut remarks = Vec::new();
    if !vip.enabled {
        remarks.push("disabled".to_owned());
    }
    if let Some(current) = &vip.current_move {
        let to = if current.to_node.is_empty() {
            String::new()
        } else {
            format!(" to {}", current.to_node)
        };
        remarks.push(format!("{}{to}", current.id));
    }
    if let Some(withheld) = &vip.withheld
        && withheld.reason() == v1::WithheldReason::FlapBudgetSpent
    {
        remarks.push("ALARM: flap budget spent".to_owned());
    }
    if !vip.blocked_reason.is_empty() {
        remarks.push(format!("blocked: {}", vip.blocked_reason));
    }
    if !vip.paused.is_empty() && !vip.blocked_reason.contains(&vip.paused) {
        remarks.push("paused".to_owned());
    }
    for one in &vip.health {
        let known = format!(" {} ({})", one.node, one.problem);
        if !vip.blocked_reason.contains(&known) {
            remarks.push(format!("not well at {}: {}", one.node, one.problem));
        }
    }
    if !vip.exposed_nics.is_empty() {
        let nics: Vec<&str> = vip.exposed_nics.iter().map(|nic| words::nic(nic)).collect();
        remarks.push(format!("exposed: {}", nics.join(" ")));
    }
    remarks.join("; ")
}

fn render_local(status: &GetStatusResponse) -> String {
    let Some(local) = &status.local else { return String::new() };
    let held: Vec<String> = local
        .held
        .iter()
        .map(|held| {
            let left = held.lease_left.as_ref().and_then(words::span);
            let left =
                left.map_or(String::new(), |left| format!(", {} left", words::duration(left)));
            format!("{} (epoch {}{left})", held.vip, held.epoch)
        })
        .collect();
    let held = if held.is_empty() { "no VIP".to_owned() } else { held.join(", ") };
    let detail = if local.detail.is_empty() {
        String::new()
    } else {
        format!("; {}", one_line(&local.detail))
    };
    format!("\n{} itself has {held}{detail}", local.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_banner_and_two_tables() {
        let text = render(&crate::cli::tests::status());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines.first().copied(),
            Some("cluster demo   leader n1   term 3   quorum yes   profile fast")
        );
        assert!(
            text.contains("answered by n2 (0.1.0); a silent holder is replaced after 3.0 s"),
            "{text}"
        );
        assert!(
            text.contains("n1 (leader)  member  alive  0.3 s ago   ok     front=n1-nic  0.1.0"),
            "{text}"
        );
        assert!(text.contains("demo  10.5.0.110  held   n1      7      n1"), "{text}");
    }

    #[test]
    fn what_hinders_a_vip_is_remarked() {
        let vip = v1::Vip {
            enabled: true,
            blocked_reason: "AnotherOperationInProgress".to_owned(),
            exposed_nics: vec!["/subscriptions/s/x/n1-nic".to_owned()],
            ..v1::Vip::default()
        };
        assert_eq!(remarks(&vip), "blocked: AnotherOperationInProgress; exposed: n1-nic");
    }

    #[test]
    fn a_pause_is_shown_wherever_it_is() {
        let mut status = crate::cli::tests::status();
        let pause = v1::Pause {
            until: Some(crate::cli::tests::at(0)),
            reason: "patching".to_owned(),
            by: "me".to_owned(),
            ..v1::Pause::default()
        };
        status.pause = Some(pause.clone());
        status.nodes[0].pause = Some(pause);
        status.vips[0].paused = "automatic moves of the cluster are paused by me".to_owned();
        let text = render(&status);
        let told = "by me until 2026-09-01 12:00:00Z: patching";
        assert!(text.contains(&format!("PAUSED: no automatic moves {told}")), "{text}");
        assert!(text.contains(&format!("paused {told}")), "{text}");
        assert!(remarks(&status.vips[0]).contains("paused"), "{text}");
    }

    #[test]
    fn a_spent_flap_budget_is_an_alarm_and_where_a_vip_is_not_well_is_remarked_once() {
        let mut vip = v1::Vip {
            enabled: true,
            blocked_reason: "its health check fails on n1 (HTTP 503), and more".to_owned(),
            health: vec![v1::VipHealth { node: "n1".to_owned(), problem: "HTTP 503".to_owned() }],
            ..v1::Vip::default()
        };
        assert_eq!(remarks(&vip), "blocked: its health check fails on n1 (HTTP 503), and more");
        vip.blocked_reason.clear();
        assert_eq!(remarks(&vip), "not well at n1: HTTP 503");
        vip.health.clear();
        vip.withheld = Some(v1::Withheld {
            reason: v1::WithheldReason::FlapBudgetSpent.into(),
            ..v1::Withheld::default()
        });
        assert_eq!(remarks(&vip), "ALARM: flap budget spent");
    }

    #[test]
    fn a_local_view_says_what_the_node_has_and_why_not() {
        let mut status = crate::cli::tests::status();
        status.local = Some(v1::LocalView {
            node: "n2".to_owned(),
            held: Vec::new(),
            detail: "its lease ended".to_owned(),
        });
        assert_eq!(render_local(&status), "\nn2 itself has no VIP; its lease ended");
    }
}
