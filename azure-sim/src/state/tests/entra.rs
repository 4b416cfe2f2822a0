//! Log-ins of applications.

use super::*;

const SECRET: &str = "secret+/=";

/// One application with a secret, one that a Kubernetes cluster speaks for.
fn bench() -> Bench {
    let application = |name: &str| ApplicationConfig {
        name: name.to_owned(),
        client_id: format!("client-of-{name}"),
        secret: None,
        federated: None,
    };
    let (issuer, subject) = ("https://cluster.test".to_owned(), "system:serviceaccount".to_owned());
    let mut config = WorldConfig::nodes(1);
    config.applications = vec![
        ApplicationConfig { secret: Some(SECRET.to_owned()), ..application("app") },
        ApplicationConfig {
            federated: Some(FederationConfig { issuer, subject }),
            ..application("pod")
        },
    ];
    Bench::of(config)
}

impl Bench {
    fn log_in(&mut self, tenant: &str, client: &str, proof: &str) -> ArmResponse {
        let form = format!(
            "client_id={client}&grant_type=client_credentials&{proof}\
             &scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
        );
        let request = ArmRequest::new("POST", format!("/{tenant}/oauth2/v2.0/token"));
        match self.world.arm(self.now, request.with_form(&form)) {
            ArmOutcome::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn not_logged_in(&mut self, tenant: &str, client: &str, proof: &str, code: u32) {
        let answer = self.log_in(tenant, client, proof).body.expect("a body");
        assert_eq!(answer["error_codes"], json!([code]), "{answer}");
        let text = answer["error_description"].as_str().expect("a text");
        assert!(text.starts_with(&format!("AADSTS{code}: ")), "{text}");
    }
}

#[test]
fn the_document_of_a_tenant_says_where_tokens_are_had() {
    let mut bench = bench();
    let tenant = bench.world.config().tenant.clone();
    let path = format!("/{tenant}/v2.0/.well-known/openid-configuration");
    let request = ArmRequest::new("GET", path).with_header("host", "localhost:1");
    let ArmOutcome::Answer(answer) =
        bench.world.arm(bench.now, ArmRequest { tls: true, ..request })
    else {
        panic!("lost")
    };
    let document = answer.body.expect("a document");
    let endpoint = format!("https://localhost:1/{tenant}/oauth2/v2.0/token");
    assert_eq!(document["token_endpoint"], endpoint);
    assert_eq!(document["issuer"], format!("https://localhost:1/{tenant}/v2.0"));
}

#[test]
fn az_finds_a_document_for_any_tenant_when_it_logs_out() {
    let mut bench = bench();
    let path = "/organizations/v2.0/.well-known/openid-configuration";
    let request = ArmRequest::new("GET", path).with_header("host", "localhost:1");
    let ArmOutcome::Answer(answer) = bench.world.arm(bench.now, request) else { panic!("lost") };
    assert_eq!(answer.body.expect("a document")["issuer"], "http://localhost:1/{tenantid}/v2.0");
    bench.not_logged_in("organizations", "client-of-app", "client_secret=x", 90_002);
}

#[test]
fn an_application_logs_in_with_its_secret_and_may_then_ask() {
    let mut bench = bench();
    let tenant = bench.world.config().tenant.clone();
    let answer = bench.log_in(&tenant, "client-of-app", "client_secret=secret%2B%2F%3D");
    assert_eq!(answer.status, 200);
    let answer = answer.body.expect("a body");
    assert_eq!(answer["expires_in"], 3_599);
    let token = answer["access_token"].as_str().expect("a token").to_owned();
    let body = bench.nic("n1-nic");
    let request = bench.put_request("n1-nic", body).with_token(&token);
    assert!(
        matches!(bench.world.arm(bench.now, request), ArmOutcome::Answer(a) if a.status == 200)
    );
    assert_eq!(bench.last_write().principal.as_deref(), Some("app"));
    let writes = bench.world.journal_after(0).count();
    assert_eq!(writes, 1, "a log-in writes nothing");
}

#[test]
fn a_federated_application_logs_in_with_the_word_of_its_issuer() {
    // {"iss":"https://cluster.test","sub":"system:serviceaccount"}, then another subject.
    let good =
        "e30.eyJpc3MiOiJodHRwczovL2NsdXN0ZXIudGVzdCIsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudCJ9.x";
    let other = "e30.eyJpc3MiOiJodHRwczovL2NsdXN0ZXIudGVzdCIsInN1YiI6Im90aGVyIn0.x";
    let mut bench = bench();
    let tenant = bench.world.config().tenant.clone();
    let answer = bench.log_in(&tenant, "client-of-pod", &format!("client_assertion={good}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    for wrong in [other, "no-token"] {
        let proof = format!("client_assertion={wrong}");
        bench.not_logged_in(&tenant, "client-of-pod", &proof, 70_021);
        bench.not_logged_in(&tenant, "client-of-app", &proof, 70_021);
    }
}

#[test]
fn nobody_else_logs_in() {
    let mut bench = bench();
    let tenant = bench.world.config().tenant.clone();
    bench.not_logged_in(&tenant, "client-of-app", "client_secret=wrong", 7_000_215);
    bench.not_logged_in(&tenant, "client-of-app", "x=y", 7_000_215);
    bench.not_logged_in(&tenant, "client-of-pod", "client_secret=", 7_000_215);
    bench.not_logged_in(&tenant, "client-of-none", "client_secret=x", 700_016);
    bench.not_logged_in("other", "client-of-app", "client_secret=secret%2B%2F%3D", 90_002);
}
