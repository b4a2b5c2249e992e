//! What the operating system says of this process, under the names of
//! Prometheus' own clients.
use super::{Kind, Text};
use crate::platform;

pub(super) fn write(text: &mut Text) {
    let process = platform::process();
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.family(name, Kind::Gauge, help).sample(&[], value);
        }
    };
    gauge(
        "process_start_time_seconds",
        "When the process was started, in seconds since 1970.",
        process.started_at,
    );
    gauge(
        "process_resident_memory_bytes",
        "Bytes of the process that are in memory.",
        process.resident_memory.map(|bytes| bytes as f64),
    );
    gauge(
        "process_virtual_memory_bytes",
        "Bytes of its address space.",
        process.virtual_memory.map(|bytes| bytes as f64),
    );
    gauge(
        "process_open_fds",
        "Files and sockets it has open.",
        process.open_files.map(|count| count as f64),
    );
    gauge(
        "process_max_fds",
        "As many as it may have open.",
        process.max_files.map(|count| count as f64),
    );
    if let Some(cpu) = process.cpu {
        let help = "CPU time it has used, in seconds.";
        text.family("process_cpu_seconds_total", Kind::Counter, help)
            .sample(&[], cpu.as_secs_f64());
    }
}
