//! The tester's hand, and what the journal says of it.

use super::*;

#[test]
fn the_next_writes_on_a_nic_can_be_refused() {
    let mut bench = Bench::new();
    bench.fault(
        Fault::once(FaultEffect::Refuse {
            status: 503,
            code: "ServiceUnavailable".to_owned(),
            message: "no".to_owned(),
            retry_after_s: Some(7),
        })
        .on_nic("N1-nic")
        .times(2),
    );
    assert_eq!(bench.attach("n2-nic", VIP).status, 200, "another NIC");
    for _ in 0..2 {
        let body = bench.nic("n1-nic");
        let refused = bench.put("n1-nic", body);
        assert_refused(&refused, 503, "ServiceUnavailable");
        assert_eq!(refused.header("Retry-After"), Some("7"));
    }
    let call = bench.last_write();
    assert_eq!((call.principal.as_deref(), call.status), (Some("n1"), 503));
    let body = bench.nic("n1-nic");
    assert_eq!(bench.put("n1-nic", body).status, 200);
}

#[test]
fn a_failed_detach_leaves_its_goal_in_the_document_and_the_address_where_it_was() {
    let mut bench = Bench::new();
    bench.attached("n1-nic", VIP);
    bench.fault(Fault::once(FaultEffect::FailOperation {
        code: "InternalServerError".to_owned(),
        message: "An error occurred.".to_owned(),
        takes_effect: false,
    }));
    let put = bench.detach("n1-nic", VIP);
    bench.wait(1_000);
    assert_eq!(
        bench.poll(&put),
        json!({"status": "Failed", "error": {
            "code": "InternalServerError", "message": "An error occurred.", "details": []}})
    );
    let nic = bench.nic("n1-nic");
    assert_eq!(nic["properties"]["provisioningState"], "Failed");
    assert_eq!(nic["properties"]["ipConfigurations"].as_array().expect("a list").len(), 1);
    assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()));
    assert_refused(&bench.attach("n2-nic", VIP), 400, "PrivateIPAddressIsAllocated");
    bench.put("n1-nic", nic);
    bench.wait(1_000);
    assert_eq!(bench.reaches(VIP), None);
    assert_eq!(bench.attach("n2-nic", VIP).status, 200);
}

#[test]
fn a_failed_attach_can_have_taken_effect_all_the_same() {
    let mut bench = Bench::new();
    bench.fault(Fault::once(FaultEffect::FailOperation {
        code: "X".to_owned(),
        message: String::new(),
        takes_effect: true,
    }));
    let put = bench.attach("n1-nic", VIP);
    bench.wait(1_000);
    assert_eq!(bench.poll(&put)["status"], "Failed");
    assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()));
}

#[test]
fn a_failed_goal_can_vanish_from_the_document_by_setting() {
    let mut bench = Bench::with(|s| s.failed_goal_stays = false);
    bench.attached("n1-nic", VIP);
    bench.fault(Fault::once(FaultEffect::FailOperation {
        code: "X".to_owned(),
        message: String::new(),
        takes_effect: false,
    }));
    bench.detach("n1-nic", VIP);
    bench.wait(1_000);
    let nic = bench.nic("n1-nic");
    assert_eq!(nic["properties"]["ipConfigurations"].as_array().expect("a list").len(), 2);
}

#[test]
fn a_frozen_operation_ends_when_it_thaws() {
    let mut bench = Bench::new();
    let frozen = bench.attach("n1-nic", VIP);
    let other = bench.attach("n2-nic", [10, 5, 0, 111].into());
    bench.admin(AdminCommand::Freeze { nic: Some("n1-nic".to_owned()) });
    bench.wait(60_000);
    assert_eq!(bench.poll(&other)["status"], "Succeeded");
    assert_eq!(bench.poll(&frozen)["status"], "InProgress");
    assert_eq!(bench.world.next_deadline(), None);
    bench.admin(AdminCommand::Unfreeze { nic: None });
    assert_eq!(bench.poll(&frozen)["status"], "Succeeded");
}

#[test]
fn an_operation_can_be_made_slow() {
    let mut bench = Bench::new();
    bench.fault(Fault::once(FaultEffect::OperationTakes { ms: 9_000 }));
    let put = bench.attach("n1-nic", VIP);
    bench.wait(8_999);
    assert_eq!(bench.poll(&put)["status"], "InProgress");
    bench.wait(1);
    assert_eq!(bench.poll(&put)["status"], "Succeeded");
}

#[test]
fn a_third_party_writes_without_if_match() {
    let mut bench = Bench::new();
    let attach = AdminCommand::ThirdPartyAttach {
        nic: "stranger".to_owned(),
        address: VIP,
        ip_config: None,
        immediate: false,
    };
    let AdminReply::Answer { response } = bench.admin(attach) else { panic!("no answer") };
    assert_eq!(response.status, 200);
    assert_eq!(bench.reaches(VIP), Some("stranger".to_owned()));
    let call = bench.last_write();
    assert_eq!(call.principal.as_deref(), Some(THIRD_PARTY));
    assert_eq!((call.if_match, call.added), (None, vec![VIP]));
    let twice = AdminCommand::ThirdPartyAttach {
        nic: "n1-nic".to_owned(),
        address: VIP,
        ip_config: Some("vip".to_owned()),
        immediate: true,
    };
    let AdminReply::Answer { response } = bench.admin(twice.clone()) else { panic!("no answer") };
    assert_refused(&response, 400, "PrivateIPAddressIsAllocated");
    let nic = "stranger".to_owned();
    bench.admin(AdminCommand::ThirdPartyDetach { nic, address: VIP, immediate: false });
    bench.admin(twice);
    assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()), "immediate on a running VM");
}

#[test]
fn a_nic_can_be_gone_with_everything_on_it() {
    let mut bench = Bench::new();
    bench.attached("n1-nic", VIP);
    let put = bench.detach("n1-nic", VIP);
    bench.admin(AdminCommand::DeleteNic { nic: "n1-nic".to_owned() });
    assert_refused(&bench.get(&bench.nic_path("n1-nic")), 404, "ResourceNotFound");
    assert_eq!(bench.poll(&put)["status"], "Canceled");
    assert_eq!(bench.reaches(VIP), None);
    assert_eq!(bench.attach("n2-nic", VIP).status, 200);
}

#[test]
fn a_write_can_be_done_without_an_answer() {
    for (close, lost) in [(true, LostAnswer::Closed), (false, LostAnswer::Silence)] {
        let mut bench = Bench::new();
        bench.fault(Fault::once(FaultEffect::LoseAnswer { close }));
        let body = bench.with_address("n1-nic", VIP);
        let put = bench.put_request("n1-nic", body);
        assert_eq!(bench.send(put), ArmOutcome::Lost(lost));
        let call = bench.last_write();
        assert_eq!((call.status, call.answer_lost, call.added), (200, true, vec![VIP]));
        bench.wait(1_000);
        assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()));
    }
}

#[test]
fn a_write_can_be_lost_on_its_way() {
    let mut bench = Bench::new();
    bench.fault(Fault::once(FaultEffect::NeverArrives).by_node("n1"));
    let body = bench.with_address("n1-nic", VIP);
    let put = bench.put_request("n1-nic", body);
    assert_eq!(bench.send(put), ArmOutcome::Lost(LostAnswer::Closed));
    bench.wait(60_000);
    assert_eq!(bench.reaches(VIP), None);
}

#[test]
fn a_held_write_comes_late_and_if_match_stops_it() {
    for (with_if_match, status) in [(true, 412), (false, 200)] {
        let mut bench = Bench::new();
        bench.fault(Fault::once(FaultEffect::Hold).by_node("n1").for_method("PUT"));
        let body = bench.with_address("n1-nic", VIP);
        let etag = body["etag"].as_str().expect("a text").to_owned();
        let mut put = bench.put_request("n1-nic", body);
        if with_if_match {
            put = put.with_header("If-Match", etag);
        }
        let ArmOutcome::Held(hold) = bench.send(put) else { panic!("not held") };
        bench.wait(5_000);
        assert_eq!(bench.world.take_answer(hold), None);
        assert_eq!(bench.world.status().held[0].hold, hold);
        assert_eq!(bench.patch("n1-nic", json!({"seal": "1"})).status, 200);
        let released = bench.admin(AdminCommand::Release { hold: None });
        assert_eq!(released, AdminReply::Released { holds: vec![hold] });
        let answer = bench.world.take_answer(hold).expect("an answer");
        assert_eq!(answer.status, status);
        assert_eq!(bench.world.take_answer(hold), None, "once");
    }
}

#[test]
fn a_delayed_write_is_processed_at_its_own_time() {
    let mut bench = Bench::new();
    bench.fault(Fault::once(FaultEffect::Delay { ms: 300 }));
    let body = bench.with_address("n1-nic", VIP);
    let put = bench.put_request("n1-nic", body);
    let ArmOutcome::Held(hold) = bench.send(put) else { panic!("not held") };
    assert_eq!(bench.world.next_deadline(), Some(Duration::from_millis(300)));
    bench.wait(10_000);
    assert_eq!(bench.world.take_answer(hold).expect("an answer").status, 200);
    let write = bench.world.journal_after(0).find(|e| matches!(e.event, JournalEvent::Write(_)));
    assert_eq!(write.expect("a write").at_ms, 300);
    assert_eq!(bench.reaches(VIP), Some("n1-nic".to_owned()), "its operation ended at 1,300");
}

#[test]
fn every_request_can_take_a_while() {
    let mut bench = Bench::with(|s| s.request_ms = 50);
    let get = ArmRequest::new("GET", bench.nic_path("n1-nic"));
    let ArmOutcome::Held(hold) = bench.send(get) else { panic!("not held") };
    bench.wait(50);
    assert_eq!(bench.world.take_answer(hold).expect("an answer").status, 200);
}

#[test]
fn a_fault_can_let_some_pass_and_faults_can_be_cleared() {
    let mut bench = Bench::new();
    let mut fault = Fault::once(FaultEffect::NeverArrives).for_method("*").times(9);
    fault.skip = 1;
    bench.fault(fault);
    assert_eq!(bench.nic("n1-nic")["name"], "n1-nic");
    let get = ArmRequest::new("GET", bench.nic_path("n1-nic"));
    assert_eq!(bench.send(get), ArmOutcome::Lost(LostAnswer::Closed));
    assert_eq!(bench.world.status().faults[0].times, 8);
    bench.admin(AdminCommand::ClearFaults);
    assert_eq!(bench.nic("n1-nic")["name"], "n1-nic");
}

#[test]
fn a_fault_can_strike_polls_only_and_one_for_reads_strikes_them_too() {
    let mut bench = Bench::new();
    let gone = |method: &str| {
        let (status, code) = (404, "OperationNotFound".to_owned());
        let (message, retry_after_s) = (String::new(), None);
        Fault::once(FaultEffect::Refuse { status, code, message, retry_after_s }).for_method(method)
    };
    bench.fault(gone("POLL"));
    let put = bench.attach("n1-nic", VIP);
    assert_eq!(bench.nic("n1-nic")["name"], "n1-nic", "it is no poll");
    assert_eq!(bench.poll(&put)["error"]["code"], "OperationNotFound");
    assert_eq!(bench.poll(&put)["status"], "InProgress");
    bench.fault(gone("GET"));
    assert_eq!(bench.poll(&put)["error"]["code"], "OperationNotFound");
}

#[test]
fn settings_change_by_name_and_unknown_ones_are_refused() {
    let mut bench = Bench::new();
    let change = |changes: Value| AdminCommand::ChangeSettings {
        changes: changes.as_object().expect("an object").clone(),
    };
    bench.admin(change(json!({"patch_tags": "merge", "concurrent_write": "conflict_409"})));
    assert_eq!(bench.world.settings().patch_tags, PatchTags::Merge);
    assert_eq!(bench.world.settings().concurrent_write, ConcurrentWrite::Conflict409);
    for wrong in [json!({"patch_tag": "merge"}), json!({"cleanup_ms": "soon"})] {
        let refused = bench.world.admin(bench.now, change(wrong));
        assert!(matches!(refused, Err(AdminError::BadSettings(_))));
    }
}

#[test]
fn a_command_about_nothing_is_refused() {
    let mut bench = Bench::new();
    let nic = AdminCommand::DeleteNic { nic: "none".to_owned() };
    let node = AdminCommand::RevokeTokens { node: "none".to_owned() };
    let hold = AdminCommand::Release { hold: Some(HoldId(9)) };
    let now = bench.now;
    let mut refused = |command| bench.world.admin(now, command).expect_err("refused").to_string();
    assert_eq!(refused(nic), "there is no NIC none");
    assert_eq!(refused(node), "there is no VM none");
    assert_eq!(refused(hold), "no request is held as 9");
}

#[test]
fn the_journal_says_who_wrote_what_and_how_it_ended() {
    let mut bench = Bench::new();
    let body = bench.with_address("n1-nic", VIP);
    let etag = body["etag"].as_str().expect("a text").to_owned();
    bench.wait(250);
    let put = bench
        .put_request("n1-nic", body)
        .with_header("If-Match", &etag)
        .with_header("x-ms-client-request-id", "move-7")
        .with_header("User-Agent", "vipfence/0.1");
    let answer = bench.ask(put);
    let operation = answer.header("x-ms-request-id").map(str::to_owned);
    bench.wait(1_000);
    let entries: Vec<JournalEntry> = bench.world.journal_after(0).cloned().collect();
    assert_eq!(
        entries.iter().map(|e| (e.seq, e.at_ms)).collect::<Vec<_>>(),
        [(1, 250), (2, 1_250), (3, 1_250)]
    );
    assert_eq!(entries[0].wall, "2025-10-09T08:53:20.25Z");
    let resource = bench.world.config().nic_id("n1-nic");
    assert_eq!(
        entries[0].event,
        JournalEvent::Write(Call {
            principal: Some("n1".to_owned()),
            method: "PUT".to_owned(),
            resource: resource.clone(),
            if_match: Some(etag),
            client_request_id: Some("move-7".to_owned()),
            user_agent: Some("vipfence/0.1".to_owned()),
            status: 200,
            error_code: None,
            denied: None,
            answer_lost: false,
            added: vec![VIP],
            removed: Vec::new(),
            operation: operation.clone(),
        })
    );
    assert_eq!(
        entries[1].event,
        JournalEvent::Completion {
            operation: operation.expect("an operation"),
            resource,
            principal: Some("n1".to_owned()),
            status: "Succeeded".to_owned(),
            error_code: None,
        }
    );
    assert!(matches!(entries[2].event, JournalEvent::DataPlane { version: 5, .. }));
    assert_eq!(bench.world.journal_after(2).count(), 1);
    assert_eq!(bench.world.journal_after(9).count(), 0);
    let text = serde_json::to_string(&entries).expect("JSON");
    assert_eq!(serde_json::from_str::<Vec<JournalEntry>>(&text).expect("entries"), entries);
}

#[test]
fn reads_are_counted_and_journaled_on_demand() {
    let mut bench = Bench::new();
    bench.nic("n1-nic");
    assert_eq!(bench.world.journal_seq(), 0);
    assert_eq!(bench.world.status().requests["n1"]["GET"], 1);
    let mut settings = bench.world.settings().clone();
    settings.journal_reads = true;
    bench.world.set_settings(settings);
    bench.nic("n1-nic");
    let entry = bench.world.journal_after(0).next().expect("an entry");
    assert!(matches!(&entry.event, JournalEvent::Read(call) if call.method == "GET"));
}

#[test]
fn the_journal_forgets_its_oldest_entries() {
    let mut config = WorldConfig::nodes(1);
    config.limits.journal = 3;
    let mut bench = Bench { world: World::new(config).expect("a world"), now: Duration::ZERO };
    for i in 0..5 {
        bench.patch("n1-nic", json!({"i": i.to_string()}));
    }
    let seqs: Vec<u64> = bench.world.journal_after(0).map(|e| e.seq).collect();
    assert_eq!(seqs, [3, 4, 5]);
    assert_eq!(bench.world.journal_after(3).count(), 2);
}
