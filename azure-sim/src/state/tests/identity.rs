//! IMDS, tokens and rights.

use super::*;

const TOKEN: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F";

#[test]
fn a_token_answer_has_nothing_but_strings() {
    let mut bench = Bench::new();
    bench.wait(1_500);
    let answer = bench.imds("n1", TOKEN).body.expect("a token");
    let fields = answer.as_object().expect("an object");
    assert!(fields.values().all(Value::is_string));
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["resource"], "https://management.azure.com/");
    assert_eq!(answer["expires_in"], "86400");
    assert_eq!(answer["not_before"], "1760000001");
    assert_eq!(answer["expires_on"], "1760086401");
    assert_eq!(answer["access_token"].as_str().expect("a text").split('.').count(), 3);
}

#[test]
fn every_part_of_a_token_is_base64url() {
    let mut bench = Bench::new();
    let token = bench.token("n1");
    for part in token.split('.') {
        // What az's decoder refuses, whether or not it verifies anything.
        assert_ne!(part.len() % 4, 1, "{part}");
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(part.chars().all(fits), "{part}");
    }
}

#[test]
fn a_token_is_cached_until_little_of_its_life_is_left() {
    let mut bench = Bench::with(|s| s.token_life_s = 1_200);
    let first = bench.token("n1");
    bench.wait(1_099_000);
    assert_eq!(bench.token("n1"), first);
    assert_eq!(bench.imds("n1", TOKEN).body.expect("a token")["expires_in"], "101");
    bench.wait(1_000);
    assert_ne!(bench.token("n1"), first);
    assert_ne!(bench.token("n1"), bench.token("n2"));
}

#[test]
fn imds_wants_its_header_and_no_proxy() {
    let mut bench = Bench::new();
    let bare = ArmRequest::new("GET", TOKEN);
    let proxied = bare.clone().with_header("Metadata", "true").with_header("X-Forwarded-For", "x");
    let mut ask = |request: &ArmRequest| match bench.world.imds(bench.now, "n1", request) {
        ArmOutcome::Answer(answer) => answer,
        other => panic!("{other:?}"),
    };
    let answer = ask(&bare);
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.body.expect("a body"),
        json!({"error": "bad_request_102", "error_description": "Required metadata header not specified"})
    );
    assert_eq!(ask(&proxied).status, 400);
    assert_eq!(bench.imds("n1", "/metadata/instance").status, 400, "no api-version");
    let other = bench.imds("n1", &format!("{TOKEN}&client_id=other"));
    assert_eq!(other.body.expect("a body")["error_description"], "Identity not found");
}

#[test]
fn instance_data_tells_the_vm_and_all_its_addresses() {
    let mut bench = Bench::new();
    bench.attached("n2-nic", VIP);
    let path = "/metadata/instance?api-version=2021-02-01";
    let data = bench.imds("n2", path).body.expect("data");
    assert_eq!(data["compute"]["name"], "n2");
    assert_eq!(data["compute"]["resourceId"], bench.world.config().vm_id("n2"));
    assert_eq!(
        data["network"]["interface"][0],
        json!({
            "ipv4": {
                "ipAddress": [
                    {"privateIpAddress": "10.5.0.5", "publicIpAddress": ""},
                    {"privateIpAddress": "10.5.0.110", "publicIpAddress": ""},
                ],
                "subnet": [{"address": "10.5.0.0", "prefix": "24"}],
            },
            "ipv6": {"ipAddress": []},
            "macAddress": "000D3AA50001",
        })
    );
    let part = bench.imds("n2", "/metadata/instance/network/interface/0/macAddress?api-version=1");
    assert_eq!(part.body, Some(json!("000D3AA50001")));
}

#[test]
fn a_scheduled_event_is_announced_starts_and_vanishes() {
    let mut bench = Bench::new();
    let path = "/metadata/scheduledevents?api-version=2020-07-01";
    let calm = bench.imds("n1", path).body.expect("events");
    assert_eq!(calm, json!({"DocumentIncarnation": 1, "Events": []}));
    for event in ["Freeze", "Reboot"] {
        let node = "n1".to_owned();
        bench.admin(AdminCommand::ScheduleEvent { node, event: event.to_owned(), in_ms: 60_000 });
    }
    let soon = bench.imds("n1", path).body.expect("events");
    assert_eq!(soon["DocumentIncarnation"], 3);
    assert_eq!(soon["Events"][0]["EventStatus"], "Scheduled");
    assert_eq!(soon["Events"][0]["NotBefore"], "Thu, 09 Oct 2025 08:54:20 GMT");
    let ack = ArmRequest::new("POST", path)
        .with_header("Metadata", "true")
        .with_body(json!({"StartRequests": [{"EventId": soon["Events"][0]["EventId"]}]}));
    bench.world.imds(bench.now, "n1", &ack);
    let acknowledged = bench.imds("n1", path).body.expect("events");
    assert_eq!(acknowledged["Events"][0]["EventStatus"], "Started");
    assert_eq!(acknowledged["Events"][0]["NotBefore"], "");
    assert_eq!(acknowledged["Events"][1]["EventStatus"], "Scheduled");
    bench.wait(60_000);
    let started = bench.imds("n1", path).body.expect("events");
    assert_eq!(started["Events"][1]["EventStatus"], "Started");
    bench.admin(AdminCommand::EndEvents { node: "n1".to_owned() });
    assert_eq!(bench.imds("n1", path).body.expect("events")["Events"], json!([]));
    assert_eq!(bench.world.next_deadline(), None);
}

fn get_with(bench: &mut Bench, token: Option<&str>) -> ArmResponse {
    let mut request = ArmRequest::new("GET", bench.nic_path("n1-nic"));
    if let Some(token) = token {
        request = request.with_token(token);
    }
    match bench.world.arm(bench.now, request) {
        ArmOutcome::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_valid_token_nothing_is_to_be_had() {
    let mut bench = Bench::with(|s| s.token_life_s = 3_600);
    for token in [None, Some("made-up")] {
        let answer = get_with(&mut bench, token);
        assert_refused(&answer, 401, "InvalidAuthenticationToken");
        let challenge = answer.header("WWW-Authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer authorization_uri="));
    }
    let token = bench.token("n1");
    bench.wait(3_599_999);
    assert_eq!(get_with(&mut bench, Some(&token)).status, 200);
    bench.wait(1);
    let late = get_with(&mut bench, Some(&token));
    assert_refused(&late, 401, "ExpiredAuthenticationToken");
    assert_eq!(
        late.body.expect("a body")["error"]["message"],
        "The access token expiry UTC time '10/09/2025 09:53:20 AM' is earlier than current UTC time '10/09/2025 09:53:20 AM'."
    );
}

#[test]
fn revoked_tokens_are_worth_nothing() {
    let mut bench = Bench::new();
    let token = bench.token("n1");
    bench.admin(AdminCommand::RevokeTokens { node: "n1".to_owned() });
    assert_refused(&get_with(&mut bench, Some(&token)), 401, "InvalidAuthenticationToken");
    let token = bench.token("n1");
    assert_eq!(get_with(&mut bench, Some(&token)).status, 200);
}

#[test]
fn an_api_version_is_required() {
    let mut bench = Bench::new();
    let path = bench.world.config().nic_id("n1-nic");
    let answer = bench.get(&path);
    assert_refused(&answer, 400, "MissingApiVersionParameter");
}

#[test]
fn rights_can_be_taken_and_given_back() {
    let mut bench = Bench::new();
    let node = "n1".to_owned();
    let rights = Rights { write: false, ..Rights::default() };
    bench.admin(AdminCommand::SetRights { node: node.clone(), rights });
    let refused = bench.attach("n2-nic", VIP);
    assert_refused(&refused, 403, "AuthorizationFailed");
    let error = refused.body.expect("a body")["error"].clone();
    let message = error["message"].as_str().expect("a text");
    let scope = bench.world.config().nic_id("n2-nic");
    assert!(message.contains("perform action 'Microsoft.Network/networkInterfaces/write'"));
    assert!(message.contains(&format!("over scope '{scope}' or the scope is invalid.")));
    assert!(error.get("details").is_none(), "the front door speaks");
    assert_refused(&bench.patch("n1-nic", json!({})), 403, "AuthorizationFailed");
    bench.admin(AdminCommand::SetRights { node, rights: Rights::default() });
    assert_eq!(bench.attach("n2-nic", VIP).status, 200);
}

#[test]
fn imds_can_be_broken_for_one_vm() {
    let mut bench = Bench::new();
    let request = ArmRequest::new("GET", TOKEN).with_header("Metadata", "true");
    let node = "n1".to_owned();
    let breaking = |fault| AdminCommand::SetImds { node: node.clone(), fault };
    bench.admin(breaking(Some(ImdsFault::Down)));
    let lost = bench.world.imds(bench.now, "n1", &request);
    assert_eq!(lost, ArmOutcome::Lost(LostAnswer::Closed));
    bench.admin(breaking(Some(ImdsFault::Silent)));
    let lost = bench.world.imds(bench.now, "n1", &request);
    assert_eq!(lost, ArmOutcome::Lost(LostAnswer::Silence));
    bench.admin(breaking(Some(ImdsFault::Status(410))));
    assert_eq!(bench.imds("n1", TOKEN).status, 410);
    assert_eq!(bench.imds("n2", TOKEN).status, 200);
    bench.admin(breaking(None));
    assert_eq!(bench.imds("n1", TOKEN).status, 200);
}
