//! An index whose file is lost, damaged, or fails for a while.
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{ReadableDatabase as _, StorageBackend};

use super::super::Repositories;
use super::super::tables::REPOSITORIES;
use super::*;

const PATH: &str = "index.redb";

/// A file that is full while `full` says so.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn room(&self) -> io::Result<()> {
        let full = self.full.load(Ordering::SeqCst);
        if full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room().and_then(|()| self.file.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.room().and_then(|()| self.file.sync_data())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room().and_then(|()| self.file.write(offset, data))
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn write(index: &Index, name: &str) -> Result<(), StoreError> {
    index.with(|database| {
        let work = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            transaction.open_table(REPOSITORIES)?.insert(name, ())?;
            Ok(transaction.commit()?)
        };
        work().map_err(StoreError::index("write"))
    })
}

fn names(index: &Index) -> Vec<String> {
    let names = index.with(|database| {
        let work = || -> Result<Vec<String>, redb::Error> {
            let table = database.begin_read()?.open_table(REPOSITORIES)?;
            let rows = redb::ReadableTable::iter(&table)?;
            rows.map(|row| Ok(row?.0.value().to_owned())).collect()
        };
        work().map_err(StoreError::index("read"))
    });
    names.unwrap()
}

fn on_disk_that_may_be_full(dir: &Path, full: Arc<AtomicBool>) -> Index {
    let path = dir.join(PATH);
    create(&path).unwrap();
    Index::by(Box::new(move || {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let file = FileBackend::new(file).unwrap();
        let disk = Disk { file, full: full.clone() };
        builder().create_with_backend(disk).map_err(|error| unusable(&path, error))
    }))
}

#[test]
fn an_index_whose_disk_was_full_works_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let index = on_disk_that_may_be_full(dir.path(), full.clone());
    write(&index, "before").unwrap();
    full.store(true, Ordering::SeqCst);
    write(&index, "meanwhile").unwrap_err();
    write(&index, "meanwhile").unwrap_err();
    full.store(false, Ordering::SeqCst);
    write(&index, "after").unwrap();
    assert_eq!(names(&index), ["after", "before"]);
}

#[test]
fn an_index_is_opened_again_after_a_panic_over_it() {
    let dir = tempfile::tempdir().unwrap();
    let index = on_disk_that_may_be_full(dir.path(), Arc::default());
    write(&index, "before").unwrap();
    let panicking = std::panic::AssertUnwindSafe(|| {
        index.with::<(), StoreError>(|database| {
            let transaction = database.begin_write().unwrap();
            let _table = transaction.open_table(REPOSITORIES).unwrap();
            panic!("in the midst of it");
        })
    });
    assert!(std::panic::catch_unwind(panicking).is_err());
    assert!(index.broken.load(Ordering::SeqCst));
    write(&index, "after").unwrap();
    assert_eq!(names(&index), ["after", "before"]);
    assert!(!index.broken.load(Ordering::SeqCst));
}

#[test]
fn a_refusal_does_not_close_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let index = on_disk_that_may_be_full(dir.path(), Arc::default());
    let refused = || Err(StoreError::Full { what: "tags", limit: 1 });
    index.with::<(), _>(|_| refused()).unwrap_err();
    assert!(!index.broken.load(Ordering::SeqCst));
}

fn refusal(dir: &Path) -> String {
    let error = Repositories::open(dir).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(dir.join(PATH).to_str().unwrap()), "{text}");
    let step = format!("remove {} and push your images again", dir.display());
    assert!(text.contains(&step), "{text}");
    text
}

#[test]
fn a_damaged_index_is_refused_with_its_file_and_what_to_do() {
    for content in [&b"garbage"[..], &[0; 8192], b""] {
        let dir = tempfile::tempdir().unwrap();
        drop(Repositories::open(dir.path()).unwrap());
        fs::write(dir.path().join(PATH), content).unwrap();
        let text = refusal(dir.path());
        assert!(text.starts_with("cannot read the registry's index"), "{text}");
        fs::remove_dir_all(dir.path()).unwrap();
        Repositories::open(dir.path()).unwrap();
    }
}

#[tokio::test]
async fn an_index_that_is_lost_beside_content_is_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let repositories = Repositories::open(dir.path()).unwrap();
    drop(repositories);
    fs::remove_file(dir.path().join(PATH)).unwrap();
    let repositories = Repositories::open(dir.path()).unwrap();
    repositories.content().put("content".into()).await.unwrap();
    drop(repositories);
    fs::remove_file(dir.path().join(PATH)).unwrap();

    let text = refusal(dir.path());

    assert!(text.contains("is missing"), "{text}");
    assert!(!dir.path().join(PATH).exists());
}

#[test]
fn an_index_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _open = Repositories::open(dir.path()).unwrap();
    let second = Repositories::open(dir.path()).unwrap_err();
    assert!(matches!(second, StoreError::IndexInUse(_)), "{second}");
}
