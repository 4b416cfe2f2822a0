//! Documents of NICs: from files, or from Azure with this node's identity.

use std::{
    collections::BTreeSet,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;
use vipfence_coordinator_core::{HttpId, HttpRequest, Problem};
use vipfence_types::NicId;

use crate::cli::{
    exit::Exit,
    failure::Failure,
    node_file::{self, NodeFile},
};

/// The documents in these files, `-` = standard input: one, a list, or a page of ARM's.
pub(super) fn of_files(paths: &[PathBuf]) -> Result<Vec<Value>, Failure> {
    let mut documents = Vec::new();
    for path in paths {
        let refuse = |why: String| {
            let failure = Failure::new(Exit::Usage, format!("{}: {why}", path.display()));
            failure.help("give what `az network nic show --ids ID... -o json` prints")
        };
        let text = read(path).map_err(|error| refuse(error.to_string()))?;
        let value: Value =
            serde_json::from_str(&text).map_err(|error| refuse(format!("not JSON: {error}")))?;
        documents.extend(documents_in(value).map_err(refuse)?);
    }
    Ok(documents)
}

fn read(path: &Path) -> std::io::Result<String> {
    if path != Path::new("-") {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn documents_in(mut value: Value) -> Result<Vec<Value>, String> {
    let list = match value.get_mut("value").map(Value::take).unwrap_or(value) {
        Value::Array(list) => list,
        one => vec![one],
    };
    let is_nic = |document: &Value| {
        let id = document.get("id").and_then(Value::as_str);
        id.is_some_and(|id| NicId::new(id).is_well_formed())
    };
    match list.iter().position(|document| !is_nic(document)) {
        Some(at) => Err(format!("document {} has no `id` of a network interface", at + 1)),
        None => Ok(list),
    }
}

/// What Azure gave of the NICs.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// This node's NICs.
    pub(super) own: Vec<NicId>,
    pub(super) documents: Vec<Value>,
    /// Why some are missing.
    pub(super) problems: Vec<String>,
}

/// Reads these NICs and the node's own as its agent does.
pub(super) async fn of_azure(config: &Path, nics: &[NicId]) -> Result<Read, Failure> {
    let NodeFile { config, azure, .. } = node_file::open(config)?;
    let mut read =
        Read { own: config.nics.iter().map(|nic| nic.id.clone()).collect(), ..Read::default() };
    let all: BTreeSet<NicId> = nics.iter().chain(&read.own).cloned().collect();
    for (id, nic) in (1..).zip(all) {
        let request = HttpRequest::get(
            HttpId(id),
            format!("{}?api-version={}", nic.as_str(), config.azure.api_version),
        );
        match azure.send(request).await {
            Ok(answer) if answer.status == 200 => read.documents.push(answer.body),
            Ok(answer) => {
                let (problem, _) = Problem::of_answer(&answer);
                read.problems.push(format!("{}: {problem}", nic.name()));
            }
            Err(fault) => read.problems.push(format!("{}: {fault}", nic.name())),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str =
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n";

    #[test]
    fn one_document_a_list_and_a_page_are_read() {
        let one = json!({"id": ID});
        for value in [one.clone(), json!([one.clone()]), json!({"value": [one.clone()]})] {
            assert_eq!(documents_in(value), Ok(vec![one.clone()]));
        }
        let error = "document 2 has no `id` of a network interface".to_owned();
        assert_eq!(documents_in(json!([one, {"id": "/x"}])), Err(error));
    }
}
