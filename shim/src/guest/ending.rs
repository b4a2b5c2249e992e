//! How a guest's end looks to the CRI.
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::cri::{Exit, ExitReason};
use crate::limits::OomKilled;

/// What was ended by force, as a shell reports SIGKILL.
pub const KILLED: i32 = 137;

/// A trap, as a shell reports SIGABRT.
pub const TRAPPED: i32 = 134;

/// What cannot be started, as container runtimes report it.
pub const CANNOT_RUN: i32 = 128;

/// Bytes of a message: what Kubernetes keeps of a termination message.
const MAX_MESSAGE: usize = 4096;

/// The end of a guest that came back by itself.
pub fn returned(success: bool) -> Exit {
    let (code, reason) = if success { (0, ExitReason::Completed) } else { (1, ExitReason::Error) };
    Exit { code, reason, message: String::new() }
}

/// The end of a guest that we interrupted.
pub fn interrupted(message: &str) -> Exit {
    Exit { code: KILLED, reason: ExitReason::Error, message: message.to_owned() }
}

/// The end of a guest that never began.
pub fn cannot_run(message: String) -> Exit {
    Exit { code: CANNOT_RUN, reason: ExitReason::ContainerCannotRun, message: short(message) }
}

/// The end that an error of wasmtime stands for.
pub fn failed(error: &wasmtime::Error) -> Exit {
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        let reason = if *code == 0 { ExitReason::Completed } else { ExitReason::Error };
        return Exit { code: *code, reason, message: String::new() };
    }
    if let Some(oom) = error.downcast_ref::<OomKilled>() {
        let reason = ExitReason::OomKilled;
        return Exit { code: KILLED, reason, message: oom.to_string() };
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::OutOfFuel) {
        let message = "all fuel consumed: the limit of podium.dev/fuel is reached".to_owned();
        return Exit { code: KILLED, reason: ExitReason::FuelExhausted, message };
    }
    let words = trap.map_or_else(|| error.root_cause().to_string(), ToString::to_string);
    let message = match error.downcast_ref::<WasmBacktrace>() {
        Some(backtrace) => format!("{words}\n{backtrace}"),
        None => words,
    };
    Exit { code: TRAPPED, reason: ExitReason::Error, message: short(message) }
}

fn short(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    message.truncate(message.trim_end().len());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_the_code_and_word_that_kubernetes_users_know() {
        let ends = [
            (wasmtime::Error::from(I32Exit(0)), 0, "Completed"),
            (I32Exit(7).into(), 7, "Error"),
            (OomKilled { wanted: 2, limit: 1 }.into(), 137, "OOMKilled"),
            (Trap::OutOfFuel.into(), 137, "FuelExhausted"),
            (Trap::UnreachableCodeReached.into(), 134, "Error"),
        ];
        for (error, code, reason) in ends {
            let exit = failed(&error.context("somewhere deep"));
            assert_eq!((exit.code, exit.reason.as_str()), (code, reason));
        }
    }

    #[test]
    fn a_traps_words_are_the_message() {
        let exit = failed(&Trap::UnreachableCodeReached.into());
        assert!(exit.message.contains("unreachable"), "{}", exit.message);
    }
}
