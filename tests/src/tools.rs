//! Command-line clients that we did not write.
//!
//! A fresh machine has none of them: a test that wants one says so and passes,
//! unless `PODIUM_REQUIRE_TOOLS` is set, as it is in CI.
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A guest that `tests/guests/foreign/build.sh` built, in the folder that `PODIUM_FOREIGN_GUESTS`
/// names. Says that the test skips if it is not there; panics where tools are required.
pub fn foreign_guest(name: &str) -> Option<PathBuf> {
    let built = std::env::var_os("PODIUM_FOREIGN_GUESTS")
        .map(|folder| PathBuf::from(folder).join(name))
        .filter(|path| path.is_file());
    if built.is_none() {
        assert!(
            std::env::var_os("PODIUM_REQUIRE_TOOLS").is_none(),
            "{name} is required here: run tests/guests/foreign/build.sh and name its folder in PODIUM_FOREIGN_GUESTS"
        );
        eprintln!("SKIPPED: {name} is not built");
    }
    built
}

/// What a tool printed.
#[derive(Debug)]
pub struct Output {
    /// Whether it ended with 0.
    pub success: bool,
    /// What it ended with; none if it was killed.
    pub code: Option<i32>,
    /// Its output.
    pub stdout: String,
    /// Its complaints.
    pub stderr: String,
}

/// A tool on this machine, with the environment every call gets.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    /// What every call begins with.
    before: Vec<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Tool {
    /// The tool, if this machine has it. Says that the test skips if not; panics where tools are required.
    pub fn find(name: &str) -> Option<Self> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let found =
            std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|p| p.is_file());
        if found.is_none() {
            assert!(
                std::env::var_os("PODIUM_REQUIRE_TOOLS").is_none(),
                "{name} is required here and not installed"
            );
            eprintln!("SKIPPED: {name} is not installed");
        }
        found.map(Self::at)
    }

    /// A tool at this path.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), before: Vec::new(), environment: Vec::new() }
    }

    /// This tool with words that every call begins with.
    #[must_use]
    pub fn before(mut self, words: &[PathBuf]) -> Self {
        self.before.extend_from_slice(words);
        self
    }

    /// This tool with one more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it with this input; what it prints is the test's to judge.
    pub async fn try_run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(&self.program);
        command.args(&self.before).args(arguments.iter().map(OsStr::new)).stdin(Stdio::piped());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let program = self.program.clone();
        let run = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap_or_else(|e| panic!("start {program:?}: {e}"));
            let mut stdin = child.stdin.take().expect("it is piped");
            // A tool that wants no input closes it early.
            let written = stdin.write_all(input.as_bytes());
            drop(stdin);
            let output = child.wait_with_output().expect("the tool runs");
            assert!(written.is_ok() || !output.status.success(), "{written:?}");
            output
        });
        let output = run.await.expect("the tool runs");
        Output {
            success: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it and answers what it printed; panics with its complaints if it fails.
    pub async fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, "").await
    }

    /// The same with input.
    pub async fn run_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_run(arguments, input).await;
        assert!(
            output.success,
            "{:?} {arguments:?}: {}{}",
            self.program, output.stdout, output.stderr
        );
        output.stdout
    }

    /// Runs it and answers its complaints; panics if it succeeds.
    pub async fn fail(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_run(arguments, input).await;
        assert!(!output.success, "{:?} {arguments:?} succeeded: {}", self.program, output.stdout);
        output.stderr
    }
}
