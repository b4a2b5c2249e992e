//! The `podium` command as tests of this package start it: cargo tells a test
//! the paths of its own package's binaries alone.
use std::process::ExitCode;

fn main() -> ExitCode {
    podium::cli::main()
}
