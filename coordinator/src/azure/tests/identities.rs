//! Who a node can be: what is sent to the sign-in service, and what it says when it refuses.

use axum::extract::Path as UrlPath;
use axum::routing::post;

use super::*;

const TENANT: &str = "00000000-0000-0000-0000-00000000000a";
const CLIENT: &str = "00000000-0000-0000-0000-00000000000b";

/// A sign-in service that knows one secret and one federated token.
#[derive(Default)]
struct Entra {
    forms: Mutex<Vec<String>>,
}

async fn sign_in(
    State(entra): State<Arc<Entra>>,
    UrlPath(tenant): UrlPath<String>,
    form: String,
) -> impl IntoResponse {
    let good = tenant == TENANT
        && (form.contains("client_secret=s3cret&") || form.contains("client_assertion=federated&"));
    entra.forms.lock().expect("no panic").push(form);
    if good {
        let body = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "token-1"});
        return (StatusCode::OK, body.to_string());
    }
    let told = "AADSTS7000215: Invalid client secret provided. Trace ID: 1 Correlation ID: 2";
    let body =
        json!({"error": "invalid_client", "error_description": told, "error_codes": [7_000_215]});
    (StatusCode::UNAUTHORIZED, body.to_string())
}

async fn entra() -> (Arc<Entra>, String) {
    let entra = Arc::new(Entra::default());
    let router =
        Router::new().route("/{tenant}/oauth2/v2.0/token", post(sign_in)).with_state(entra.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (entra, format!("http://{address}/"))
}

fn azure_as(
    arm: SocketAddr,
    authority: &str,
    identity: Identity,
) -> Result<Azure, AzureSetupError> {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = AzureConfig::new(&format!("http://{arm}"), "http://127.0.0.1:1", "https://arm/")
        .with_authority(authority)
        .with_identity(identity);
    let azure = Azure::new(config, Arc::new(now))?;
    azure.start_keeper();
    Ok(azure)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

fn secret(file: &tempfile::NamedTempFile) -> Identity {
    Identity::Secret {
        tenant_id: TENANT.to_owned(),
        client_id: CLIENT.to_owned(),
        secret_file: file.path().to_owned(),
    }
}

#[tokio::test]
async fn a_client_secret_is_read_from_its_file_and_signs_in() {
    let ((_, arm), (entra, authority)) = (site().await, entra().await);
    let file = file("s3cret\n");
    let azure = azure_as(arm, &authority, secret(&file)).expect("set up");
    assert_eq!(azure.send(get_request("/nic")).await.expect("answered").status, 200);
    let forms = entra.forms.lock().expect("no panic").clone();
    assert_eq!(forms.len(), 1);
    for piece in [CLIENT, "grant_type=client_credentials", "scope=https%3A%2F%2Farm%2F%2F.default"]
    {
        assert!(forms[0].contains(piece), "{piece} in {}", forms[0]);
    }
}

#[tokio::test]
async fn a_secret_that_was_replaced_is_used_without_a_restart() {
    let ((_, arm), (_, authority)) = (site().await, entra().await);
    let file = file("old");
    let azure = azure_as(arm, &authority, secret(&file)).expect("set up");
    let Err(HttpFault::NotSent(why)) = azure.send(get_request("/nic")).await else {
        panic!("an old secret was accepted")
    };
    assert!(why.contains("there is no token of the application with a client secret"), "{why}");
    assert!(why.contains("the sign-in service at http://127.0.0.1"), "{why}");
    assert!(why.ends_with("answers 401: AADSTS7000215: Invalid client secret provided."), "{why}");
    std::fs::write(file.path(), "s3cret").expect("written");
    let answer = timeout_of(async {
        loop {
            if let Ok(answer) = azure.send(get_request("/nic")).await {
                return answer;
            }
        }
    });
    assert_eq!(answer.await.status, 200);
}

#[tokio::test]
async fn a_federated_token_signs_in() {
    let ((_, arm), (entra, authority)) = (site().await, entra().await);
    let file = file("federated");
    let identity = Identity::Workload {
        tenant_id: Some(TENANT.to_owned()),
        client_id: Some(CLIENT.to_owned()),
        token_file: Some(file.path().to_owned()),
    };
    let azure = azure_as(arm, &authority, identity).expect("set up");
    assert_eq!(azure.send(get_request("/nic")).await.expect("answered").status, 200);
    let forms = entra.forms.lock().expect("no panic").clone();
    assert!(forms[0].contains("client_assertion_type=urn%3Aietf"), "{}", forms[0]);
}

#[test]
fn an_identity_that_cannot_work_is_refused_at_the_start_with_its_kind() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _inside = runtime.enter();
    let arm: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let refused = |identity| match azure_as(arm, "http://127.0.0.1:1", identity) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was accepted"),
    };
    let empty = file(" \n");
    let why = refused(secret(&empty));
    assert!(why.starts_with("the application with a client secret cannot be used: "), "{why}");
    assert!(why.ends_with("is empty"), "{why}");
    let workload = Identity::Workload {
        tenant_id: Some(TENANT.to_owned()),
        client_id: Some(CLIENT.to_owned()),
        token_file: Some("/no/such/file".into()),
    };
    let why = refused(workload);
    assert!(why.starts_with("the workload identity cannot be used: "), "{why}");
    let elsewhere = AzureConfig::new("http://127.0.0.1:1", "http://127.0.0.1:1", "x")
        .with_identity(secret(&file("s")))
        .with_authority("login");
    let why = match Azure::new(elsewhere, Arc::new(now)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was accepted"),
    };
    assert!(why.contains("azure.authority: \"login\" is not a URL"), "{why}");
}
