//! Refusals in Azure's words.
//!
//! The network provider's envelope always has `details`, that of ARM's front door never. `[W]`

use serde_json::{Value, json};

use super::http::ArmResponse;

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArmError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// `None`: ARM's front door speaks.
    details: Option<Vec<(String, String)>>,
    headers: Vec<(&'static str, String)>,
    /// The action that was missing.
    pub(crate) denied: Option<&'static str>,
}

impl ArmError {
    /// A refusal by the network provider.
    pub(crate) fn network(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            details: Some(Vec::new()),
            headers: Vec::new(),
            denied: None,
        }
    }

    /// A refusal by ARM's front door.
    pub(crate) fn front_door(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { details: None, ..Self::network(status, code, message) }
    }

    pub(crate) fn with_detail(mut self, code: &str, message: impl Into<String>) -> Self {
        self.details.get_or_insert_default().push((code.to_owned(), message.into()));
        self
    }

    fn denying(self, action: &'static str) -> Self {
        Self { denied: Some(action), ..self }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The object below `error`.
    pub(crate) fn value(&self) -> Value {
        let mut value = json!({"code": self.code, "message": self.message});
        if let Some(details) = &self.details {
            value["details"] = details
                .iter()
                .map(|(code, message)| json!({"code": code, "message": message}))
                .collect();
        }
        value
    }

    pub(crate) fn response(&self) -> ArmResponse {
        let mut response = ArmResponse::new(self.status, json!({"error": self.value()}));
        for (name, value) in &self.headers {
            response = response.with_header(name, value);
        }
        response
    }

    /// `[W]`
    pub(crate) fn resource_not_found(kind: &str, name: &str, group: &str) -> Self {
        Self::front_door(
            404,
            "ResourceNotFound",
            format!(
                "The Resource '{kind}/{name}' under resource group '{group}' was not found. For \
                 more details please go to https://aka.ms/ARMResourceNotFoundFix"
            ),
        )
    }

    /// `[R]` the code, `[I]` the text.
    pub(crate) fn bad_content(why: impl std::fmt::Display) -> Self {
        Self::network(
            400,
            "InvalidRequestContent",
            format!("The request content was invalid and could not be deserialized: '{why}'."),
        )
    }

    /// The real text of one public IP's refusal. `[R]` kubernetes-sigs/cloud-provider-azure#9729
    pub(crate) fn precondition(sent: &str, present: &str, id: &str) -> Self {
        Self::network(412, "PreconditionFailed", "Precondition failed.").with_detail(
            "PreconditionFailedEtagMismatch",
            format!(
                "Etag provided in if-match header {sent} does not match etag {present} of \
                 resource {id}"
            ),
        )
    }

    /// `[R]` coreos/tectonic-installer#1954
    pub(crate) fn no_join(
        client: &str,
        object: &str,
        scope: &str,
        (action, linked): (&'static str, &str),
    ) -> Self {
        Self::front_door(
            403,
            "LinkedAuthorizationFailed",
            format!(
                "The client '{client}' with object id '{object}' has permission to perform action \
                 'Microsoft.Network/networkInterfaces/write' on scope '{scope}'; however, it does \
                 not have permission to perform action '{action}' on the linked scope(s) \
                 '{linked}' or the linked scope(s) are invalid."
            ),
        )
        .denying(action)
    }

    /// `[W]` the code, `[I]` the text.
    pub(crate) fn no_rights(client: &str, object: &str, action: &'static str, scope: &str) -> Self {
        Self::front_door(
            403,
            "AuthorizationFailed",
            format!(
                "The client '{client}' with object id '{object}' does not have authorization to \
                 perform action '{action}' over scope '{scope}' or the scope is invalid. If \
                 access was recently granted, please refresh your credentials."
            ),
        )
        .denying(action)
    }
}
