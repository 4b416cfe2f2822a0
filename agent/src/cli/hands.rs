//! `vipfence pause`, `resume` and `confirm`: what an operator says about moves that the leader would
//! make by itself. Each may be repeated without harm, so that none needs a request id.

use vipfence_proto::v1::{
    ConfirmFailoverRequest, PauseRequest, PauseScope, ResumeRequest,
    cluster_service_client::ClusterServiceClient, pause_scope::Of,
    vip_service_client::VipServiceClient,
};

use super::{
    Session,
    args::{ConfirmArgs, PauseArgs, ResumeArgs, ScopeArgs},
    exit::Exit,
    failure::Failure,
    words,
};

fn scope(args: &ScopeArgs) -> PauseScope {
    let of = match (&args.vip, &args.node) {
        (Some(vip), _) => Of::Vip(vip.clone()),
        (None, Some(node)) => Of::Node(node.clone()),
        (None, None) => Of::Cluster(args.cluster),
    };
    PauseScope { of: Some(of) }
}

/// `of VIP demo`, and the options that name it again.
fn told(args: &ScopeArgs) -> (String, String) {
    match (&args.vip, &args.node) {
        (Some(vip), _) => (format!("of VIP {vip}"), format!("--vip {vip}")),
        (None, Some(node)) => (format!("of node {node}"), format!("--node {node}")),
        (None, None) => ("of the cluster".to_owned(), "--cluster".to_owned()),
    }
}

/// Pauses automatic moves.
pub(super) async fn pause(session: &mut Session, args: &PauseArgs) -> Result<Exit, Failure> {
    let request = PauseRequest {
        scope: Some(scope(&args.scope)),
        lasts: args.lasts.and_then(|lasts| lasts.try_into().ok()),
        reason: args.reason.clone(),
    };
    let call = async |channel, request| ClusterServiceClient::new(channel).pause(request).await;
    let answer = session.link.call(&request, call).await?;
    if session.out.is_json() {
        session.out.json(&answer);
        return Ok(Exit::Done);
    }
    let (of, again) = told(&args.scope);
    let until = answer.pause.and_then(|pause| pause.until);
    let until = match until {
        Some(until) => format!("until {}, or `vipfence resume {again}`", words::time(&until)),
        None => format!("until `vipfence resume {again}`"),
    };
    session.out.line(&format!("automatic moves {of} are paused {until}"));
    Ok(Exit::Done)
}

/// Goes on with automatic moves.
pub(super) async fn resume(session: &mut Session, args: &ResumeArgs) -> Result<Exit, Failure> {
    let request = ResumeRequest { scope: Some(scope(&args.scope)) };
    let call = async |channel, request| ClusterServiceClient::new(channel).resume(request).await;
    let answer = session.link.call(&request, call).await?;
    if session.out.is_json() {
        session.out.json(&answer);
    } else {
        session.out.line(&format!("automatic moves {} go on", told(&args.scope).0));
    }
    Ok(Exit::Done)
}

/// Answers a failover that waits.
pub(super) async fn confirm(session: &mut Session, args: &ConfirmArgs) -> Result<Exit, Failure> {
    let request = ConfirmFailoverRequest { vip: args.vip.clone(), decline: args.no };
    let call =
        async |channel, request| VipServiceClient::new(channel).confirm_failover(request).await;
    let answer = session.link.call(&request, call).await?;
    if session.out.is_json() {
        session.out.json(&answer);
    } else if args.no {
        session.out.line(&format!(
            "{0} stays where it is; `vipfence confirm {0}` moves it after all",
            args.vip
        ));
    } else {
        let to_see = format!("`vipfence watch {}` shows how it goes", args.vip);
        session.out.line(&format!("the failover of {} is confirmed; {to_see}", args.vip));
    }
    Ok(Exit::Done)
}
