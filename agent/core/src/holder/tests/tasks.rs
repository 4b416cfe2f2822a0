//! Hooks and units around a VIP: what comes before what, and what waits for nothing.

use vipfence_types::{Epoch, Nowhere, Refusal};

use super::bench::*;
use crate::{Call, Duties, Effect, EndCause, Event, Found, Input, OnStop, Serving, Start, Task};

/// A node with these tasks around demo, five seconds each; as after a first start.
fn with(tasks: &[Task]) -> Start {
    let tasks = tasks.iter().map(|task| (*task, secs(5))).collect();
    let duties = Duties { tasks, serve_all_the_same: false };
    Start { duties: [(name("demo"), duties)].into(), ..start() }
}

fn again(tasks: &[Task], epoch: u64, complete: bool) -> Start {
    let serving = Serving { epoch: Epoch(epoch), complete };
    let found = Found { address: address("demo"), lifetime_left: Some(secs(6)) };
    Start { serving: [(name("demo"), serving)].into(), found: vec![found], ..with(tasks) }
}

/// What is begun, with the epochs.
fn runs(effects: &[Effect]) -> Vec<(Task, u64)> {
    let of = |effect: &Effect| match effect {
        Effect::Run { task, epoch, .. } => Some((*task, epoch.0)),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

fn aborts(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Abort { .. })).count()
}

fn notes(effects: &[Effect]) -> Vec<(u64, bool)> {
    let of = |effect: &Effect| match effect {
        Effect::NoteServing { serving: Some(Serving { epoch, complete }), .. } => {
            Some((epoch.0, *complete))
        }
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

fn run_call(effects: &[Effect]) -> Call {
    let of = |effect: &Effect| match effect {
        Effect::Run { call, .. } => Some(*call),
        _ => None,
    };
    effects.iter().find_map(of).expect("a task")
}

fn has_drop(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Drop { .. }))
}

impl Bench {
    /// The task that these effects began ends.
    fn ran(&mut self, effects: &[Effect], outcome: Result<(), &str>) -> Vec<Effect> {
        let outcome = outcome.map_err(str::to_owned);
        self.step(Input::Ran { call: run_call(effects), outcome })
    }

    /// The units of an earlier start are stopped, which every start with units begins with.
    fn started(start: Start) -> Self {
        let (mut bench, effects) = Bench::from(start);
        if runs(&effects) == [(Task::StopUnits, 0)] {
            bench.ran(&effects, Ok(()));
        }
        bench
    }

    /// Holding demo at epoch 5, with everything done that comes with it.
    fn serving(tasks: &[Task]) -> Self {
        let mut bench = Bench::started(with(tasks));
        let mut effects = bench.answer(&[grant("demo", 5)], &[]);
        loop {
            effects = if !adds(&effects).is_empty() {
                bench.added(add_call(&effects))
            } else if !runs(&effects).is_empty() {
                bench.ran(&effects, Ok(()))
            } else {
                break;
            };
        }
        bench.answer(&[grant("demo", 5)], &[]);
        assert_eq!(bench.held(), [("demo".to_owned(), 5, true)]);
        bench
    }
}

#[test]
fn pre_acquire_comes_before_the_address_and_units_and_post_acquire_after_it() {
    let mut bench = Bench::started(with(&Task::ALL));
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert!(adds(&effects).is_empty());
    assert_eq!((runs(&effects), notes(&effects)), (vec![(Task::PreAcquire, 5)], vec![(5, false)]));
    let noted = effects.iter().position(|e| matches!(e, Effect::NoteServing { .. }));
    let begun = effects.iter().position(|e| matches!(e, Effect::Run { .. }));
    assert!(noted < begun, "on disk before it begins: {effects:?}");
    let effects = bench.ran(&effects, Ok(()));
    assert!(runs(&effects).is_empty(), "not before the address was read back");
    let effects = bench.added(add_call(&effects));
    assert_eq!(runs(&effects), [(Task::StartUnits, 5)]);
    assert_eq!(bench.detail(), "demo: start_units runs");
    let effects = bench.ran(&effects, Ok(()));
    assert_eq!(runs(&effects), [(Task::PostAcquire, 5)]);
    assert_eq!(notes(&effects), []);
    let effects = bench.ran(&effects, Ok(()));
    assert_eq!((runs(&effects), notes(&effects)), (vec![], vec![(5, true)]));
}

#[test]
fn a_planned_release_stops_the_units_before_the_drop_and_confirms_before_post_release_has_ended() {
    let mut bench = Bench::serving(&Task::ALL);
    let both = ([grant("demo", 5)], [at("demo", 5)]);
    let effects = bench.beat_and_answer(&both.0, &both.1);
    assert_eq!((runs(&effects), notes(&effects)), (vec![(Task::PreRelease, 5)], vec![(5, false)]));
    assert!(!has_drop(&effects));
    assert_eq!(bench.held(), [("demo".to_owned(), 5, true)], "it serves meanwhile");
    let effects = bench.ran(&effects, Ok(()));
    assert_eq!(runs(&effects), [(Task::StopUnits, 5)]);
    // Still renewed, as long as a grant stands beside it.
    for _ in 0..3 {
        bench.beat_and_answer(&both.0, &both.1);
    }
    assert_eq!(bench.holder.view(bench.now).held[0].lease_left, secs(10));
    let effects = bench.ran(&effects, Ok(()));
    assert!(effects.contains(&ended(5, EndCause::Released)) && has_drop(&effects));
    assert!(runs(&effects).is_empty(), "not before the read back");
    let effects = bench.step(Input::Dropped { call: drop_call(&effects) });
    assert_eq!(runs(&effects), [(Task::PostRelease, 5)]);
    let effects = bench.step(Input::Persisted { call: persist_call(&effects) });
    let later = bench.answer(&[], &both.1);
    let said = [beats(&effects), beats(&later)].concat();
    assert!(said.iter().any(|beat| beat.released == [at("demo", 5)]), "post_release runs on");
}

#[test]
fn a_fault_drops_at_once_aborts_what_runs_and_then_stops_the_units() {
    for (grants, releasing) in [(vec![], vec![]), (vec![], vec![at("demo", 5)])] {
        let mut bench = Bench::serving(&Task::ALL);
        bench.beat_and_answer(&[grant("demo", 5)], &[at("demo", 5)]);
        // Expiring, or nothing at all: pre_release is in the way of neither.
        let effects = bench.beat_and_answer(&grants, &releasing);
        let drop = effects.iter().position(|e| matches!(e, Effect::Drop { .. }));
        let abort = effects.iter().position(|e| matches!(e, Effect::Abort { .. }));
        assert!(drop.is_some() && drop < abort, "{effects:?}");
        assert!(runs(&effects).is_empty());
        assert!(bench.detail().contains("pre_release was aborted"), "{}", bench.detail());
        let effects = bench.run(secs(1));
        assert_eq!(runs(&effects), [(Task::StopUnits, 5)], "although no end was told");
        let effects = bench.ran(&effects, Ok(()));
        assert_eq!(runs(&effects), [(Task::OnFault, 5)]);
        let effects = bench.ran(&effects, Ok(()));
        assert_eq!(runs(&effects), []);
    }
}

#[test]
fn a_release_is_confirmed_when_the_units_were_stopped_or_had_their_time() {
    for hangs in [false, true] {
        let mut bench = Bench::serving(&[Task::StopUnits, Task::OnFault]);
        let expiring = [at("demo", 5)];
        let effects = bench.beat_and_answer(&[], &expiring);
        let stops = effects.clone();
        let effects = bench.step(Input::Dropped { call: drop_call(&effects) });
        assert_eq!(beats(&effects).len(), 0, "{effects:?}");
        let mut later = bench.beat_and_answer(&[], &expiring);
        assert!(beats(&later).iter().all(|beat| beat.released.is_empty()));
        assert!(!later.iter().any(|e| matches!(e, Effect::PersistSpent { .. })));
        if hangs {
            later = bench.run(secs(4));
            assert_eq!(aborts(&later), 1);
            later = bench.run(secs(1));
            assert_eq!(runs(&later), [(Task::OnFault, 5)]);
        } else {
            later = bench.ran(&stops, Ok(()));
        }
        let effects = bench.step(Input::Persisted { call: persist_call(&later) });
        let said = [beats(&effects), beats(&bench.run(secs(1)))].concat().len();
        assert!(said > 0);
        assert_eq!(bench.holder.records.len(), 1);
    }
}

#[test]
fn a_pre_acquire_that_fails_leaves_the_vip_to_another_candidate_and_is_not_tried_again() {
    let mut bench = Bench::started(with(&Task::ALL));
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    let effects = bench.ran(&effects, Err("exit status 1"));
    let said = beats(&effects)[0].held[0].clone();
    assert_eq!((said.added, said.unfit.as_str()), (false, "pre_acquire failed: exit status 1"));
    assert!(bench.detail().contains("demo: pre_acquire failed: exit status 1"));
    for _ in 0..5 {
        let effects = bench.beat_and_answer(&[grant("demo", 5)], &[]);
        assert!(runs(&effects).is_empty() && adds(&effects).is_empty(), "{effects:?}");
    }
    // Its address was never there: nothing is to be prepared, but the units are stopped for sure.
    let effects = bench.beat_and_answer(&[grant("demo", 5)], &[at("demo", 5)]);
    assert_eq!(runs(&effects), [(Task::StopUnits, 5)]);
}

#[test]
fn a_node_that_is_to_serve_all_the_same_serves_although_pre_acquire_failed() {
    let mut start = with(&Task::ALL);
    start.duties.get_mut(&name("demo")).unwrap().serve_all_the_same = true;
    let mut bench = Bench::started(start);
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    let effects = bench.ran(&effects, Err("exit status 1"));
    assert_eq!(adds(&effects).len(), 1);
    assert_eq!(beats(&effects)[0].held[0].unfit, "");
    let effects = bench.added(add_call(&effects));
    assert_eq!(runs(&effects), [(Task::StartUnits, 5)]);
}

#[test]
fn units_that_do_not_start_make_the_vip_fail_here_until_the_entitlement_ends() {
    let mut bench = Bench::started(with(&Task::ALL));
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    let effects = bench.ran(&effects, Ok(()));
    let effects = bench.added(add_call(&effects));
    bench.answer(&[grant("demo", 5)], &[]);
    let effects = bench.ran(&effects, Err("db.service: failed"));
    assert!(runs(&effects).is_empty(), "post_acquire is for units that run");
    let failing = &beats(&effects)[0].failing[0];
    assert_eq!(failing.reason, "start_units failed: db.service: failed");
    bench.answer(&[], &[]);
    let effects = bench.pass(secs(1));
    assert!(beats(&effects)[0].failing.is_empty());
}

#[test]
fn a_task_that_takes_too_long_is_aborted_and_left_behind_a_second_later() {
    let mut bench = Bench::serving(&Task::ALL);
    let both = ([grant("demo", 5)], [at("demo", 5)]);
    let begun = bench.beat_and_answer(&both.0, &both.1);
    bench.now = bench.now.plus(ms(4_999));
    bench.now.wall_us += 2_000_000;
    assert_eq!(aborts(&bench.step(Input::Tick)), 0, "a clock that is set shortens no task");
    let effects = bench.pass(ms(1));
    assert_eq!(aborts(&effects), 1);
    assert_eq!(runs(&bench.pass(ms(999))), []);
    let effects = bench.pass(ms(1));
    assert_eq!(runs(&effects), [(Task::StopUnits, 5)]);
    let problem = "aborted: it took longer than 5s".to_owned();
    assert!(effects.contains(&Effect::Event(Event::TaskEnded {
        vip: name("demo"),
        epoch: Epoch(5),
        task: Task::PreRelease,
        outcome: Err(problem),
    })));
    // What it says now is about a call that is over.
    assert!(runs(&bench.ran(&begun, Ok(()))).is_empty());
}

#[test]
fn a_lease_that_ends_while_a_leader_answers_leaves_hooks_and_units_alone_if_its_epoch_comes_back() {
    let mut bench = Bench::serving(&Task::ALL);
    bench.now.wall_us += 20_000_000;
    let effects = bench.step(Input::Tick);
    assert!(effects.contains(&ended(5, EndCause::LeaseEnded)) && has_drop(&effects));
    assert!(runs(&effects).is_empty(), "{effects:?}");
    bench.step(Input::Dropped { call: drop_call(&effects) });
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert_eq!(adds(&effects).len(), 1, "{effects:?}");
    let effects = bench.added(add_call(&effects));
    assert!(runs(&effects).is_empty(), "{effects:?}");
    assert_eq!(notes(&effects), []);
}

#[test]
fn what_was_adrift_is_a_fault_as_soon_as_it_is_known_not_to_come_back() {
    for answered in [true, false] {
        let mut bench = Bench::serving(&Task::ALL);
        bench.now.wall_us += 20_000_000;
        bench.step(Input::Tick);
        let effects =
            if answered { bench.answer(&[], &[]) } else { bench.refuse(Refusal::NoQuorum) };
        assert_eq!(runs(&effects), [(Task::StopUnits, 5)]);
    }
}

#[test]
fn a_lease_that_ends_in_silence_is_a_fault_at_once_and_its_epoch_is_not_taken_again() {
    let mut bench = Bench::serving(&Task::ALL);
    bench.pass(secs(1));
    bench.refuse(Refusal::NoQuorum);
    let effects = bench.pass(secs(9));
    assert!(has_drop(&effects));
    assert_eq!(runs(&effects), [(Task::StopUnits, 5)]);
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert!(adds(&effects).is_empty());
    assert!(beats(&effects).iter().any(|beat| beat.refused == [at("demo", 5)]), "{effects:?}");
}

#[test]
fn a_new_epoch_in_place_has_hooks_of_its_own_and_waits_for_those_that_end_the_old_one() {
    // In place: the address stays, the units are not stopped.
    let mut bench = Bench::serving(&Task::ALL);
    let effects = bench.beat_and_answer(&[grant("demo", 7)], &[]);
    assert!(!has_drop(&effects));
    assert_eq!(runs(&effects), [(Task::PreAcquire, 7)]);
    let effects = bench.ran(&effects, Ok(()));
    let effects = bench.added(add_call(&effects));
    assert_eq!(runs(&effects), [(Task::StartUnits, 7)]);

    // After a fault: what ended it comes first.
    let mut bench = Bench::serving(&Task::ALL);
    let stops = bench.beat_and_answer(&[], &[]);
    let effects = bench.answer(&[grant("demo", 7)], &[]);
    assert!(runs(&effects).is_empty() && adds(&effects).is_empty(), "{effects:?}");
    let effects = bench.ran(&stops, Ok(()));
    assert_eq!(runs(&effects), [(Task::OnFault, 5)]);
    let effects = bench.ran(&effects, Ok(()));
    assert_eq!(runs(&effects), [(Task::PreAcquire, 7)]);

    // On the way out: the units are being stopped, and then start again.
    let mut bench = Bench::serving(&[Task::PreAcquire, Task::StopUnits, Task::StartUnits]);
    let stops = bench.beat_and_answer(&[grant("demo", 5)], &[at("demo", 5)]);
    assert_eq!(runs(&stops), [(Task::StopUnits, 5)]);
    let effects = bench.beat_and_answer(&[grant("demo", 7)], &[]);
    assert!(runs(&effects).is_empty() && aborts(&effects) == 0, "{effects:?}");
    assert_eq!(runs(&bench.ran(&stops, Ok(()))), [(Task::PreAcquire, 7)]);
}

#[test]
fn an_agent_that_starts_stops_the_units_of_vips_that_it_did_not_serve_and_grants_wait_for_that() {
    let (mut bench, effects) = Bench::from(with(&Task::ALL));
    assert_eq!(runs(&effects), [(Task::StopUnits, 0)]);
    let granted = bench.answer(&[grant("demo", 5)], &[]);
    assert!(runs(&granted).is_empty() && adds(&granted).is_empty(), "{granted:?}");
    assert_eq!(runs(&bench.ran(&effects, Ok(()))), [(Task::PreAcquire, 5)]);
}

#[test]
fn an_agent_that_starts_goes_on_with_what_was_complete_if_it_is_granted_again() {
    let (mut bench, effects) = Bench::from(again(&Task::ALL, 5, true));
    assert_eq!(runs(&effects), []);
    bench.refuse(Refusal::NoQuorum);
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert_eq!((runs(&effects).len(), adds(&effects).len()), (0, 1), "{effects:?}");
    let effects = bench.added(add_call(&effects));
    assert_eq!((runs(&effects), notes(&effects)), (vec![], vec![]));
}

#[test]
fn an_agent_that_starts_ends_what_is_not_granted_again_or_not_in_time() {
    let (mut bench, _) = Bench::from(again(&Task::ALL, 5, true));
    let effects = bench.answer(&[], &[]);
    assert_eq!((runs(&effects), notes(&effects)), (vec![(Task::StopUnits, 5)], vec![(5, false)]));
    assert_eq!(runs(&bench.ran(&effects, Ok(()))), [(Task::OnFault, 5)]);

    let (mut bench, _) = Bench::from(again(&Task::ALL, 5, true));
    bench.refuse(Refusal::NoQuorum);
    assert_eq!(runs(&bench.pass(ms(5_999))), []);
    assert_eq!(runs(&bench.run(ms(1))), [(Task::StopUnits, 5)], "the address is gone by now");
}

#[test]
fn an_agent_that_starts_refuses_an_epoch_whose_tasks_were_begun_and_runs_no_hook_for_it() {
    let (mut bench, stops) = Bench::from(again(&Task::ALL, 5, false));
    assert_eq!(runs(&stops), [(Task::StopUnits, 0)]);
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert!(beats(&effects).iter().any(|beat| beat.refused == [at("demo", 5)]), "{effects:?}");
    bench.ran(&stops, Ok(()));
    let effects = bench.answer(&[grant("demo", 6)], &[]);
    assert_eq!(runs(&effects), [(Task::PreAcquire, 6)]);
}

#[test]
fn what_was_noted_of_a_vip_without_duties_is_forgotten() {
    let serving = again(&[], 5, true).serving;
    let (_, effects) = Bench::from(Start { serving, ..start() });
    assert!(effects.contains(&Effect::NoteServing { vip: name("demo"), serving: None }));
}

#[test]
fn a_clean_stop_is_a_planned_release_and_waits_for_its_last_task() {
    let mut bench = Bench::serving(&Task::ALL);
    bench.step(Input::Stop { on_stop: OnStop::Move, within: secs(60) });
    let nowhere = Nowhere { vip: name("demo"), reason: "no candidate".to_owned() };
    bench.nowhere = vec![nowhere.clone()];
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    assert_eq!(runs(&effects), [(Task::PreRelease, 5)]);
    let told = Event::Nowhere { vip: nowhere.vip, reason: nowhere.reason };
    assert!(effects.contains(&Effect::Event(told)));
    let effects = bench.ran(&effects, Ok(()));
    let effects = bench.ran(&effects, Ok(()));
    assert!(effects.contains(&ended(5, EndCause::Stopping)));
    let last = bench.step(Input::Dropped { call: drop_call(&effects) });
    let effects = bench.step(Input::Persisted { call: persist_call(&last) });
    assert_eq!(beats(&effects)[0].released, [at("demo", 5)]);
    assert_eq!(bench.answer(&[grant("demo", 5)], &[]), [], "post_release runs");
    assert_eq!(bench.ran(&last, Ok(())).last(), Some(&Effect::Stopped));
}

#[test]
fn a_clean_stop_begins_in_time_with_what_nobody_took_over_and_drops_it_at_the_end_whatever_runs() {
    let mut bench = Bench::serving(&Task::ALL);
    bench.step(Input::Stop { on_stop: OnStop::Move, within: secs(20) });
    let mut effects = bench.answer(&[grant("demo", 5)], &[]);
    for second in 1..=10 {
        assert!(runs(&effects).is_empty(), "at {second}");
        effects = bench.beat_and_answer(&[grant("demo", 5)], &[]);
    }
    assert_eq!(runs(&effects), [(Task::PreRelease, 5)], "half of the time is gone");
    for _ in 0..10 {
        effects = bench.beat_and_answer(&[grant("demo", 5)], &[]);
    }
    // Nothing ends here: five seconds of pre_release, one of waiting, five and one for the units.
    assert!(has_drop(&effects) && effects.contains(&ended(5, EndCause::Stopping)), "{effects:?}");
    let effects = bench.run(secs(2));
    assert_eq!(effects.last(), Some(&Effect::Stopped));
    assert!(matches!(effects[effects.len() - 2], Effect::Abort { .. }), "what runs is killed");
}

#[test]
fn an_agent_that_keeps_its_vips_leaves_units_and_notes_alone() {
    let mut bench = Bench::serving(&Task::ALL);
    bench.step(Input::Stop { on_stop: OnStop::Keep, within: secs(1) });
    let effects = bench.answer(&[grant("demo", 5)], &[]);
    let last = if adds(&effects).is_empty() { effects } else { bench.added(add_call(&effects)) };
    assert_eq!(last.last(), Some(&Effect::Stopped), "{last:?}");
    assert!(runs(&last).is_empty() && notes(&last).is_empty());
}

#[test]
fn a_vip_without_duties_is_not_held_up_by_the_tasks_of_another() {
    let mut bench = Bench::started(with(&Task::ALL));
    let effects = bench.answer(&[grant("demo", 5), grant("other", 6)], &[]);
    assert_eq!(adds(&effects).iter().map(|add| add.1).collect::<Vec<_>>(), [6]);
}
