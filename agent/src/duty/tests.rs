//! Hooks as real processes, and units by a `systemctl` of our own making.

use std::{fs, future::pending, path::PathBuf};

use tempfile::TempDir;

use super::*;

/// What a fake `systemctl` was told, one line each; a unit with `bad` in its name fails, one with
/// `slow` takes for ever.
const FAKE: &str = r#"#!/bin/sh
echo "$2 $4" >> FOLDER/told
case "$4" in
    *bad*) echo "Job for $4 failed." >&2; exit 1 ;;
    *slow*) sleep 600 ;;
esac
[ "$2" = is-active ] && echo active
exit 0
"#;

fn demo() -> VipName {
    VipName::new("demo").unwrap()
}

fn setup() -> VipSetup {
    VipSetup {
        units: vec![],
        units_timeout: Duration::from_secs(60),
        reset_connections: true,
        serve_all_the_same: false,
        hooks: BTreeMap::new(),
        checks: vec![],
    }
}

fn with_hook(script: &str) -> Attendant {
    let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let hook = Hook { words, timeout: Duration::from_secs(1) };
    let hooks = BTreeMap::from([(Task::PreAcquire, hook)]);
    Attendant::of(BTreeMap::from([(demo(), VipSetup { hooks, ..setup() })]))
}

struct Bench {
    folder: TempDir,
    attendant: Attendant,
}

impl Bench {
    fn with_units(units: &[&str]) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("systemctl");
        fs::write(&program, FAKE.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let units = units.iter().map(|unit| (*unit).to_owned()).collect();
        let vips = BTreeMap::from([(demo(), VipSetup { units, ..setup() })]);
        let mut attendant = Attendant::of(vips);
        let spawner = attendant.spawner.clone();
        attendant.services = Arc::new(Systemctl::at(spawner, program.to_str().unwrap()));
        Self { folder, attendant }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("told")
    }

    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn perform(&self, task: Task) -> Result<(), String> {
        self.attendant.perform(&demo(), Epoch(7), task, pending()).await
    }
}

#[tokio::test]
async fn a_hook_is_told_the_vip_its_token_and_little_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("environment");
    let attendant = with_hook(&format!("env | sort > {}", file.display()));
    let done = attendant.perform(&demo(), Epoch(7), Task::PreAcquire, pending()).await;
    assert_eq!(done, Ok(()));
    let text = fs::read_to_string(&file).unwrap();
    let lines =
        text.lines().filter(|line| !["_", "SHLVL"].contains(&line.split('=').next().unwrap()));
    let (ours, others): (Vec<&str>, Vec<&str>) =
        lines.partition(|line| line.starts_with("VIPFENCE_"));
    assert_eq!(
        ours,
        [
            "VIPFENCE_ADDRESSES=10.5.0.110 10.5.0.111",
            "VIPFENCE_CLUSTER=c1",
            "VIPFENCE_EPOCH=7",
            "VIPFENCE_NODE=n1",
            "VIPFENCE_TASK=pre_acquire",
            "VIPFENCE_VIP=demo",
        ]
    );
    let others: Vec<&str> = others.iter().filter_map(|line| line.split('=').next()).collect();
    // A shell adds where it is.
    assert_eq!(others, ["LANG", "PATH", "PWD"]);
}

#[tokio::test]
async fn a_hook_that_fails_says_which_it_is_and_why() {
    let attendant = with_hook("echo no disk; exit 4");
    let failed = attendant.perform(&demo(), Epoch(7), Task::PreAcquire, pending()).await;
    let says = "exit status: 4; it said: no disk";
    assert_eq!(failed.unwrap_err(), says);
    // What nobody asked for is done already.
    let other = VipName::new("other").unwrap();
    assert_eq!(attendant.perform(&other, Epoch(7), Task::PreAcquire, pending()).await, Ok(()));
    assert_eq!(attendant.perform(&demo(), Epoch(7), Task::OnFault, pending()).await, Ok(()));
}

#[tokio::test]
async fn units_start_in_order_and_stop_in_the_opposite_one() {
    let bench = Bench::with_units(&["drbd.service", "pg.service"]);
    assert_eq!(bench.perform(Task::StartUnits).await, Ok(()));
    assert_eq!(bench.perform(Task::StopUnits).await, Ok(()));
    let told = ["start drbd.service", "start pg.service", "stop pg.service", "stop drbd.service"];
    assert_eq!(bench.told(), told);
    assert_eq!(bench.attendant.services.is_active("pg.service").await, Ok(()));
}

#[tokio::test]
async fn after_a_unit_that_does_not_start_none_is_started_and_one_that_does_not_stop_keeps_no_other()
 {
    let bench = Bench::with_units(&["bad.service", "pg.service"]);
    let failed = bench.perform(Task::StartUnits).await.unwrap_err();
    let says = "systemctl start bad.service: exit status: 1; it said: Job for bad.service failed.";
    assert_eq!(failed, says);
    assert_eq!(bench.told(), ["start bad.service"]);
    let bench = Bench::with_units(&["pg.service", "bad.service"]);
    assert!(bench.perform(Task::StopUnits).await.unwrap_err().contains("stop bad.service"));
    assert_eq!(bench.told(), ["stop bad.service", "stop pg.service"]);
}

#[tokio::test]
async fn units_that_are_not_wanted_any_more_are_not_waited_for() {
    let bench = Bench::with_units(&["slow.service", "pg.service"]);
    let begun = async {
        while bench.told().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let stopped = bench.attendant.perform(&demo(), Epoch(7), Task::StartUnits, begun).await;
    assert!(stopped.unwrap_err().contains("systemd goes on with what it has begun"));
    assert_eq!(bench.told(), ["start slow.service"]);
}

#[tokio::test]
async fn what_was_complete_is_so_after_a_restart_only_where_its_units_still_run() {
    let complete = Serving { epoch: Epoch(7), complete: true };
    for (unit, still) in [("pg.service", true), ("bad.service", false)] {
        let bench = Bench::with_units(&["drbd.service", unit]);
        let before = BTreeMap::from([(demo(), complete), (VipName::new("web").unwrap(), complete)]);
        let after = bench.attendant.still_serving(before).await;
        let all: Vec<bool> = after.values().map(|serving| serving.complete).collect();
        assert_eq!(all, [still, true], "{unit}");
    }
}

#[test]
fn a_drop_in_binds_a_unit_to_the_agent_and_to_the_token_of_its_vip() {
    let text = drop_in("pg.service", &demo(), std::path::Path::new("/var/lib/vip%fence"));
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        lines,
        [
            "[Unit]",
            "BindsTo=vipfence.service",
            "After=vipfence.service",
            "AssertPathExists=/var/lib/vip%%fence/tokens/demo",
        ]
    );
}

#[tokio::test]
async fn the_holder_is_told_of_what_there_is_to_do() {
    let bench = Bench::with_units(&["pg.service"]);
    let duties = bench.attendant.duties();
    let tasks: Vec<Task> = duties[&demo()].tasks.keys().copied().collect();
    assert_eq!(tasks, [Task::StartUnits, Task::StopUnits]);
    let hooked = with_hook("true").duties();
    let second = Duration::from_secs(1);
    assert_eq!(hooked[&demo()].tasks, BTreeMap::from([(Task::PreAcquire, second)]));
    let nothing = Attendant::of(BTreeMap::from([(demo(), setup())]));
    assert!(nothing.duties().is_empty());
}
