//! `vipfence doctor`: what would go wrong in a failover, with remedies; by the cluster's nodes, or,
//! with `--config`, by this process on a node whose agent need not run. With `--rehearse` it is
//! followed by a move there and back.

use std::{path::Path, time::Duration};

use vipfence_coordinator::api::{Examine, Frontend};
use vipfence_proto::v1::{
    DiagnoseRequest, DiagnoseResponse, Finding, FindingSeverity, LoadBalancerCheck,
    cluster_service_client::ClusterServiceClient,
};

use super::{
    Session,
    args::DoctorArgs,
    exit::Exit,
    failure::Failure,
    link::{Link, Repeat},
    node_file::{self, NodeFile},
    output::Paint,
    rehearse,
    table::one_line,
};
use crate::doctor::Doctor;

/// Nodes wait for what does not answer.
const WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn run(session: &mut Session, args: &DoctorArgs) -> Result<Exit, Failure> {
    if args.json {
        session.out.set_json();
    }
    if let Some(vip) = &args.rehearsal.rehearse {
        return Box::pin(rehearse::run(session, vip, &args.rehearsal)).await;
    }
    let answer = match &args.config {
        Some(config) => alone(config, args).await?,
        None => together(session, args).await?,
    };
    if session.out.is_json() {
        session.out.json(&answer);
    } else {
        print(session, &answer);
    }
    let errors = answer.nodes.iter().any(|node| !node.unreached.is_empty())
        || all(&answer).any(|(_, finding)| finding.severity() == FindingSeverity::Error);
    Ok(if errors { Exit::Failed } else { Exit::Done })
}

/// By the nodes of a running cluster.
async fn together(session: &mut Session, args: &DoctorArgs) -> Result<DiagnoseResponse, Failure> {
    let request = DiagnoseRequest {
        vip: args.vip.clone().unwrap_or_default(),
        this_node_only: args.this_node,
        load_balancer: args.load_balancer.as_ref().map(|id| LoadBalancerCheck {
            frontend_id: id.clone(),
            probe_port: args.probe_port.map_or(0, u32::from),
        }),
        ..DiagnoseRequest::default()
    };
    ask(&mut session.link, &request).await
}

/// Asks a node, which asks the others.
pub(super) async fn ask(
    link: &mut Link,
    request: &DiagnoseRequest,
) -> Result<DiagnoseResponse, Failure> {
    let call = async |channel, request| ClusterServiceClient::new(channel).diagnose(request).await;
    Ok(link.call_with(request, Repeat::Safe, WITHIN, call).await?)
}

/// By this process, with the file of the node.
async fn alone(config: &Path, args: &DoctorArgs) -> Result<DiagnoseResponse, Failure> {
    let NodeFile { config, azure, clocks } = node_file::open(config)?;
    let members = config.nics.iter().map(|nic| nic.id.clone()).collect();
    let doctor = Doctor::new(config, azure, clocks, args.root.clone());
    let ask = Examine {
        addresses: args.address.clone(),
        frontend: args
            .load_balancer
            .as_ref()
            .map(|id| Frontend { id: id.clone(), probe_port: args.probe_port }),
        members,
        whole_cluster: true,
        ..Examine::default()
    };
    let examined = Box::pin(doctor.examine(&ask)).await;
    let node = vipfence_coordinator::api::diagnosis(&examined);
    Ok(DiagnoseResponse { nodes: vec![node], findings: vec![] })
}

/// All findings with their nodes; those of the comparison have none.
pub(super) fn all(answer: &DiagnoseResponse) -> impl Iterator<Item = (&str, &Finding)> {
    let of_nodes = answer
        .nodes
        .iter()
        .flat_map(|node| node.findings.iter().map(move |finding| (node.node.as_str(), finding)));
    of_nodes.chain(answer.findings.iter().map(|finding| ("", finding)))
}

/// Prints it for people.
pub(super) fn print(session: &mut Session, answer: &DiagnoseResponse) {
    let told = told(answer);
    for (finding, nodes) in &told {
        let (word, paint) = word(finding.severity());
        let word = match paint {
            Some(paint) => session.out.painted(word, paint),
            None => word.to_owned(),
        };
        let message = one_line(&finding.message);
        session.out.line(&format!("{word} {} at {}: {message}", finding.check, nodes.join(", ")));
        session.out.line(&format!("    {}", one_line(&finding.remedy)));
    }
    for node in answer.nodes.iter().filter(|node| !node.unreached.is_empty()) {
        session.out.line(&format!("{} did not answer: {}", node.node, one_line(&node.unreached)));
    }
    let line = summary(answer);
    let good = told.is_empty() && answer.nodes.iter().all(|node| node.unreached.is_empty());
    let line = if good { session.out.painted(&line, Paint::Good) } else { line };
    session.out.line(&line);
}

/// The worst first; what several nodes say in the same words is told once.
fn told(answer: &DiagnoseResponse) -> Vec<(&Finding, Vec<&str>)> {
    let mut told: Vec<(&Finding, Vec<&str>)> = Vec::new();
    for (node, finding) in all(answer) {
        let node = if node.is_empty() { "the cluster" } else { node };
        match told.iter_mut().find(|(known, _)| *known == finding) {
            Some((_, nodes)) => nodes.push(node),
            None => told.push((finding, vec![node])),
        }
    }
    told.sort_by_key(|(finding, _)| std::cmp::Reverse(finding.severity));
    told
}

fn word(severity: FindingSeverity) -> (&'static str, Option<Paint>) {
    match severity {
        FindingSeverity::Error => ("ERROR", Some(Paint::Bad)),
        FindingSeverity::Warning => ("warning", None),
        FindingSeverity::Notice | FindingSeverity::Unspecified => ("notice", None),
    }
}

fn summary(answer: &DiagnoseResponse) -> String {
    let names: Vec<&str> = answer.nodes.iter().map(|node| node.node.as_str()).collect();
    let count = |severity| all(answer).filter(|(_, f)| f.severity() == severity).count();
    let (errors, warnings) = (count(FindingSeverity::Error), count(FindingSeverity::Warning));
    let notices = all(answer).count() - errors - warnings;
    format!(
        "{} examined: {errors} errors, {warnings} warnings, {notices} notices",
        names.join(", ")
    )
}
