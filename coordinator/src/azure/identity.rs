//! Who this node is for Azure: which credential of `azure_identity` is asked for tokens.
//!
//! A credential is made anew for each fetch, since each keeps tokens of its own; a secret or a
//! federated token that was replaced in its file is used at the next fetch, without a restart.

use std::{path::PathBuf, sync::Arc};

use azure_core::{
    cloud::CustomConfiguration,
    credentials::{Secret, TokenCredential},
    http::{ClientOptions, HttpClient, Transport},
};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};

/// Who this node is for Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A managed identity of the VM.
    Managed {
        /// The client id of a user-assigned one; none = the system-assigned one.
        client_id: Option<String>,
    },
    /// A federated token (Kubernetes), by which Entra knows an application.
    Workload {
        /// The tenant; none = `AZURE_TENANT_ID`.
        tenant_id: Option<String>,
        /// The application; none = `AZURE_CLIENT_ID`.
        client_id: Option<String>,
        /// The token's file; none = `AZURE_FEDERATED_TOKEN_FILE`.
        token_file: Option<PathBuf>,
    },
    /// An application with a secret.
    Secret {
        /// The tenant.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// The file that has the secret, and nothing else.
        secret_file: PathBuf,
    },
    /// Whoever is logged in with `az`: for trying out.
    AzCli {
        /// The tenant; none = az's own.
        tenant_id: Option<String>,
    },
}

impl Identity {
    /// In errors.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Managed { .. } => "the managed identity",
            Self::Workload { .. } => "the workload identity",
            Self::Secret { .. } => "the application with a client secret",
            Self::AzCli { .. } => "the log-in of az",
        }
    }

    /// Whether tokens come from the sign-in service; else from the metadata service, or from az.
    pub(super) fn signs_in(&self) -> bool {
        match self {
            Self::Workload { .. } | Self::Secret { .. } => true,
            Self::Managed { .. } | Self::AzCli { .. } => false,
        }
    }

    /// The credential, with a transport that leads to who gives its tokens.
    pub(super) fn credential(
        &self,
        transport: &Arc<dyn HttpClient>,
    ) -> Result<Arc<dyn TokenCredential>, String> {
        let told = |error: azure_core::Error| error.to_string();
        let client_options = client_options(transport);
        Ok(match self {
            Self::Managed { client_id } => {
                let options = ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                    client_options,
                };
                ManagedIdentityCredential::new(Some(options)).map_err(told)?
            }
            Self::Workload { tenant_id, client_id, token_file } => {
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    client_id: client_id.clone(),
                    tenant_id: tenant_id.clone(),
                    token_file_path: token_file.clone(),
                };
                WorkloadIdentityCredential::new(Some(options)).map_err(told)?
            }
            Self::Secret { tenant_id, client_id, secret_file } => {
                let secret = std::fs::read_to_string(secret_file)
                    .map_err(|error| format!("{}: {error}", secret_file.display()))?;
                let secret = secret.trim();
                if secret.is_empty() {
                    return Err(format!("{} is empty", secret_file.display()));
                }
                ClientSecretCredential::new(
                    tenant_id,
                    client_id.clone(),
                    Secret::from(secret.to_owned()),
                    Some(ClientSecretCredentialOptions { client_options }),
                )
                .map_err(told)?
            }
            Self::AzCli { tenant_id } => {
                let options = AzureCliCredentialOptions {
                    tenant_id: tenant_id.clone(),
                    ..AzureCliCredentialOptions::default()
                };
                AzureCliCredential::new(Some(options)).map_err(told)?
            }
        })
    }
}

fn client_options(transport: &Arc<dyn HttpClient>) -> ClientOptions {
    let mut cloud = CustomConfiguration::default();
    // Only its path counts: the transport knows where the sign-in service is.
    cloud.authority_host = "https://authority.invalid".to_owned();
    ClientOptions {
        transport: Some(Transport::new(Arc::clone(transport))),
        cloud: Some(Arc::new(cloud.into())),
        ..ClientOptions::default()
    }
}
