//! What the store acknowledged is there after `kill -9`, and nothing is
//! half-written.
//!
//! The test starts itself again as the process that is killed: it writes with
//! many writers and says on its standard output what was acknowledged.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use podium::clock::{Entropy, SystemClock};
use podium::store::{Precondition, Range, Revision, Store as _, redb};

/// Names the store's file to the process that is killed.
const WRITER: &str = "PODIUM_TEST_STORE";

/// How often the writer is killed.
const KILLS: u64 = 10;

/// Writers in one process: enough that commits hold several writes.
const WRITERS: u64 = 16;

/// A writer removes what it wrote so many writes ago.
const KEPT: u64 = 50;

/// What a key must hold.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Written {
    revision: Revision,
    number: u64,
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    if let Ok(path) = std::env::var(WRITER) {
        return write_until_killed(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let random = Entropy::seeded(5);
    let (mut expected, mut last) = (BTreeMap::<String, Written>::new(), Revision::EMPTY);
    for round in 0..KILLS {
        let lines = 1 + (random.fraction() * 1_500.0) as usize;
        let (written, highest) = kill_after(&path, lines);
        assert!(highest > last, "round {round}: revision {highest} after {last}");
        for (key, value) in written {
            match value {
                Some(value) => expected.insert(key, value),
                None => expected.remove(&key),
            };
        }
        (expected, last) = check(&path, &expected, highest, round);
    }
}

/// Runs a writer until it has acknowledged so many writes; answers all it did.
fn kill_after(path: &Path, lines: usize) -> (BTreeMap<String, Option<Written>>, Revision) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "acknowledged_writes_survive_kill_9", "--nocapture"])
        .env(WRITER, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut written, mut highest, mut count) = (BTreeMap::new(), Revision::EMPTY, 0);
    let mut line = String::new();
    // What is in the pipe when the process dies was acknowledged too.
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some((key, value, revision)) =
            line.ends_with('\n').then(|| acknowledged(&line)).flatten()
        {
            written.insert(key, value);
            highest = highest.max(revision);
            count += 1;
            if count == lines {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    let status = child.wait().unwrap();
    assert!(count >= lines, "the writer ended by itself: {status}");
    (written, highest)
}

/// Reads `put KEY NUMBER REVISION` or `del KEY REVISION`; other lines are the test harness's.
fn acknowledged(line: &str) -> Option<(String, Option<Written>, Revision)> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["put", key, number, revision] => {
            let revision = Revision(revision.parse().unwrap());
            let written = Written { revision, number: number.parse().unwrap() };
            Some((key.to_owned(), Some(written), revision))
        }
        ["del", key, revision] => Some((key.to_owned(), None, Revision(revision.parse().unwrap()))),
        _ => None,
    }
}

/// Compares the store with what was acknowledged; answers what is there, and its revision.
///
/// A write that was under way may be there or not: such a key holds a later
/// write than expected, or is one of those that were being removed.
fn check(
    path: &Path,
    expected: &BTreeMap<String, Written>,
    highest: Revision,
    round: u64,
) -> (BTreeMap<String, Written>, Revision) {
    let store = redb::open(path, Arc::new(SystemClock)).unwrap();
    let revision = store.revision();
    assert!(revision >= highest, "round {round}: at {revision}, acknowledged {highest}");
    let page = run(store.list(Range::default())).unwrap();
    let mut found = BTreeMap::new();
    for entry in &page.entries {
        let number =
            number_of(entry.value()).unwrap_or_else(|| panic!("{entry:?} is half written"));
        assert!(entry.revision() <= revision, "{entry:?} is later than the store");
        found.insert(entry.key().to_owned(), Written { revision: entry.revision(), number });
    }
    let missing: Vec<_> = expected
        .iter()
        .filter(|(key, written)| match found.get(key.as_str()) {
            Some(there) => there.revision < written.revision,
            None => true,
        })
        .collect();
    // Each writer may have been about to remove one, without having been answered.
    assert!(missing.len() <= WRITERS as usize, "round {round}: lost {missing:?}");
    for (key, _) in missing {
        assert!(
            !found.contains_key(key.as_str()) && was_to_be_removed(key, expected),
            "lost {key}"
        );
    }
    (found, revision)
}

/// Whether the writer of `key` had come so far that it removes it.
fn was_to_be_removed(key: &str, expected: &BTreeMap<String, Written>) -> bool {
    let (writer, number) = key.rsplit_once('/').unwrap();
    let number: u64 = number.parse().unwrap();
    let later = format!("{writer}/{:012}", number + KEPT);
    expected.contains_key(&later)
}

fn value_of(number: u64) -> Vec<u8> {
    number.to_string().into_bytes().repeat(1 + (number % 300) as usize)
}

fn number_of(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    (1..=text.len().min(12))
        .filter_map(|digits| text[..digits].parse().ok())
        .find(|number| value_of(*number) == value)
}

fn write_until_killed(path: &Path) {
    let store = Arc::new(redb::open(path, Arc::new(SystemClock)).unwrap());
    let first = store.revision().0;
    run(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(async move {
                let mut revisions = BTreeMap::new();
                for number in 0.. {
                    let key = format!("/{first}/{writer}/{number:012}");
                    let value = value_of(number).into();
                    let put = store.put(&key, value, Precondition::Absent, None).await.unwrap();
                    say(&format!("put {key} {number} {}\n", put.revision()));
                    revisions.insert(number, put.revision());
                    let Some(old) = number.checked_sub(KEPT) else { continue };
                    let key = format!("/{first}/{writer}/{old:012}");
                    let removed = store.delete(&key, revisions[&old]).await.unwrap();
                    say(&format!("del {key} {}\n", removed.revision));
                }
            });
        }
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
    });
}

/// Says a line in one piece; past the harness, which would keep it.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(line.as_bytes()).unwrap();
    output.flush().unwrap();
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
