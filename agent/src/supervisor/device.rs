//! A watchdog device (`/dev/watchdog`): it resets the machine unless it is fed in time.
//!
//! Opening it arms it, closing it without a `V` leaves it armed. Its time-out is the driver's own
//! (a parameter of the kernel module): nothing here sets it, and anything from two seconds on will do.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::OFlags;
use tracing::{error, info};
use vipfence_types::Clocks;

/// Fed at most so often. The loop looks twice a second at least, and no device knows a time-out
/// below one second.
const FEED_EVERY: Duration = Duration::from_millis(400);

/// An armed device.
#[derive(Debug)]
pub(crate) struct Device {
    path: PathBuf,
    file: File,
    fed: Option<Clocks>,
    /// It was last fed, as far as is known.
    well: bool,
}

/// The device cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the watchdog device {}; load its kernel module (such as softdog), see to it that \
     nothing else has it open (RuntimeWatchdogSec= of systemd does), or leave out [watchdog]",
    path.display()
)]
pub(crate) struct DeviceError {
    path: PathBuf,
    source: io::Error,
}

impl Device {
    /// Opens, and so arms it.
    ///
    /// # Errors
    /// It is not there, or another process has it.
    pub(crate) fn arm(path: &Path) -> Result<Self, DeviceError> {
        // A device that would block must not hold up the loop that feeds it.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path);
        let file = file.map_err(|source| DeviceError { path: path.to_owned(), source })?;
        info!(device = %path.display(), "the watchdog is armed");
        Ok(Self { path: path.to_owned(), file, fed: None, well: true })
    }

    pub(super) fn look(&mut self, now: Clocks, sound: bool) {
        let due = self.fed.is_none_or(|fed| now.mono_since(fed) >= FEED_EVERY);
        if sound && !due {
            return;
        }
        let fed = if sound { self.file.write_all(b"\0") } else { Err(not_sound()) };
        match fed {
            Ok(()) => {
                self.fed = Some(now);
                self.well = true;
            }
            Err(why) => {
                if std::mem::replace(&mut self.well, false) {
                    error!(device = %self.path.display(), "the watchdog is not fed: {why}");
                }
            }
        }
    }

    pub(super) fn end(mut self, disarm: bool) {
        if !disarm {
            info!(device = %self.path.display(), "the watchdog stays armed: addresses are left");
            return;
        }
        if let Err(why) = self.file.write_all(b"V") {
            error!(device = %self.path.display(), "the watchdog cannot be disarmed: {why}");
        }
    }
}

fn not_sound() -> io::Error {
    io::Error::other("an address that this node must not have stays on it")
}
