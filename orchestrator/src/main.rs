//! The `podium` command.
use std::process::ExitCode;

fn main() -> ExitCode {
    podium::cli::main()
}
