//! Prints what this machine makes of Podium: `cargo run --release -p podium-tests --bin bench [SECTION…]`.
//!
//! Each section starts its own cluster in a process of its own, over real
//! sockets and a real disk. Figures are medians; compare ratios between runs on
//! one machine rather than absolute times between machines.
#![allow(clippy::print_stdout, reason = "a benchmark prints figures")]

mod api;
mod functions;
mod hyper_server;
mod nodes;
mod pods;
mod process;
mod quota;
mod scheduler;
mod startup;

use std::process::ExitCode;

use anyhow::{Result, bail};
use podium_tests::{Cluster, Options};

/// The sections, in the order they run.
const SECTIONS: &[&str] = &["startup", "api", "pods", "functions", "quota", "scheduler", "nodes"];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().collect();
    // The cluster under test is this binary, so that one build measures one thing.
    if arguments.get(1).is_some_and(|word| word == "podium") {
        arguments.remove(1);
        return podium::cli::main_from(arguments);
    }
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let outcome = match arguments.get(1).map(String::as_str) {
        Some("hyper") => runtime.block_on(hyper_server::run()),
        _ => runtime.block_on(run(&arguments[1..])),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(wanted: &[String]) -> Result<()> {
    if let Some(unknown) = wanted.iter().find(|name| !SECTIONS.contains(&name.as_str())) {
        bail!("no section {unknown:?}; there are {}", SECTIONS.join(", "));
    }
    for section in SECTIONS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == section) {
            continue;
        }
        println!("== {section}");
        match *section {
            "startup" => startup::run().await?,
            "api" => api::run().await?,
            "pods" => pods::run().await?,
            "scheduler" => scheduler::run()?,
            "quota" => quota::run().await?,
            "nodes" => nodes::run().await?,
            _ => functions::run().await?,
        }
    }
    Ok(())
}

/// A cluster of this binary.
async fn cluster(arguments: &[&str]) -> Result<Cluster> {
    let program = vec![std::env::current_exe()?, "podium".into()];
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    Cluster::start(Options { program, arguments }).await
}

/// Prints one figure.
fn figure(name: &str, value: impl std::fmt::Display) {
    println!("  {name:<58} {value}");
}

/// The value that `fraction` of the sorted values do not exceed.
fn quantile(values: &mut [f64], fraction: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * fraction).round() as usize]
}
