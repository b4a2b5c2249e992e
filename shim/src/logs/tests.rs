//! Writer and reader together, over real files.
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi::cli::StdoutStream;

use super::*;
use crate::cri::LogRotation;

const PATIENCE: Duration = Duration::from_secs(10);

async fn log_of(folder: &std::path::Path, lines: &[&str]) -> std::sync::Arc<LogFile> {
    let log =
        LogFile::open(folder.join("c/0.log"), LogRotation::default(), Handle::current()).unwrap();
    let mut out = GuestOutput::new(log.clone(), Stream::Stdout).p2_stream();
    for line in lines {
        out.write(format!("{line}\n").into()).unwrap();
    }
    log.flush().await;
    log
}

async fn text(log: &LogFile, options: Options) -> String {
    let pieces = read(log.path(), options).await.unwrap().try_collect::<Vec<_>>();
    let pieces = tokio::time::timeout(PATIENCE, pieces).await.unwrap().unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test]
async fn lines_come_back_as_written_and_the_tail_is_cut_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of(folder.path(), &["one", "two", "three"]).await;

    assert_eq!(text(&log, Options::default()).await, "one\ntwo\nthree\n");
    let tail = Options { tail_lines: Some(2), ..Options::default() };
    assert_eq!(text(&log, tail).await, "two\nthree\n");
    let nothing = Options { tail_lines: Some(0), ..Options::default() };
    assert_eq!(text(&log, nothing).await, "");
    let short = Options { limit_bytes: Some(5), ..Options::default() };
    assert_eq!(text(&log, short).await, "one\nt");
    let later = std::time::SystemTime::now() + Duration::from_secs(60);
    assert_eq!(text(&log, Options { since: Some(later), ..Options::default() }).await, "");
}

#[tokio::test]
async fn outputs_are_told_apart_and_times_shown_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of(folder.path(), &["out"]).await;
    log.note("trapped\nat 0");
    log.flush().await;

    let only = |stream| Options { stream: Some(stream), ..Options::default() };
    assert_eq!(text(&log, only(Stream::Stdout)).await, "out\n");
    assert_eq!(text(&log, only(Stream::Stderr)).await, "trapped\nat 0\n");
    let timed = Options { timestamps: true, ..only(Stream::Stdout) };
    let timed = text(&log, timed).await;
    let (at, rest) = timed.split_once(' ').unwrap();
    assert!(at.parse::<jiff::Timestamp>().is_ok(), "{timed}");
    assert_eq!(rest, "out\n");
}

#[tokio::test]
async fn instances_that_write_at_once_do_not_mix_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of(folder.path(), &[]).await;
    let outputs = ["a", "b"].map(|_| GuestOutput::new(log.clone(), Stream::Stdout));

    outputs[0].p2_stream().write("first ".into()).unwrap();
    outputs[1].p2_stream().write("second\n".into()).unwrap();
    outputs[0].p2_stream().write("half".into()).unwrap();
    drop(outputs);
    log.flush().await;

    assert_eq!(text(&log, Options::default()).await, "second\nfirst half\n");
}

#[tokio::test]
async fn a_follower_gets_every_line_across_rotations_and_ends_with_the_container() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = LogRotation { max_size: 2_000, max_files: 50 };
    let log = LogFile::open(folder.path().join("0.log"), rotation, Handle::current()).unwrap();
    let ended = CancellationToken::new();
    let options = Options { follow: true, ended: ended.clone(), ..Options::default() };
    let mut follower = std::pin::pin!(read(log.path(), options).await.unwrap());

    let mut expected = String::new();
    let mut seen = Vec::new();
    for round in 0..20 {
        for line in 0..20 {
            let line = format!("round {round} line {line}");
            log.append(Stream::Stdout, line.as_bytes(), true);
            expected.push_str(&line);
            expected.push('\n');
        }
        log.flush().await;
        while round % 5 == 4 && seen.len() < expected.len() {
            let piece = tokio::time::timeout(PATIENCE, follower.next()).await;
            seen.extend_from_slice(&piece.expect("the follower stalls").unwrap().unwrap());
        }
    }
    ended.cancel();
    assert!(tokio::time::timeout(PATIENCE, follower.next()).await.unwrap().is_none());

    assert_eq!(String::from_utf8(seen).unwrap(), expected);
}

#[tokio::test]
async fn rotation_keeps_the_newest_files_within_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = LogRotation { max_size: 1_000, max_files: 3 };
    let log = LogFile::open(folder.path().join("0.log"), rotation, Handle::current()).unwrap();

    for line in 0..200 {
        log.append(Stream::Stdout, format!("line {line}").as_bytes(), true);
    }
    log.flush().await;

    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1_000));
    assert!(log.size() <= 3_000);
    let left = text(&log, Options::default()).await;
    assert!(left.ends_with("line 198\nline 199\n"), "{left}");
    let tail = Options { tail_lines: Some(40), ..Options::default() };
    assert_eq!(text(&log, tail).await.lines().count(), 40);
}
