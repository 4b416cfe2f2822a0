//! Whole sets of settings.

use super::*;

fn bench(profile: Profile) -> Bench {
    Bench::with(|s| *s = profile.settings())
}

/// When a PUT's operation ends, and when the address arrives.
fn attach_takes_ms(profile: Profile) -> (u64, u64) {
    let mut bench = bench(profile);
    // What a bad day does to each request is told elsewhere.
    let mut settings = bench.world.settings().clone();
    settings.request_ms = 0;
    settings.early_operation_404_ms = 0;
    bench.world.set_settings(settings);
    let put = bench.attach("n1-nic", VIP);
    let (mut done, mut arrived) = (None, None);
    for ms in 0..=200 {
        let at = ms * 500;
        if done.is_none() && bench.world.status().operations.is_empty() {
            done = Some(at);
        }
        if arrived.is_none() && bench.reaches(VIP).is_some() {
            arrived = Some(at);
        }
        bench.wait(500);
    }
    assert_eq!(bench.poll(&put)["status"], "Succeeded");
    (done.expect("done"), arrived.expect("arrived"))
}

#[test]
fn each_profile_takes_its_time() {
    assert_eq!(attach_takes_ms(Profile::Instant), (500, 500), "at the first tick of time");
    assert_eq!(attach_takes_ms(Profile::NewControlPlane), (3_500, 3_500));
    assert_eq!(attach_takes_ms(Profile::Classic), (45_000, 50_000));
    assert_eq!(attach_takes_ms(Profile::BadDay), (61_000, 71_000));
}

#[test]
fn classic_backs_polls_off_and_counts_requests() {
    let mut bench = bench(Profile::Classic);
    let put = bench.attach("n1-nic", VIP);
    assert_eq!(put.header("Retry-After"), Some("10"));
    assert_eq!(put.header("x-ms-ratelimit-remaining-subscription-writes"), Some("199"));
    let url = put.header("Azure-AsyncOperation").expect("a URL").to_owned();
    let poll = bench.get(url.trim_start_matches("https://management.azure.com"));
    assert_eq!(poll.header("Retry-After"), Some("20"));
}

#[test]
fn nobody_waits_in_an_instant_world() {
    let mut bench = bench(Profile::Instant);
    let put = bench.attach("n1-nic", VIP);
    assert_eq!(put.header("Retry-After"), Some("0"));
    assert_eq!(bench.poll(&put)["status"], "Succeeded");
}

#[test]
fn on_a_bad_day_requests_are_slow_and_a_tag_seals_nothing() {
    let mut bench = bench(Profile::BadDay);
    let path = bench.nic_path("n1-nic");
    let ArmOutcome::Held(hold) = bench.send(ArmRequest::new("GET", &path)) else {
        panic!("answered at once")
    };
    bench.wait(1_000);
    let before = bench.world.take_answer(hold).expect("an answer");
    let tag = json!({"tags": {"a": "1"}});
    bench.send(ArmRequest::new("PATCH", &path).with_body(tag));
    bench.wait(1_000);
    let after = bench.world.nic("n1-nic").expect("a NIC");
    assert_eq!(after["tags"]["a"], "1");
    assert_eq!(before.header("ETag"), after["etag"].as_str());
}

#[test]
fn a_profile_is_read_back_under_its_name() {
    for profile in Profile::ALL {
        assert_eq!(profile.name().parse(), Ok(profile));
        assert_eq!(serde_json::to_value(profile).expect("JSON"), json!(profile.name()));
    }
    assert_eq!(
        "sunny".parse::<Profile>().expect_err("no profile").to_string(),
        "sunny is no profile; there are instant, new-control-plane, classic and bad-day"
    );
}

#[test]
fn a_world_in_a_file_can_name_a_profile_and_change_some_of_it() {
    let world: WorldConfig = serde_json::from_value(json!({
        "settings": {"profile": "classic", "operation_ms": 20_000, "throttling": {"retry_after_s": 3}},
    }))
    .expect("a world");
    let expected = Settings {
        operation_ms: 20_000,
        throttling: Throttling { retry_after_s: 3, ..Throttling::default() },
        ..Profile::Classic.settings()
    };
    assert_eq!(world.settings, expected);
    let plain: WorldConfig =
        serde_json::from_value(json!({"settings": {"cleanup_ms": 5}})).expect("a world");
    assert_eq!(plain.settings, Settings { cleanup_ms: 5, ..Settings::default() });
    let wrong = json!({"settings": {"profile": "sunny"}});
    assert!(serde_json::from_value::<WorldConfig>(wrong).is_err());
}

#[test]
fn a_profile_can_be_put_on_while_the_world_runs() {
    let mut bench = Bench::with(|s| s.cleanup_ms = 7);
    let changes = json!({"profile": "new-control-plane", "data_plane_lag_ms": 9});
    let changes = changes.as_object().expect("an object").clone();
    bench.admin(AdminCommand::ChangeSettings { changes });
    let expected = Settings { data_plane_lag_ms: 9, ..Profile::NewControlPlane.settings() };
    assert_eq!(*bench.world.settings(), expected);
}
