//! Placeholder until the real module lands; overwrite this file.
#![allow(missing_docs)]
use vipfence_coordinator_core::{HttpFault, HttpRequest, HttpResult};
#[derive(Clone, Debug)]
pub struct Azure;
#[derive(Clone, Debug)]
pub struct AzureConfig;
#[derive(Clone, Debug)]
pub struct ArmHealth {
    pub arm_ok: Option<bool>,
    pub detail: String,
}
impl AzureConfig {
    pub fn new(_: &str, _: &str, _: &str) -> Self {
        Self
    }
    pub fn with_ca_file(self, _: Option<std::path::PathBuf>) -> Self {
        self
    }
    pub fn with_client_id(self, _: Option<String>) -> Self {
        self
    }
}
impl Azure {
    pub fn new(_: AzureConfig, _: crate::ReadClocks) -> Result<Self, HttpFault> {
        Ok(Self)
    }
    pub fn start_keeper(&self) {}
    pub fn health(&self) -> tokio::sync::watch::Receiver<ArmHealth> {
        tokio::sync::watch::channel(ArmHealth { arm_ok: None, detail: String::new() }).1
    }
    pub async fn send(&self, _request: HttpRequest) -> HttpResult {
        Err(HttpFault::NotSent(String::new()))
    }
}
