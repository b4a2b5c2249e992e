//! Where a container sees the files of its Pod's network, which are written for it.
//!
//! Without a root file system their folder is `/etc` itself; over a root they
//! are laid file by file. A root that nobody may write stays as its image has
//! it, as it is shared, and what is mounted at `/etc` hides them.
use std::io;
use std::path::Path;

use crate::cri::{self, Mount};
use crate::platform::create_private_dir;

/// Where they are.
const ETC: &str = "/etc";

/// Their folder in a container's staging folder; files get folders named by numbers.
const FOLDER: &str = "etc";

/// What is mounted, with the files of `etc`, which are written below `staging`. Blocks.
pub(super) fn mounted(
    mut mounts: Vec<Mount>,
    etc: &cri::Etc,
    staging: &Path,
    has_root: bool,
    is_readonly: bool,
) -> io::Result<Vec<Mount>> {
    let places: Vec<_> = mounts.iter().map(|m| m.container_path.trim_end_matches('/')).collect();
    if (has_root && is_readonly) || places.iter().any(|place| matches!(*place, "" | ETC)) {
        return Ok(mounts);
    }
    let folder = staging.join(FOLDER);
    create_private_dir(&folder)?;
    let files =
        [("hosts", &etc.hosts), ("hostname", &etc.hostname), ("resolv.conf", &etc.resolv_conf)];
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    let has_files = places.iter().any(|place| place.starts_with("/etc/"));
    let mount = |container_path: String, host_path| Mount {
        container_path,
        host_path,
        within: folder.clone(),
        readonly: true,
    };
    let own: Vec<_> = if has_root || has_files {
        let free = files.map(|(name, _)| (format!("{ETC}/{name}"), folder.join(name)));
        let free = free.into_iter().filter(|(path, _)| !places.contains(&path.as_str()));
        free.map(|(path, host)| mount(path, host)).collect()
    } else {
        vec![mount(ETC.to_owned(), folder.clone())]
    };
    mounts.extend(own);
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(places: &[&str], has_root: bool, is_readonly: bool) -> Vec<String> {
        let given = places.iter().map(|place| Mount {
            container_path: (*place).to_owned(),
            host_path: "/volume".into(),
            within: "/volume".into(),
            readonly: false,
        });
        let staging = tempfile::tempdir().unwrap();
        let etc = cri::Etc { hosts: "own".into(), ..cri::Etc::default() };
        let all = mounted(given.collect(), &etc, staging.path(), has_root, is_readonly).unwrap();
        let own = &all[places.len()..];
        let hosts = std::fs::read_to_string(staging.path().join("etc/hosts"));
        assert_eq!(hosts.ok().as_deref(), (!own.is_empty()).then_some("own"));
        own.iter().map(|mount| mount.container_path.clone()).collect()
    }

    #[test]
    fn a_bare_guest_sees_the_folder_and_a_root_gets_the_files() {
        assert_eq!(seen(&["/data"], false, true), ["/etc"]);
        assert_eq!(
            seen(&["/data"], true, false),
            ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]
        );
        assert!(seen(&["/data"], true, true).is_empty());
    }

    #[test]
    fn what_the_pod_mounts_goes_first() {
        assert!(seen(&["/etc/"], false, false).is_empty());
        assert!(seen(&["/"], false, false).is_empty());
        assert_eq!(seen(&["/etc/hosts"], false, false), ["/etc/hostname", "/etc/resolv.conf"]);
    }
}
