//! `vipfence vip`: defining VIPs, looking at them, placing and unplacing them.

use std::fmt::Write as _;

use vipfence_proto::v1::{
    self, CreateVipRequest, DeleteVipRequest, DisableVipRequest, EnableVipRequest, GetVipRequest,
    ListVipsRequest, ListVipsResponse, Move, ProbeProtocol, UpdateVipRequest, Vip, VipMode,
    vip_service_client::VipServiceClient,
};

use super::{
    Session,
    args::{ChangeArgs, CreateArgs, UpdateArgs},
    execute::{Order, carry_out, conclude},
    exit::Exit,
    failure::Failure,
    link::{CallError, Link},
    policies,
    progress::headline,
    status,
    table::one_line,
    words,
};

/// More pages than this are a fault of the node that answers.
const MOST_PAGES: usize = 1_000;

/// Defines a VIP and waits until it is placed.
pub(super) async fn create(session: &mut Session, args: &CreateArgs) -> Result<Exit, Failure> {
    let order = Order::new(&args.name, &args.wait);
    let request = CreateVipRequest {
        name: args.name.clone(),
        spec: Some(spec(args)),
        target_node: args.to.clone().unwrap_or_default(),
        disabled: args.disabled,
        request_id: order.request_id.clone(),
    };
    let send = async |link: &mut Link| {
        let call =
            async |channel, request| VipServiceClient::new(channel).create_vip(request).await;
        link.call(&request, call).await
    };
    let (made, last) =
        carry_out(session, &order, send, |vip: &Vip| vip.current_move.clone()).await?;
    if session.out.is_json() {
        // The answer of the API is the VIP: as it is now, if it was waited for.
        let now =
            if args.wait.no_wait { Ok(made) } else { get(&mut session.link, &args.name).await };
        session.out.json(&now?);
        return Ok(Exit::Done);
    }
    session.out.line(&format!("{} is defined", args.name));
    match last {
        Some(last) => conclude(session, &last),
        None if args.disabled => {
            session.out.line(&format!("`vipfence vip enable {}` places it", args.name));
            Ok(Exit::Done)
        }
        None => Ok(Exit::Done),
    }
}

fn spec(args: &CreateArgs) -> v1::VipSpec {
    let addresses = args.addresses.iter().map(|given| v1::VipAddress {
        address: given.address.to_string(),
        prefix_len: given.prefix_len.map_or(0, u32::from),
        nic: given.nic.clone().unwrap_or_default(),
    });
    let probe = args.probe.map(|given| v1::Probe {
        port: given.port.into(),
        protocol: match given.protocol {
            vipfence_types::ProbeProtocol::Tcp => ProbeProtocol::Tcp,
            vipfence_types::ProbeProtocol::Http => ProbeProtocol::Http,
        }
        .into(),
        reply: args.probe_reply.clone().unwrap_or_default(),
    });
    let mode = if probe.is_some() { VipMode::LoadBalancer } else { VipMode::IpConfig };
    let mut spec = v1::VipSpec {
        addresses: addresses.collect(),
        mode: mode.into(),
        probe,
        ..v1::VipSpec::default()
    };
    policies::apply(&args.policies, &mut spec);
    spec
}

/// Changes what was named of a VIP's definition.
pub(super) async fn update(session: &mut Session, args: &UpdateArgs) -> Result<Exit, Failure> {
    let known = get(&mut session.link, &args.name).await?;
    let mut spec = known.spec.unwrap_or_default();
    if args.all_candidates {
        spec.candidates.clear();
    }
    policies::apply(&args.policies, &mut spec);
    let made = || uuid::Uuid::new_v4().to_string();
    let request_id = args.request_id.clone().unwrap_or_else(made);
    let request = UpdateVipRequest { name: args.name.clone(), spec: Some(spec), request_id };
    let call = async |channel, request| VipServiceClient::new(channel).update_vip(request).await;
    let changed = session.link.call(&request, call).await?;
    if session.out.is_json() {
        session.out.json(&changed);
    } else {
        session.out.line(&render(&changed));
    }
    Ok(Exit::Done)
}

/// Lists all VIPs, over all pages.
pub(super) async fn list(session: &mut Session) -> Result<Exit, Failure> {
    let mut all = ListVipsResponse::default();
    for _ in 0..MOST_PAGES {
        let request = ListVipsRequest {
            page_token: all.next_page_token.clone(),
            ..ListVipsRequest::default()
        };
        let call = async |channel, request| VipServiceClient::new(channel).list_vips(request).await;
        let page = session.link.call(&request, call).await?;
        all.vips.extend(page.vips);
        all.next_page_token = page.next_page_token;
        all.revision = page.revision;
        if all.next_page_token.is_empty() {
            break;
        }
    }
    if session.out.is_json() {
        session.out.json(&all);
    } else if all.vips.is_empty() {
        session.out.line("no VIPs; make one with `vipfence vip create NAME --address A`");
    } else {
        session.out.line(&status::vips(&all.vips));
    }
    Ok(Exit::Done)
}

/// Shows one VIP in full.
pub(super) async fn show(session: &mut Session, name: &str) -> Result<Exit, Failure> {
    let vip = get(&mut session.link, name).await?;
    if session.out.is_json() {
        session.out.json(&vip);
    }
    session.out.line(&render(&vip));
    Ok(Exit::Done)
}

async fn get(link: &mut Link, name: &str) -> Result<Vip, CallError> {
    let request = GetVipRequest { name: name.to_owned(), ..GetVipRequest::default() };
    let call = async |channel, request| VipServiceClient::new(channel).get_vip(request).await;
    link.call(&request, call).await
}

/// Places a disabled VIP.
pub(super) async fn enable(session: &mut Session, args: &ChangeArgs) -> Result<Exit, Failure> {
    let order = Order::new(&args.name, &args.wait);
    let request =
        EnableVipRequest { name: args.name.clone(), request_id: order.request_id.clone() };
    let send = async |link: &mut Link| {
        let call =
            async |channel, request| VipServiceClient::new(channel).enable_vip(request).await;
        link.call(&request, call).await
    };
    change(session, &order, send).await
}

/// Takes a VIP off its holder; it stays defined.
pub(super) async fn disable(session: &mut Session, args: &ChangeArgs) -> Result<Exit, Failure> {
    let order = Order::new(&args.name, &args.wait);
    let request =
        DisableVipRequest { name: args.name.clone(), request_id: order.request_id.clone() };
    let send = async |link: &mut Link| {
        let call =
            async |channel, request| VipServiceClient::new(channel).disable_vip(request).await;
        link.call(&request, call).await
    };
    change(session, &order, send).await
}

/// Takes a VIP off its holder and forgets it.
pub(super) async fn delete(session: &mut Session, args: &ChangeArgs) -> Result<Exit, Failure> {
    let order = Order::new(&args.name, &args.wait);
    let request =
        DeleteVipRequest { name: args.name.clone(), request_id: order.request_id.clone() };
    let send = async |link: &mut Link| {
        let call =
            async |channel, request| VipServiceClient::new(channel).delete_vip(request).await;
        link.call(&request, call).await
    };
    change(session, &order, send).await
}

async fn change(
    session: &mut Session,
    order: &Order<'_>,
    send: impl AsyncFn(&mut Link) -> Result<Move, CallError>,
) -> Result<Exit, Failure> {
    let (taken, last) = carry_out(session, order, send, |taken: &Move| Some(taken.clone())).await?;
    conclude(session, &last.unwrap_or(taken))
}

fn render(vip: &Vip) -> String {
    let spec = vip.spec.clone().unwrap_or_default();
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<16}{}", one_line(words::or_none(value)));
    };
    line("name", &vip.name);
    line("addresses", &words::addresses(vip));
    line("mode", &mode(&spec));
    line("enabled", if vip.enabled { "yes" } else { "no" });
    line("phase", &words::phase(vip.phase));
    line("holder", &vip.holder);
    line("epoch", &words::epoch(vip.epoch));
    line("attached to", &vip.attached_to);
    line("held since", &vip.held_since.as_ref().map(words::time).unwrap_or_default());
    line("move", &vip.current_move.as_ref().map(headline).unwrap_or_default());
    line("blocked", &vip.blocked_reason);
    line("paused", &vip.paused);
    line("waits for", &waits_for(vip));
    let health: Vec<String> =
        vip.health.iter().map(|one| format!("{}: {}", one.node, one.problem)).collect();
    line("not well at", &health.join("; "));
    line("drift", &drift(vip));
    line("exposed NICs", &vip.exposed_nics.join(" "));
    let candidates: Vec<String> =
        spec.candidates.iter().map(|given| format!("{}={}", given.node, given.priority)).collect();
    let all = "every member and learner".to_owned();
    line("candidates", &if candidates.is_empty() { all } else { candidates.join(" ") });
    let timeout = spec.release_timeout.as_ref().and_then(words::span);
    let timeout =
        timeout.map_or(String::new(), |span| format!(", within {}", words::duration(span)));
    line("release", &format!("{}{timeout}", words::release(spec.release)));
    line("on quorum loss", &words::quorum_loss(spec.on_quorum_loss));
    line("on drift", &words::drift(spec.drift));
    line("failback", &policies::failback(&spec));
    let moved: Vec<String> = vip.budgeted_moves.iter().map(words::time).collect();
    let moved =
        if moved.is_empty() { String::new() } else { format!(", counted: {}", moved.join(", ")) };
    line("flap budget", &format!("{}{moved}", policies::flap_budget(&spec)));
    line("failover", &policies::failover(&spec));
    line("data path", &policies::data_path(&spec));
    line("reached", &reached(vip));
    line("revision", &vip.revision.to_string());
    text.trim_end().to_owned()
}

/// `2026-09-01 12:01:00Z, by n2`
fn reached(vip: &Vip) -> String {
    let at = vip.reached.as_ref().map(words::time);
    at.map_or(String::new(), |at| format!("{at}, by {}", vip.reached_by))
}

/// `load balancer (the holder answers tcp 63001)`
fn mode(spec: &v1::VipSpec) -> String {
    let mode = words::mode(spec.mode);
    spec.probe.as_ref().map_or(mode.clone(), |probe| {
        let protocol = words::probe_protocol(probe.protocol);
        format!("{mode} (the holder answers {protocol} {})", probe.port)
    })
}

/// `a word, until 2026-09-01 12:01:00Z: n1 is silent`
fn waits_for(vip: &Vip) -> String {
    let Some(pending) = &vip.pending_failover else { return String::new() };
    let until = pending.until.as_ref().map(words::time).unwrap_or_default();
    match pending.confirmed {
        None => format!("`vipfence confirm {}`, until {until}: {}", vip.name, pending.reason),
        Some(true) => format!("the move that {} confirmed", pending.answered_by),
        Some(false) => format!("nothing ({}): {}", pending.answered_by, pending.reason),
    }
}

/// `NIC n1-nic lacks 10.5.0.110, since 12:00:00`
fn drift(vip: &Vip) -> String {
    let since = vip.drift_since.as_ref().map(words::time);
    since.map_or(String::new(), |since| format!("{}, since {since}", vip.drift))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests;

    #[test]
    fn a_vip_in_full_has_a_line_for_everything() {
        let text = render(&tests::vip("demo", "n1", 7));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.first().copied(), Some("name            demo"));
        assert!(lines.contains(&"holder          n1"), "{text}");
        assert!(lines.contains(&"blocked         -"), "{text}");
        assert!(lines.contains(&"candidates      every member and learner"), "{text}");
        assert!(lines.contains(&"paused          -"), "{text}");
    }

    #[test]
    fn who_keeps_a_vip_where_it_is_and_where_it_is_not_well_is_shown() {
        let vip = Vip {
            paused: "automatic moves of the cluster are paused by me: patching".to_owned(),
            pending_failover: Some(v1::PendingFailover {
                reason: "n1 is silent".to_owned(),
                until: Some(tests::at(60_000)),
                ..v1::PendingFailover::default()
            }),
            budgeted_moves: vec![tests::at(0)],
            health: vec![v1::VipHealth { node: "n2".to_owned(), problem: "HTTP 503".to_owned() }],
            ..tests::vip("demo", "n1", 7)
        };
        let text = render(&vip);
        for line in [
            "paused          automatic moves of the cluster are paused by me: patching",
            "waits for       `vipfence confirm demo`, until 2026-09-01 12:01:00Z: n1 is silent",
            "not well at     n2: HTTP 503",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in:\n{text}");
        }
        assert!(text.contains(", counted: 2026-09-01 12:00:00Z"), "{text}");
    }
}
