use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redb::StorageBackend;
use redb::backends::FileBackend;
use tempfile::TempDir;

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::store::{Error, Precondition, Range, Store as _};

fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("server/store.redb")
}

#[tokio::test]
async fn redb_conforms() {
    let folder = TempDir::new().unwrap();
    let number = AtomicU64::new(0);
    crate::store::conformance::run(async || {
        let name = format!("{}.redb", number.fetch_add(1, Ordering::Relaxed));
        open(&folder.path().join(name), system()).unwrap()
    })
    .await;
}

#[tokio::test]
async fn entries_and_the_revision_survive_a_restart() {
    let folder = TempDir::new().unwrap();
    let late = Timestamp::from_second(4_000_000_000).unwrap();
    let clock = || Arc::new(ManualClock::at(late));
    let store = open(&file(&folder), clock()).unwrap();
    let hour = Some(Duration::from_secs(3_600));
    let kept = store.put("/kept", "1".into(), Precondition::Absent, hour).await.unwrap();
    let gone = store.put("/gone", "2".into(), Precondition::Absent, None).await.unwrap();
    let last = store.delete("/gone", gone.revision()).await.unwrap().revision;
    drop(store);

    let store = open(&file(&folder), clock()).unwrap();
    assert_eq!(store.revision(), last);
    let page = store.list(Range::default()).await.unwrap();
    let [found] = page.entries.as_slice() else { panic!("{:?}", page.entries) };
    assert_eq!((found.key(), found.value()), ("/kept", kept.value()));
    assert_eq!((found.revision(), found.expires()), (kept.revision(), kept.expires()));
    let past = store.watch("/", kept.revision()).await.map(drop);
    assert!(matches!(past, Err(Error::Compacted(_))), "{past:?}");
    let next = store.put("/next", "3".into(), Precondition::Absent, None).await.unwrap();
    assert_eq!(next.revision(), last.next());
}

#[test]
fn nobody_but_the_owner_reads_the_file() {
    let folder = TempDir::new().unwrap();
    drop(open(&file(&folder), system()).unwrap());
    for path in [file(&folder), folder.path().join("server")] {
        assert!(platform::is_private(&path).unwrap(), "{}", path.display());
    }
}

#[tokio::test]
async fn a_file_in_use_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let _open = open(&file(&folder), system()).unwrap();
    let second = open(&file(&folder), system()).err().unwrap();
    assert!(matches!(&second, OpenError::InUse(path) if *path == file(&folder)), "{second:?}");
    assert!(second.to_string().contains("store.redb"), "{second}");
}

#[tokio::test]
async fn a_path_that_is_a_folder_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let error = open(folder.path(), system()).err().unwrap();
    assert!(matches!(&error, OpenError::File(path, _) if path == folder.path()), "{error:?}");
}

/// Every way of damaging a file that was tried is refused, or hurts nothing.
#[tokio::test]
async fn a_damaged_file_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let store = open(&file(&folder), system()).unwrap();
    for number in 0..200 {
        let value = vec![b'x'; 1_000].into();
        store.put(&format!("/{number}"), value, Precondition::Absent, None).await.unwrap();
    }
    drop(store);
    let whole = fs::read(file(&folder)).unwrap();
    let damaged = |damage: fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(file(&folder), bytes).unwrap();
        open(&file(&folder), system()).err()
    };
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| *bytes = b"nonsense".repeat(1_000),
        |bytes| bytes.truncate(100),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes[64..320].fill(0xa5),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let error = damaged(damage).unwrap_or_else(|| panic!("damage {number} is not seen"));
        assert!(matches!(error, OpenError::Damaged(..)), "{number}: {error:?}");
        let text = error.to_string();
        assert!(text.contains("store.redb") && text.contains("restore it"), "{text}");
    }
}

/// A file that counts its writes and the syncs after them.
#[derive(Debug)]
struct Counted {
    file: FileBackend,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    syncs: AtomicU64,
    unsynced: AtomicU64,
}

impl StorageBackend for Counted {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.file.sync_data()?;
        self.counts.syncs.fetch_add(1, Ordering::SeqCst);
        self.counts.unsynced.store(0, Ordering::SeqCst);
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.counts.unsynced.fetch_add(1, Ordering::SeqCst);
        self.file.write(offset, data)
    }
    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

#[tokio::test]
async fn every_write_is_synced_before_it_is_acknowledged() {
    let folder = TempDir::new().unwrap();
    let options = fs::File::options().read(true).write(true).create_new(true).clone();
    let file = FileBackend::new(options.open(folder.path().join("counted")).unwrap()).unwrap();
    let counts = Arc::new(Counts::default());
    let backend = Counted { file, counts: counts.clone() };
    let database = redb::Builder::new().create_with_backend(backend).unwrap();
    let store = start(database, Path::new("counted"), system()).unwrap();
    let mut at = None;
    for number in 0..50 {
        let before = counts.syncs.load(Ordering::SeqCst);
        let only_if = at.map_or(Precondition::Absent, Precondition::Unchanged);
        let value = number.to_string().into();
        at = Some(store.put("/a", value, only_if, None).await.unwrap().revision());
        assert!(counts.syncs.load(Ordering::SeqCst) > before, "write {number} was not synced");
        assert_eq!(counts.unsynced.load(Ordering::SeqCst), 0, "write {number} was synced in part");
    }
    let before = counts.syncs.load(Ordering::SeqCst);
    store.delete("/a", at.unwrap()).await.unwrap();
    assert!(counts.syncs.load(Ordering::SeqCst) > before, "a deletion was not synced");
}

#[tokio::test]
async fn a_store_that_was_lost_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let Err(error) = open_existing(&file(&folder), system()) else { panic!("it is opened") };
    assert!(matches!(error, OpenError::Missing(_)), "{error:?}");
    assert!(error.to_string().contains("remove the whole data directory"), "{error}");
    assert!(!file(&folder).exists());
    drop(open(&file(&folder), system()).unwrap());
    open_existing(&file(&folder), system()).unwrap();
}
