//! `vipfence vip`: defining VIPs, looking at them, placing and unplacing them.

use std::fmt::Write as _;

use vipfence_proto::v1::{
    self, CreateVipRequest, DeleteVipRequest, DisableVipRequest, DriftPolicy, EnableVipRequest,
    GetVipRequest, ListVipsRequest, ListVipsResponse, Move, ProbeProtocol, QuorumLossPolicy,
    ReleasePolicy, Vip, VipMode, vip_service_client::VipServiceClient,
};

use super::{
    Session,
    args::{ChangeArgs, CreateArgs, DriftArg, QuorumLossArg, ReleaseArg},
    execute::{Order, carry_out, conclude},
    exit::Exit,
    failure::Failure,
    link::{CallError, Link},
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
    let candidates = args
        .candidates
        .iter()
        .map(|given| v1::Candidate { node: given.node.clone(), priority: given.priority });
    let release = match args.release {
        ReleaseArg::Late => ReleasePolicy::Late,
        ReleaseArg::Early => ReleasePolicy::Early,
    };
    let on_quorum_loss = match args.on_quorum_loss {
        QuorumLossArg::Release => QuorumLossPolicy::Release,
        QuorumLossArg::Hold => QuorumLossPolicy::Hold,
    };
    let drift = match args.drift {
        DriftArg::Repair => DriftPolicy::Repair,
        DriftArg::Report => DriftPolicy::Report,
    };
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
    v1::VipSpec {
        addresses: addresses.collect(),
        mode: mode.into(),
        probe,
        candidates: candidates.collect(),
        release: release.into(),
        // `parse::duration` takes no more than a day, which always fits.
        release_timeout: args.release_timeout.and_then(|timeout| timeout.try_into().ok()),
        on_quorum_loss: on_quorum_loss.into(),
        drift: drift.into(),
    }
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
    line("revision", &vip.revision.to_string());
    text.trim_end().to_owned()
}

/// `load balancer (the holder answers tcp 63001)`
fn mode(spec: &v1::VipSpec) -> String {
    let mode = words::mode(spec.mode);
    spec.probe.as_ref().map_or(mode.clone(), |probe| {
        let protocol = words::probe_protocol(probe.protocol);
        format!("{mode} (the holder answers {protocol} {})", probe.port)
    })
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
    }
}
