//! What a process uses, as its kernel counts it (Linux).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// `sysconf(_SC_CLK_TCK)`: 100 on every Linux that this is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The CPU time of a process at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pid: u32,
    at: Instant,
    ticks: f64,
}

/// What a process used between a mark and now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Resident now.
    pub(super) resident_mib: f64,
    /// Of that, what is not a file's (the program itself is one).
    pub(super) anonymous_mib: f64,
    /// Of one core, in percent.
    pub(super) cpu_percent: f64,
    /// Over so long.
    pub(super) over: Duration,
}

impl Mark {
    /// Begins to measure a process.
    pub(super) fn of(pid: u32) -> Result<Self> {
        Ok(Self { pid, at: Instant::now(), ticks: ticks(&read(pid, "stat")?)? })
    }

    /// What it has used since.
    pub(super) fn usage(&self) -> Result<Usage> {
        let over = self.at.elapsed();
        let used = (ticks(&read(self.pid, "stat")?)? - self.ticks) / TICKS_PER_SECOND;
        let status = read(self.pid, "status")?;
        Ok(Usage {
            resident_mib: mib(&status, "VmRSS")?,
            anonymous_mib: mib(&status, "RssAnon")?,
            cpu_percent: 100.0 * used / over.as_secs_f64(),
            over,
        })
    }
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("{path}: has the process ended?"))
}

/// User and system time: fields 14 and 15 of proc(5). The name before them may contain anything.
fn ticks(stat: &str) -> Result<f64> {
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest);
    let mut fields = rest.context("no name in /proc/PID/stat")?.split_whitespace().skip(11);
    let mut next = || -> Result<f64> { Ok(fields.next().context("a short stat")?.parse()?) };
    Ok(next()? + next()?)
}

fn mib(status: &str, name: &str) -> Result<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = value.with_context(|| format!("no {name} in /proc/PID/status"))?;
    let kib: f64 = value.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "17 (a) b) S 1 17 17 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 4 0 1 2 3";
        assert!((ticks(stat).expect("whole") - 300.0).abs() < f64::EPSILON);
        assert!(ticks("17 (a) S 1 17").is_err());
    }

    #[test]
    fn memory_is_read_in_mib() {
        let status = "VmHWM:\t   30720 kB\nVmRSS:\t   20480 kB\nRssAnon:\t    3072 kB\n";
        assert!((mib(status, "VmRSS").expect("there") - 20.0).abs() < f64::EPSILON);
        assert!(mib(status, "VmSwap").is_err());
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let mark = Mark::of(std::process::id()).expect("it runs");
        let mut usage = mark.usage().expect("it runs");
        while usage.cpu_percent <= 0.0 {
            usage = mark.usage().expect("it runs");
        }
        assert!(usage.resident_mib >= usage.anonymous_mib && usage.anonymous_mib > 0.0);
    }
}
