//! The data directory: that it can be used, by whom, and that its secrets are its owner's.
use std::path::Path;

use super::Finding;
use crate::cli::artifact::bytes;
use crate::cli::data_dir::{DataDir, Holder, holder};
use crate::platform;

/// Less free space than this and images and logs will soon not fit.
const LOW_SPACE: u64 = 1 << 30;

/// Less than this and the store cannot grow.
const NO_SPACE: u64 = 64 << 20;

/// What is wrong with the files of a data directory.
pub(super) fn check(root: &Path) -> Vec<Finding> {
    const DATA: &str = "data directory";
    let shown = root.display();
    if !root.exists() {
        return vec![Finding::ok(DATA, format!("{shown} is not there yet: `podium up` makes it"))];
    }
    let mut findings = vec![lock(root)];
    if let Err(error) = tempfile::tempfile_in(root) {
        let fix = format!(
            "let your user write there, or name another directory with --data-dir; `ls -ld {shown}` shows whose it is"
        );
        findings.push(Finding::error(DATA, format!("{shown} cannot be written: {error}"), fix));
    }
    if let Err(error) = DataDir::check_format(root) {
        let fix = "use the podium that wrote it, or name another directory with --data-dir";
        findings.push(Finding::error("format", error.to_string(), fix));
    } else {
        findings.push(Finding::ok("format", format!("{shown} is of a format this podium knows")));
    }
    findings.extend(secrets(root));
    findings.extend(space(root));
    findings
}

fn lock(root: &Path) -> Finding {
    const LOCK: &str = "lock";
    let shown = root.display();
    match holder(root) {
        Ok(Holder::Nobody) => Finding::ok(LOCK, format!("no podium runs on {shown}")),
        Ok(Holder::Process(Some(process))) => {
            Finding::ok(LOCK, format!("process {process} runs on {shown}"))
        }
        Ok(Holder::Process(None)) => Finding::ok(LOCK, format!("a podium runs on {shown}")),
        Err(error) => {
            let fix = format!("let your user read {shown}");
            Finding::error(LOCK, format!("{shown}/lock cannot be opened: {error}"), fix)
        }
    }
}

/// What only the owner may read.
fn secrets(root: &Path) -> Vec<Finding> {
    const SECRETS: &str = "permissions";
    let mut findings = Vec::new();
    for name in ["pki", "kubeconfig"] {
        let path = root.join(name);
        let shown = path.display();
        match platform::open_to_others(&path) {
            Ok(Some(true)) => {
                let fix = format!("chmod go= {shown}");
                let why =
                    format!("{shown} gives full power over the cluster, and others may read it");
                findings.push(Finding::error(SECRETS, why, fix));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let fix = format!("let your user read {shown}");
                findings.push(Finding::error(SECRETS, format!("{shown}: {error}"), fix));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SECRETS, "keys and kubeconfig are their owner's alone"));
    }
    findings
}

fn space(root: &Path) -> Option<Finding> {
    const SPACE: &str = "disk space";
    let free = platform::disk_available(root)?;
    let message = format!("{} free for {}", bytes(free), root.display());
    let fix = "free some space, or move the data directory with --data-dir";
    Some(match free {
        ..NO_SPACE => Finding::error(SPACE, message, fix),
        NO_SPACE..LOW_SPACE => Finding::warning(SPACE, message, fix),
        _ => Finding::ok(SPACE, message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn a_directory_of_a_newer_format_and_a_readable_kubeconfig_are_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("format.json"), r#"{"version":99}"#).unwrap();
        std::fs::write(folder.path().join("kubeconfig"), "x").unwrap();
        let findings = check(folder.path());
        let wrong: Vec<_> =
            findings.iter().filter(|f| f.level == Level::Error).map(|f| f.check).collect();
        let expected: &[&str] =
            if crate::platform::LINKS { &["format", "permissions"] } else { &["format"] };
        assert_eq!(wrong, expected, "{findings:?}");
    }

    #[test]
    fn what_is_not_there_yet_is_no_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let findings = check(&folder.path().join("none"));
        assert!(findings.iter().all(|f| f.level == Level::Ok), "{findings:?}");
    }
}
