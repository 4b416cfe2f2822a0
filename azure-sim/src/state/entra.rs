//! As much of Microsoft Entra as log-ins of applications need: where the token endpoint is, and
//! tokens for a secret or for somebody else's signed word (workload identity federation).
//!
//! It verifies no signature: an assertion counts by what it says.

use serde_json::{Value, json};

use super::config::ApplicationConfig;
use super::http::{ArmRequest, ArmResponse};
use super::identity::claims;
use super::route::Route;
use super::world::World;

/// Longest life of an application's token. `[S]` 60 to 90 minutes.
const LIFE_S: u64 = 3_599;

/// In place of a tenant's id. `[S]` `az logout` asks for `organizations`. `[W]`
const ANY_TENANT: [&str; 2] = ["organizations", "common"];

/// `[S]` the form; texts from Microsoft's list of `AADSTS` codes.
fn refuse(status: u16, error: &str, code: u32, why: &str) -> ArmResponse {
    ArmResponse::new(
        status,
        json!({
            "error": error,
            "error_description": format!("AADSTS{code}: {why}"),
            "error_codes": [code],
        }),
    )
}

impl World {
    /// The answer to a request that needs no token, if it is one.
    pub(crate) fn open(
        &mut self,
        request: &ArmRequest,
        route: &Route,
        base: &str,
    ) -> Option<ArmResponse> {
        match route {
            Route::Endpoints => Some(ArmResponse::new(200, self.endpoints(base))),
            Route::OpenId { tenant } => Some(self.open_id(tenant, base)),
            Route::Token { tenant } => {
                Some(self.log_in(tenant, request).unwrap_or_else(|refusal| refusal))
            }
            Route::Subscriptions | Route::Subscription { .. } | Route::Unknown => None,
        }
    }

    fn check_tenant(&self, tenant: &str) -> Result<(), ArmResponse> {
        if tenant.eq_ignore_ascii_case(&self.config.tenant) {
            return Ok(());
        }
        let why = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and \
             are signing into the correct cloud."
        );
        Err(refuse(400, "invalid_tenant", 90_002, &why))
    }

    fn open_id(&self, tenant: &str, base: &str) -> ArmResponse {
        // The issuer of those that stand for any tenant is a template. `[S]`
        let issuer = if ANY_TENANT.iter().any(|any| tenant.eq_ignore_ascii_case(any)) {
            format!("{base}/{{tenantid}}/v2.0")
        } else if let Err(refusal) = self.check_tenant(tenant) {
            return refusal;
        } else {
            format!("{base}/{tenant}/v2.0")
        };
        ArmResponse::new(
            200,
            json!({
                "issuer": issuer,
                "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
                "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
                "device_authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/devicecode"),
                "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
            }),
        )
    }

    fn log_in(&mut self, tenant: &str, request: &ArmRequest) -> Result<ArmResponse, ArmResponse> {
        if request.method != "POST" {
            return Err(refuse(405, "invalid_request", 900_561, "The endpoint only accepts POST."));
        }
        self.check_tenant(tenant)?;
        let field = |name: &str| {
            request.body.as_ref().and_then(|form| form.get(name)).and_then(Value::as_str)
        };
        if field("grant_type") != Some("client_credentials") {
            let why = "The grant type is not supported over the /common or tenant endpoint.";
            return Err(refuse(400, "unsupported_grant_type", 70_003, why));
        }
        let client = field("client_id").unwrap_or_default();
        let application =
            self.config.applications.iter().find(|a| a.client_id.eq_ignore_ascii_case(client));
        let application = application.ok_or_else(|| {
            let why = format!(
                "Application with identifier '{client}' was not found in the directory '{tenant}'."
            );
            refuse(400, "unauthorized_client", 700_016, &why)
        })?;
        match field("client_assertion") {
            Some(assertion) => check_assertion(application, assertion)?,
            None => check_secret(application, field("client_secret"))?,
        }
        let scope = field("scope").unwrap_or_default();
        let resource = scope.strip_suffix("/.default").ok_or_else(|| {
            let why = format!("The provided value for scope {scope} is not valid.");
            refuse(400, "invalid_scope", 1_002_012, &why)
        })?;
        let key = application.key();
        Ok(self.application_token(&key, resource))
    }

    /// Numbers here are numbers, not strings as those of IMDS. `[S]`
    fn application_token(&mut self, key: &str, resource: &str) -> ArmResponse {
        let life_s = self.settings.token_life_s.min(LIFE_S);
        let unix_ms = self.unix_ms();
        let identity = self.identities.get_mut(key).expect("each application is built with one");
        let (tenant, guids) = (&self.config.tenant, &mut self.guids);
        let token =
            identity.token(tenant, resource, unix_ms, life_s.saturating_mul(1_000), false, guids);
        ArmResponse::new(
            200,
            json!({
                "token_type": "Bearer",
                "expires_in": life_s,
                "ext_expires_in": life_s,
                "access_token": token.text,
            }),
        )
    }
}

fn check_secret(application: &ApplicationConfig, secret: Option<&str>) -> Result<(), ArmResponse> {
    if secret.is_some() && application.secret.as_deref() == secret {
        return Ok(());
    }
    let why = format!(
        "Invalid client secret provided. Ensure the secret being sent in the request is the \
         client secret value, not the client secret ID, for a secret added to app '{}'.",
        application.client_id
    );
    Err(refuse(401, "invalid_client", 7_000_215, &why))
}

fn check_assertion(application: &ApplicationConfig, assertion: &str) -> Result<(), ArmResponse> {
    let said = claims(assertion).unwrap_or_default();
    let (issuer, subject) = (said["iss"].as_str(), said["sub"].as_str());
    let federated = application.federated.as_ref();
    if federated.is_some_and(|f| issuer == Some(&f.issuer) && subject == Some(&f.subject)) {
        return Ok(());
    }
    let why = format!(
        "No matching federated identity record found for presented assertion. Assertion Issuer: \
         '{}'. Assertion Subject: '{}'.",
        issuer.unwrap_or_default(),
        subject.unwrap_or_default()
    );
    Err(refuse(401, "invalid_client", 70_021, &why))
}
