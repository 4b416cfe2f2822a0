//! `vipfence azure role`: the role that the nodes' identities need in Azure, for the NICs that this
//! cluster has and for what those refer to.
//!
//! The NICs are those that the nodes report to the cluster. What they refer to stands in their
//! documents: files that somebody with rights has fetched, or what this node's own identity may
//! read. Nothing is written anywhere; which rights there are to have is the coordinator's to say
//! (`Rights`).

mod documents;
mod role;

use vipfence_coordinator_core::Rights;
use vipfence_proto::v1::{Consistency, GetStatusResponse};
use vipfence_types::NicId;

use super::{
    Session,
    args::{RoleArgs, RoleFormat, RoleScope},
    exit::Exit,
    failure::Failure,
    status,
};
use role::RoleDocument;

/// Prints the role, and on standard error what to do with it.
pub(super) async fn role(session: &mut Session, args: &RoleArgs) -> Result<Exit, Failure> {
    let given = documents::of_files(&args.nic_documents)?;
    let has_own_sources = !given.is_empty() || args.config.is_some();
    let cluster = match known_cluster(session).await {
        Ok(cluster) => Some(cluster),
        Err(failure) if has_own_sources => {
            let said = format!("{}; only NICs named otherwise are covered", failure.message);
            session.out.note(&said);
            None
        }
        Err(failure) => return Err(failure.help(SOURCES)),
    };
    let mut nics: Vec<NicId> = cluster.iter().flat_map(nics_of).collect();
    let mut documents = given;
    if let Some(path) = &args.config {
        let read = documents::of_azure(path, &nics).await?;
        nics.extend(read.own);
        documents.extend(read.documents);
        read.problems.iter().for_each(|problem| session.out.note(problem));
    }
    let mut rights = Rights::of(&nics, &documents);
    if !args.no_doctor {
        rights = rights.with_doctor();
    }
    for scope in &args.scopes {
        let refuse = |error: vipfence_coordinator_core::UnknownScope| {
            Failure::new(Exit::Usage, format!("--scope: {error}"))
        };
        rights.add(scope).map_err(refuse)?;
    }
    if rights.nics().next().is_none() {
        let failure = Failure::new(Exit::Refused, "no NIC is known: no node has reported one");
        return Err(failure.help(SOURCES));
    }
    let name = cluster.as_ref().map_or("", |cluster| cluster.cluster.as_str());
    let name = args.name.clone().unwrap_or_else(|| format!("vipfence {name}").trim().to_owned());
    let document = RoleDocument::new(name, rights, args.assign == RoleScope::Resources);
    session.out.text(&match args.format {
        RoleFormat::Json => document.json(),
        RoleFormat::Bicep => document.bicep(),
    });
    session.out.note(&document.next_steps(args.format));
    Ok(Exit::Done)
}

const SOURCES: &str = "name a node with --endpoint, or give the NICs: --nic-documents FILE with \
                       what `az network nic show --ids ID...` prints, or --config FILE on a node";

/// As a majority knows it, or else as the node that answers does: NICs hardly ever change.
async fn known_cluster(session: &mut Session) -> Result<GetStatusResponse, Failure> {
    match status::ask(session, Consistency::Linearizable).await {
        Err(error) if error.is_passing() => {
            let why = Failure::from(error);
            status::ask(session, Consistency::Local).await.map_err(|_| why)
        }
        answer => Ok(answer?),
    }
}

fn nics_of(cluster: &GetStatusResponse) -> impl Iterator<Item = NicId> {
    let nics = cluster.nodes.iter().flat_map(|node| &node.nics);
    nics.map(|nic| NicId::new(&nic.id)).filter(NicId::is_well_formed)
}
