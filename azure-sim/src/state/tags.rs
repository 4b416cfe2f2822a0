//! The tags of a NIC as a resource of their own, as `az tag` and the portal write them. `[S]`

use serde_json::{Map, Value, json};

use super::error::ArmError;
use super::http::ArmResponse;
use super::nic::parse_tags;
use super::world::World;
use super::write::Write;

impl World {
    pub(crate) fn get_tags(&self, reference: &str) -> Result<ArmResponse, ArmError> {
        let nic = self.find_nic(reference)?;
        let id = format!("{}/providers/Microsoft.Resources/tags/default", nic.id);
        Ok(ArmResponse::new(
            200,
            json!({
                "id": id,
                "name": "default",
                "type": "Microsoft.Resources/tags",
                "properties": {"tags": nic.goal.tags},
            }),
        ))
    }

    /// PUT, PATCH or DELETE. What the network provider makes of it is a tag PATCH to the NIC. `[I]`
    pub(crate) fn write_tags(
        &mut self,
        reference: &str,
        method: &str,
        write: &Write<'_>,
    ) -> Result<ArmResponse, ArmError> {
        let nic = self.find_nic(reference)?;
        if self.settings.patch_waits_for_operation {
            self.check_idle(nic, write)?;
        }
        let tags = match method {
            "DELETE" => Map::new(),
            _ => changed(&nic.goal.tags, method, write.body)?,
        };
        self.set_tags(&reference.to_ascii_lowercase(), tags);
        self.get_tags(reference)
    }
}

fn changed(
    present: &Map<String, Value>,
    method: &str,
    body: Option<&Value>,
) -> Result<Map<String, Value>, ArmError> {
    let sent = parse_tags(body.and_then(|body| body["properties"].get("tags")))?;
    let operation = body.and_then(|body| body["operation"].as_str()).unwrap_or_default();
    let mut tags = present.clone();
    match (method, operation.to_ascii_lowercase().as_str()) {
        ("PUT", _) | (_, "replace") => return Ok(sent),
        (_, "merge") => tags.extend(sent),
        (_, "delete") => tags.retain(|name, value| sent.get(name) != Some(value)),
        _ => return Err(ArmError::bad_content("operation is none of Replace, Merge, Delete")),
    }
    Ok(tags)
}
