//! What is said to whom, and when.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use vipfence_agent_core::HeldVip;
use vipfence_types::{BootId, Epoch, NodeId, VipName};

use super::*;

fn at(ms: u64) -> Clocks {
    Clocks::all_at(Duration::from_millis(1_000 + ms))
}

fn view() -> LocalView {
    LocalView {
        node: NodeId::new("n1").unwrap(),
        boot: BootId::from("b1"),
        held: vec![],
        detail: String::new(),
        nowhere: vec![],
        joined: true,
        stopping: false,
        sound: true,
        may_be_left: false,
    }
}

fn held(vip: &str, epoch: u64) -> HeldVip {
    HeldVip {
        vip: VipName::new(vip).unwrap(),
        epoch: Epoch(epoch),
        added: true,
        lease_left: Duration::from_secs(3),
    }
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn manager(&self, watchdog: Option<Duration>) -> Supervisor {
        let heard = self.clone();
        let send = move |news: &[sd_notify::NotifyState<'_>]| {
            heard.0.lock().unwrap().extend(news.iter().map(ToString::to_string));
            Ok(())
        };
        Supervisor::new(Some(Manager::new(send, || true, watchdog)), None)
    }

    fn take(&self) -> Vec<String> {
        core::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[test]
fn ready_is_said_once_and_only_after_a_leader_has_answered() {
    let heard = Heard::default();
    let mut supervisor = heard.manager(None);
    let mut seen = LocalView { joined: false, detail: "no leader\nyet".into(), ..view() };
    supervisor.look(at(0), &seen);
    assert_eq!(heard.take(), ["STATUS=leader; holds no VIP; no leader yet"]);
    seen = view();
    supervisor.look(at(1), &seen);
    assert_eq!(heard.take(), ["READY=1", "STATUS=leader; holds no VIP"]);
    seen.held = vec![held("demo", 7), held("web", 9)];
    supervisor.look(at(2), &seen);
    assert_eq!(heard.take(), ["STATUS=leader; holds demo (epoch 7), web (epoch 9)"]);
    seen.held[0].lease_left = Duration::ZERO;
    supervisor.look(at(3), &seen);
    assert_eq!(heard.take(), Vec::<String>::new(), "nothing is new");
    seen.stopping = true;
    supervisor.look(at(4), &seen);
    supervisor.look(at(5), &seen);
    assert_eq!(heard.take(), ["STOPPING=1"]);
}

#[test]
fn the_service_managers_watchdog_is_fed_in_time_as_long_as_the_loop_looks() {
    let heard = Heard::default();
    let mut supervisor = heard.manager(Some(Duration::from_secs(4)));
    let look_every = u64::try_from(supervisor.look_every().as_millis()).unwrap();
    let mut fed = Vec::new();
    for number in 0..20 {
        supervisor.look(at(number * look_every), &view());
        if heard.take().contains(&"WATCHDOG=1".to_owned()) {
            fed.push(number * look_every);
        }
    }
    assert!(fed.len() > 5 && fed.windows(2).all(|pair| pair[1] - pair[0] <= 3_000), "{fed:?}");
    assert_eq!(Heard::default().manager(None).look_every(), Duration::MAX);
}

// ---- a device, played by a FIFO -----------------------------------------------------------------

/// A FIFO with a reader.
pub(crate) struct Fifo {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
    reader: File,
}

impl Fifo {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watchdog");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let reader = File::options().read(true).custom_flags(flags).open(&path).unwrap();
        Self { _dir: dir, path, reader }
    }

    /// What was written since the last time.
    pub(crate) fn heard(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Ends with "would block" while the writer lives.
        let _ = self.reader.read_to_end(&mut bytes);
        bytes
    }
}

fn watched(fifo: &Fifo) -> Supervisor {
    Supervisor::new(None, Some(Device::arm(&fifo.path).unwrap()))
}

#[test]
fn a_device_is_fed_only_while_the_leases_are_sound() {
    let mut fifo = Fifo::new();
    let mut supervisor = watched(&fifo);
    for ms in [0, 200, 500] {
        supervisor.look(at(ms), &view());
    }
    assert_eq!(fifo.heard(), b"\0\0", "at a bounded pace");
    supervisor.look(at(2_000), &LocalView { sound: false, ..view() });
    supervisor.look(at(3_000), &LocalView { sound: false, ..view() });
    assert_eq!(fifo.heard(), b"");
    supervisor.look(at(3_001), &view());
    assert_eq!(fifo.heard(), b"\0", "and again when they are");
}

#[test]
fn a_device_is_disarmed_at_a_clean_end_only_if_nothing_is_left() {
    for (may_be_left, last) in [(false, &b"V"[..]), (true, b"")] {
        let mut fifo = Fifo::new();
        let supervisor = watched(&fifo);
        supervisor.end(&LocalView { may_be_left, ..view() });
        assert_eq!(fifo.heard(), last);
        // An end that is not clean says nothing either.
        drop(watched(&fifo));
        assert_eq!(fifo.heard(), b"");
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error_with_a_remedy() {
    let error = Device::arm(std::path::Path::new("/nowhere/watchdog")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/watchdog; load its kernel module"), "{error}");
}
