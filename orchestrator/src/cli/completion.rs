//! `podium completion SHELL`: the completion script of a shell.
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Flags of `podium completion`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Podium::command(), "podium", &mut script);
    super::say(&String::from_utf8(script)?)
}
