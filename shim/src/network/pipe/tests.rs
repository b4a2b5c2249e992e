//! What a pipe promises: order, bounds, ends.
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn pair() -> (Stream, Stream) {
    Stream::pair("10.64.0.2:40000".parse().unwrap(), "10.64.0.3:80".parse().unwrap())
}

#[test]
fn a_chunk_arrives_without_a_copy() {
    let (a, b) = pair();
    let (_, writer) = a.into_split();
    let (reader, _) = b.into_split();
    let chunk = Bytes::from(vec![7; 100]);
    let place = chunk.as_ptr();
    writer.put(chunk).unwrap();
    let first = reader.take_chunk(40).unwrap();
    let rest = reader.take_chunk(1000).unwrap();
    assert_eq!((first.len(), rest.len()), (40, 60));
    assert_eq!(first.as_ptr(), place);
    assert_eq!(reader.take_chunk(10).unwrap(), Bytes::new());
}

#[test]
fn each_end_knows_both_addresses() {
    let (a, b) = pair();
    assert_eq!(a.local_addr(), b.peer_addr());
    assert_eq!(a.peer_addr(), b.local_addr());
    assert_eq!(b.local_addr().port(), 80);
}

#[test]
fn single_bytes_fill_a_queue_long_before_its_capacity_in_bytes() {
    let (a, _b) = pair();
    let (_, writer) = a.into_split();
    let mut written = 0;
    while writer.room().unwrap() > 0 {
        writer.put(Bytes::from_static(b"x")).unwrap();
        written += 1;
    }
    assert!(written <= CAPACITY / CHUNK_COST, "{written} chunks fit");
}

#[tokio::test]
async fn a_writer_waits_for_room_and_goes_on_when_the_reader_has_read() {
    let (mut a, mut b) = pair();
    let sent: Vec<u8> = (0..CAPACITY * 4).map(|i| i as u8).collect();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        a.write_all(&copy).await.unwrap();
        a.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    b.read_to_end(&mut got).await.unwrap();
    writing.await.unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn a_full_queue_holds_its_writer() {
    let (mut a, _b) = pair();
    let filled = a.write_all(&vec![0; CAPACITY * 2]).now_or_never();
    assert!(filled.is_none());
}

#[tokio::test]
async fn one_direction_can_end_while_the_other_goes_on() {
    let (mut a, mut b) = pair();
    a.write_all(b"last words").await.unwrap();
    a.shutdown().await.unwrap();
    let mut heard = String::new();
    b.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "last words");
    b.write_all(b"answer").await.unwrap();
    drop(b);
    let mut answer = String::new();
    a.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
}

#[tokio::test]
async fn writing_to_nobody_is_a_broken_pipe() {
    let (mut a, b) = pair();
    drop(b);
    let error = a.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_bridge_ends_when_its_connection_is_gone_although_the_other_side_is_silent() {
    let (a, b) = pair();
    let (ours, mut theirs) = tokio::io::duplex(64);
    let bridge = tokio::spawn(bridge(b, ours));
    let (mut reader, writer) = a.into_split();
    theirs.write_all(b"hi").await.unwrap();
    let mut two = [0; 2];
    reader.read_exact(&mut two).await.unwrap();
    drop((reader, writer));
    bridge.await.unwrap().unwrap();
    let mut rest = Vec::new();
    theirs.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_bridge_carries_an_answer_after_a_half_close() {
    let (mut a, b) = pair();
    let (ours, mut theirs) = tokio::io::duplex(64);
    let bridge = tokio::spawn(bridge(b, ours));
    a.write_all(b"question").await.unwrap();
    a.shutdown().await.unwrap();
    let mut question = String::new();
    theirs.read_to_string(&mut question).await.unwrap();
    theirs.write_all(b"answer").await.unwrap();
    drop(theirs);
    let mut answer = String::new();
    a.read_to_string(&mut answer).await.unwrap();
    assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
    drop(a);
    bridge.await.unwrap().unwrap();
}

#[test]
fn a_shutdown_handle_closes_ends_that_live_elsewhere() {
    let (a, b) = pair();
    let handle = a.shutdown_handle();
    let (_reader, _writer) = a.into_split();
    let (reader, writer) = b.into_split();
    handle.write();
    assert_eq!(reader.take_chunk(1), None);
    assert_eq!(writer.put(Bytes::from_static(b"x")), Ok(()));
    handle.read();
    assert_eq!(writer.put(Bytes::from_static(b"x")), Err(Closed));
}
