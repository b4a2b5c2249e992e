//! Where a container sees the files of its Pod's network.
//!
//! Without a root file system their folder is `/etc` itself; over a root they
//! are laid file by file. A root that nobody may write stays as its image has
//! it, as it is shared, and what is mounted at `/etc` hides them.
use std::path::Path;

use crate::cri::Mount;

/// Where they are.
const ETC: &str = "/etc";

/// What is mounted, with the files in `etc`.
pub fn mounts(
    mut mounts: Vec<Mount>,
    etc: Option<&Path>,
    has_root: bool,
    is_readonly: bool,
) -> Vec<Mount> {
    let Some(etc) = etc.filter(|_| !(has_root && is_readonly)) else { return mounts };
    let places: Vec<_> = mounts.iter().map(|m| m.container_path.trim_end_matches('/')).collect();
    if places.iter().any(|place| matches!(*place, "" | ETC)) {
        return mounts;
    }
    let has_files = places.iter().any(|place| place.starts_with("/etc/"));
    let mount = |container_path: String, host_path| Mount {
        container_path,
        host_path,
        within: etc.to_owned(),
        readonly: true,
    };
    let own: Vec<_> = if has_root || has_files {
        let files = ["hosts", "hostname", "resolv.conf"];
        let free = files.map(|name| (format!("{ETC}/{name}"), etc.join(name)));
        let free = free.into_iter().filter(|(path, _)| !places.contains(&path.as_str()));
        free.map(|(path, host)| mount(path, host)).collect()
    } else {
        vec![mount(ETC.to_owned(), etc.to_owned())]
    };
    mounts.extend(own);
    mounts
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
        let all = mounts(given.collect(), Some(Path::new("/pod/etc")), has_root, is_readonly);
        all[places.len()..].iter().map(|mount| mount.container_path.clone()).collect()
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
