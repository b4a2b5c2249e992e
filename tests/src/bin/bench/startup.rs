//! Start, size and idle memory.
use std::time::Duration;

use anyhow::Result;

use crate::{cluster, figure, process, quantile};

/// Starts that are measured.
const STARTS: usize = 7;

/// Time for the cluster to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(5);

pub async fn run() -> Result<()> {
    let (mut fresh, mut again) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut cluster = cluster(&[]).await?;
        fresh.push(cluster.ready_after.as_secs_f64() * 1e3);
        cluster.stop().await?;
        cluster.restart().await?;
        again.push(cluster.ready_after.as_secs_f64() * 1e3);
    }
    figure("start to ready, empty directory, ms", format!("{:.0}", quantile(&mut fresh, 0.5)));
    figure("start to ready, second start, ms", format!("{:.0}", quantile(&mut again, 0.5)));
    let cluster = cluster(&[]).await?;
    tokio::time::sleep(SETTLE).await;
    let before = process::cpu(cluster.process_id())?;
    figure("idle memory (PSS), MiB", format!("{:.1}", process::pss_mib(cluster.process_id())?));
    tokio::time::sleep(SETTLE).await;
    let used = process::cpu(cluster.process_id())? - before;
    let share = used.as_secs_f64() / SETTLE.as_secs_f64() * 100.0;
    figure("idle CPU, % of one core", format!("{share:.1}"));
    let binary = std::env::current_exe()?.with_file_name("podium");
    match std::fs::metadata(&binary) {
        Ok(binary) => figure("stripped binary, MB", format!("{:.1}", binary.len() as f64 / 1e6)),
        Err(_) => figure("stripped binary, MB", "build it: cargo build --release"),
    }
    Ok(())
}
