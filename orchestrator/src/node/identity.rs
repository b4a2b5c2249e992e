//! By what the machine of a node is told from others.
//!
//! What the system does not say without rights is stood for by an id that the
//! node makes once and keeps in its data folder.
use std::io;
use std::path::Path;

use tracing::warn;

use crate::clock::Entropy;
use crate::platform;

/// The ids of a machine, as a Node's status has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// Of its operating system, as it is installed.
    pub machine: String,
    /// Of its hardware.
    pub system: String,
    /// Of its last start; empty where no system tells.
    pub boot: String,
}

impl Identity {
    /// That of this machine.
    pub fn of_machine(data_dir: &Path, entropy: &Entropy) -> Self {
        let machine = platform::machine_id().unwrap_or_else(|| kept(data_dir, entropy));
        Self {
            system: platform::system_uuid().unwrap_or_else(|| as_uuid(&machine)),
            boot: platform::boot_id().unwrap_or_default(),
            machine,
        }
    }
}

/// The id in the data folder, made where there is none.
fn kept(data_dir: &Path, entropy: &Entropy) -> String {
    let path = data_dir.join("machine-id");
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return text.trim().to_owned(),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "machine id not readable, making another");
        }
        _ => {}
    }
    let id = entropy.uuid().replace('-', "");
    let written = std::fs::create_dir_all(data_dir)
        .and_then(|()| platform::write_private(&path, id.as_bytes()));
    if let Err(error) = written {
        warn!(path = %path.display(), %error, "machine id not kept, the next start has another");
    }
    id
}

/// 32 digits in the form of a UUID; anything else as it is.
fn as_uuid(id: &str) -> String {
    uuid::Uuid::try_parse(id).map_or_else(|_| id.to_owned(), |uuid| uuid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_an_id_keeps_one() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("node");
        let first = kept(&folder, &Entropy::seeded(1));
        assert_eq!(kept(&folder, &Entropy::seeded(2)), first);
        let uuid = as_uuid(&first);
        assert_eq!((first.len(), uuid.len()), (32, 36));
        assert_eq!(uuid.replace('-', ""), first);
    }

    #[test]
    fn a_machine_has_the_same_ids_whenever_it_is_asked() {
        let home = tempfile::tempdir().unwrap();
        let seen = Identity::of_machine(home.path(), &Entropy::seeded(1));
        assert!(!seen.machine.is_empty() && !seen.system.is_empty());
        assert_eq!(Identity::of_machine(home.path(), &Entropy::seeded(2)), seen);
    }
}
