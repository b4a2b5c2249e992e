//! What the operating system knows of a process; Linux only.
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The kernel's clock ticks per second in /proc (USER_HZ).
const TICKS: f64 = 100.0;

/// CPU time of a process since its start.
pub fn cpu(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("read /proc")?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
    let rest = stat.rsplit(')').next().context("a stat line")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().map(|&i| fields[i].parse::<f64>().unwrap_or(0.0)).sum();
    Ok(Duration::from_secs_f64(ticks / TICKS))
}

/// Memory of a process in MiB: its share of every page it uses (PSS).
pub fn pss_mib(process: u32) -> Result<f64> {
    let rollup =
        fs::read_to_string(format!("/proc/{process}/smaps_rollup")).context("read /proc")?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).context("a Pss line")?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024.0)
}
