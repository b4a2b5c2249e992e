use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
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

/// Opens the file as a backend that shares something with the test.
fn over<S: Send + Sync + 'static, B: StorageBackend>(
    path: &Path,
    shared: Arc<S>,
    backend: fn(FileBackend, Arc<S>) -> B,
) -> Opener {
    let path = path.to_path_buf();
    Box::new(move || {
        let file = FileBackend::new(fs::File::options().read(true).write(true).open(&path)?)?;
        redb::Builder::new().create_with_backend(backend(file, shared.clone()))
    })
}

fn counted(file: FileBackend, counts: Arc<Counts>) -> Counted {
    Counted { file, counts }
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
    let path = folder.path().join("counted");
    create(&path).unwrap();
    let counts = Arc::new(Counts::default());
    let store = start(over(&path, counts.clone(), counted), &path, system()).unwrap();
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

/// A disk that is full from an operation on: one in so many, or never.
#[derive(Debug)]
struct Disk {
    operations_left: AtomicU64,
    /// Whether what fails is done all the same, as a sync may be.
    does: bool,
}

const ROOM: u64 = u64::MAX;

impl Disk {
    fn change(&self, operation: impl Fn() -> std::io::Result<()>) -> std::io::Result<()> {
        let left = self.operations_left.load(Ordering::SeqCst);
        if left > 0 {
            self.operations_left
                .store(if left == ROOM { ROOM } else { left - 1 }, Ordering::SeqCst);
            return operation();
        }
        if self.does {
            operation()?;
        }
        Err(ErrorKind::StorageFull.into())
    }
}

#[derive(Debug)]
struct Bounded {
    file: FileBackend,
    disk: Arc<Disk>,
}

impl StorageBackend for Bounded {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.disk.change(|| self.file.set_len(len))
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.disk.change(|| self.file.sync_data())
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.disk.change(|| self.file.write(offset, data))
    }
    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

fn bounded(file: FileBackend, disk: Arc<Disk>) -> Bounded {
    Bounded { file, disk }
}

async fn found(store: &Embedded) -> Vec<(String, Bytes)> {
    let page = store.list(Range::default()).await.unwrap();
    page.entries.iter().map(|entry| (entry.key().to_owned(), entry.value().clone())).collect()
}

/// Fills the disk at one operation of a commit after the other; whether the commit noticed.
async fn fills_up(operation: u64, does: bool) -> bool {
    let folder = TempDir::new().unwrap();
    let path = file(&folder);
    drop(open(&path, system()).unwrap());
    let disk = Arc::new(Disk { operations_left: AtomicU64::new(ROOM), does });
    let store = start(over(&path, disk.clone(), bounded), &path, system()).unwrap();
    let a = store.put("/a", "1".into(), Precondition::Absent, None).await.unwrap().revision();

    disk.operations_left.store(operation, Ordering::SeqCst);
    let only_if = Precondition::Unchanged(a);
    let refused = store.put("/a", vec![b'2'; 100_000].into(), only_if, None).await.is_err();
    let again = store.put("/b", "3".into(), Precondition::Absent, None).await;
    let Err(again) = again else { panic!("{operation}: there is room on a full disk") };
    assert!(
        matches!(&again, Error::Full(place, _) if Some(&**place) == path.parent()),
        "{again:?}"
    );
    let told = format!("the disk of {} is full; free ", path.parent().unwrap().display());
    assert!(again.to_string().starts_with(&told), "{again}");
    assert!(matches!(store.trouble(), Some(Error::Full(..))), "{operation}");

    disk.operations_left.store(ROOM, Ordering::SeqCst);
    if refused {
        assert_eq!(found(&store).await, [("/a".to_owned(), "1".into())], "{operation}");
        let c = store.put("/c", "4".into(), Precondition::Absent, None).await.unwrap();
        assert_eq!(c.revision(), a.next(), "{operation}");
        assert!(store.trouble().is_none(), "{operation}");
        let expected = [("/a".to_owned(), "1".into()), ("/c".to_owned(), "4".into())];
        assert_eq!(found(&store).await, expected, "{operation}");
        drop(store);
        let store = open(&path, system()).unwrap();
        assert_eq!((found(&store).await, store.revision()), (expected.to_vec(), c.revision()));
    }
    refused
}

#[tokio::test]
async fn a_full_disk_loses_no_write_and_shows_none_that_failed_and_is_forgotten() {
    for does in [false, true] {
        let mut operations = 0;
        while fills_up(operations, does).await {
            operations += 1;
        }
        assert!(operations > 2, "a commit had {operations} operations");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_again_ends() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder);
    drop(open(&path, system()).unwrap());
    let disk = Arc::new(Disk { operations_left: AtomicU64::new(ROOM), does: false });
    let store = start(over(&path, disk.clone(), bounded), &path, system()).unwrap();
    disk.operations_left.store(0, Ordering::SeqCst);
    let put = async |key| store.put(key, "1".into(), Precondition::Absent, None).await;
    assert!(matches!(put("/a").await, Err(Error::Full(..))));
    disk.operations_left.store(ROOM, Ordering::SeqCst);
    fs::remove_file(&path).unwrap();
    let Err(Error::Lost(why)) = put("/a").await else { panic!("it goes on without its file") };
    assert!(matches!(&*why, OpenError::Missing(missing) if *missing == path), "{why:?}");
    store.ended().cancelled().await;
    assert!(matches!(put("/a").await, Err(Error::Closed)));
}

/// Random damage to what holds something is refused by the file's name, or hurts nothing.
#[tokio::test]
async fn no_random_damage_is_believed() {
    let folder = TempDir::new().unwrap();
    let store = open(&file(&folder), system()).unwrap();
    for number in 0..300 {
        let value = vec![b'x'; 700].into();
        store.put(&format!("/{number}"), value, Precondition::Absent, None).await.unwrap();
    }
    let whole = found(&store).await;
    drop(store);
    let bytes = fs::read(file(&folder)).unwrap();
    let used: Vec<usize> =
        (0..bytes.len() / 64).filter(|i| bytes[i * 64..][..64].iter().any(|b| *b != 0)).collect();
    let random = crate::clock::Entropy::seeded(7);
    let mut refused = 0;
    for trial in 0..120 {
        let mut damaged = bytes.clone();
        for _ in 0..[1, 3, 200][trial % 3] {
            let place = used[(random.fraction() * used.len() as f64) as usize] * 64;
            damaged[place..place + 64].fill_with(|| (random.fraction() * 256.0) as u8);
        }
        fs::write(file(&folder), damaged).unwrap();
        match open(&file(&folder), system()) {
            Ok(store) => assert!(found(&store).await == whole, "trial {trial} is believed"),
            Err(error @ (OpenError::Damaged(..) | OpenError::Entry(..))) => {
                let text = error.to_string();
                assert!(text.contains("store.redb") && text.contains("restore"), "{text}");
                refused += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(refused > 60, "{refused} of 120 are refused");
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
