//! What holds after any story.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Attach(usize, u8),
    Detach(usize, u8),
    Wait(u64),
    Fail(usize, bool),
    Hold,
    Release,
    Freeze(bool),
    Power(usize, Power),
    Delete(usize),
    Cancel(usize),
    FailNic(usize),
}

const NICS: [&str; 4] = ["n1-nic", "n2-nic", "n3-nic", "stranger"];

fn step() -> impl Strategy<Value = Step> {
    let power = prop_oneof![
        Just(Power::Running),
        Just(Power::Stopped),
        Just(Power::Deallocated),
        Just(Power::Deleting)
    ];
    prop_oneof![
        6 => (0..4_usize, 100..103_u8).prop_map(|(nic, last)| Step::Attach(nic, last)),
        6 => (0..4_usize, 100..103_u8).prop_map(|(nic, last)| Step::Detach(nic, last)),
        6 => (0..1_500_u64).prop_map(Step::Wait),
        1 => (0..4_usize, any::<bool>()).prop_map(|(nic, effect)| Step::Fail(nic, effect)),
        1 => Just(Step::Hold),
        1 => Just(Step::Release),
        1 => any::<bool>().prop_map(Step::Freeze),
        1 => (0..3_usize, power).prop_map(|(vm, power)| Step::Power(vm, power)),
        1 => (0..40_usize).prop_map(Step::Delete),
        1 => (0..4_usize).prop_map(Step::Cancel),
        1 => (0..4_usize).prop_map(Step::FailNic),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let concurrent = prop_oneof![
        Just(ConcurrentWrite::Retryable429),
        Just(ConcurrentWrite::Conflict409),
        Just(ConcurrentWrite::InProgress429),
        Just(ConcurrentWrite::FailLater),
        Just(ConcurrentWrite::Supersede),
    ];
    (concurrent, any::<bool>(), any::<bool>(), 0..800_u64, 0..800_u64).prop_map(
        |(concurrent_write, at_accept, failed_goal_stays, cleanup_ms, data_plane_lag_ms)| {
            Settings {
                concurrent_write,
                failed_goal_stays,
                cleanup_ms,
                data_plane_lag_ms,
                address_freed: if at_accept {
                    AddressFreed::AtAccept
                } else {
                    AddressFreed::AtCompletion
                },
                ..Settings::default()
            }
        },
    )
}

fn take(bench: &mut Bench, step: &Step) {
    let write = |bench: &mut Bench, nic: usize, last: u8, add: bool| {
        if bench.world.nic(NICS[nic]).is_none() {
            return;
        }
        let address = IpAddr::from([10, 5, 0, last]);
        let body = if add {
            bench.with_address(NICS[nic], address)
        } else {
            bench.without_address(NICS[nic], address)
        };
        let put = bench.put_request(NICS[nic], body);
        bench.send(put);
    };
    match *step {
        Step::Attach(nic, last) => write(bench, nic, last, true),
        Step::Detach(nic, last) => write(bench, nic, last, false),
        Step::Wait(ms) => bench.wait(ms),
        Step::Fail(nic, takes_effect) => {
            let (code, message) = ("X".to_owned(), String::new());
            let effect = FaultEffect::FailOperation { code, message, takes_effect };
            bench.fault(Fault::once(effect).on_nic(NICS[nic]));
        }
        Step::Hold => bench.fault(Fault::once(FaultEffect::Hold)),
        Step::Release => drop(bench.admin(AdminCommand::Release { hold: None })),
        Step::Freeze(true) => drop(bench.admin(AdminCommand::Freeze { nic: None })),
        Step::Freeze(false) => drop(bench.admin(AdminCommand::Unfreeze { nic: None })),
        Step::Power(vm, power) => {
            bench.admin(AdminCommand::SetPower { node: format!("n{}", vm + 1), power });
        }
        // Refused where there is no NIC, or nothing to cancel.
        Step::Cancel(nic) => {
            let cancel = AdminCommand::CancelOperation { nic: NICS[nic].to_owned() };
            let _ = bench.world.admin(bench.now, cancel);
        }
        Step::FailNic(nic) => {
            let fail = AdminCommand::FailNic { nic: NICS[nic].to_owned() };
            let _ = bench.world.admin(bench.now, fail);
        }
        // Rarely: it ends the story of a NIC.
        Step::Delete(nic) => {
            if NICS.get(nic).is_some_and(|nic| bench.world.nic(nic).is_some()) {
                bench.admin(AdminCommand::DeleteNic { nic: NICS[nic].to_owned() });
            }
        }
    }
}

/// No address is in two documents, and what is being released is in no document at all.
fn check(bench: &Bench) {
    let status = bench.world.status();
    let mut seen = BTreeSet::new();
    let strict = status.settings.address_freed == AddressFreed::AtCompletion;
    for nic in &status.nics {
        for address in nic.addresses.iter().chain(&nic.releasing) {
            assert!(seen.insert(*address), "{address} twice: {:?}", status.nics);
        }
        assert_eq!(nic.provisioning == "Updating", nic.operation.is_some());
        // At completion: whoever an address reaches still has it, or is about to lose it by lag.
        if strict && status.settings.data_plane_lag_ms == 0 {
            let known: BTreeSet<_> = nic.addresses.iter().chain(&nic.releasing).collect();
            assert!(nic.effective.iter().all(|a| known.contains(a)), "{nic:?}");
        }
    }
    if let Some(deadline) = bench.world.next_deadline() {
        assert!(deadline >= bench.now, "{deadline:?} lies before {:?}", bench.now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_address_is_never_allocated_twice(
        settings in settings(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut bench = Bench::with(|s| *s = settings);
        for step in &steps {
            take(&mut bench, step);
            check(&bench);
        }
        // Thawed and left alone, the data plane comes to what the documents say.
        bench.admin(AdminCommand::Unfreeze { nic: None });
        bench.wait(60_000);
        prop_assert_eq!(bench.world.next_deadline(), None);
        for nic in bench.world.status().nics {
            if nic.provisioning == "Succeeded" {
                prop_assert_eq!(nic.addresses, nic.effective);
            }
        }
    }

    #[test]
    fn the_same_story_gives_the_same_world(
        settings in settings(),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let run = || {
            let mut bench = Bench::with(|s| *s = settings.clone());
            steps.iter().for_each(|step| take(&mut bench, step));
            let journal: Vec<_> = bench.world.journal_after(0).cloned().collect();
            (journal, bench.world.status(), bench.world.attachments())
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn time_may_pass_in_any_number_of_steps(
        steps in prop::collection::vec(step(), 1..20),
        cuts in 1..50_u64,
    ) {
        let run = |cuts: u64| {
            let mut bench = Bench::new();
            for step in &steps {
                match step {
                    Step::Wait(ms) => {
                        for _ in 0..cuts {
                            bench.wait(ms / cuts);
                        }
                        bench.wait(ms % cuts);
                    }
                    other => take(&mut bench, other),
                }
            }
            bench.world.journal_after(0).cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(run(1), run(cuts));
    }
}
