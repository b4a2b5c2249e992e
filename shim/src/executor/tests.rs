//! Futures stand in for guests: what yields to itself spins.
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn account(quota: Option<Duration>) -> Arc<CpuAccount> {
    Arc::new(CpuAccount::new(quota, DEFAULT_PERIOD, 1024))
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Uses CPU for ever, some microseconds a slice; drops `alive` when ended.
async fn spin(alive: oneshot::Sender<()>) {
    while !alive.is_closed() {
        std::hint::black_box((0..10_000u64).fold(0, |sum: u64, n| sum.wrapping_add(n)));
        yield_once().await;
    }
}

#[tokio::test]
async fn a_spinning_guest_delays_no_other_and_ends_when_dropped() {
    let executor = Executor::with_threads(&Handle::current(), 1).unwrap();
    let (alive, ended) = oneshot::channel();
    let spinning = executor.spawn(&account(None), spin(alive));

    let (done, heard) = oneshot::channel();
    let neighbour = executor.spawn(&account(None), async move {
        for _ in 0..100 {
            yield_once().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        done.send(()).unwrap();
    });
    tokio::time::timeout(PATIENCE, heard).await.unwrap().unwrap();
    neighbour.detach();

    drop(spinning);
    assert!(tokio::time::timeout(PATIENCE, ended).await.unwrap().is_err());
}

#[tokio::test]
async fn the_first_slice_runs_inline_and_the_rest_on_the_executor() {
    let executor = Executor::with_threads(&Handle::current(), 1).unwrap();
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();

    let task = executor.spawn_inline(&account(None), async move {
        tx.send(std::thread::current().id()).unwrap();
        yield_once().await;
        tx.send(std::thread::current().id()).unwrap();
    });

    assert_eq!(rx.try_recv(), Ok(std::thread::current().id()));
    assert_ne!(rx.recv().await.unwrap(), std::thread::current().id());
    task.detach();
}

#[tokio::test]
async fn a_guest_out_of_quota_waits_and_is_not_killed() {
    let executor = Executor::with_threads(&Handle::current(), 1).unwrap();
    let limited = account(Some(Duration::from_millis(1)));
    limited.charge(Duration::from_millis(1));
    let (done, heard) = oneshot::channel();

    let task = executor.spawn_inline(&limited, async move { done.send(()).unwrap() });

    tokio::time::timeout(PATIENCE, heard).await.unwrap().unwrap();
    assert_eq!(limited.throttled_periods(), 1);
    task.detach();
}

#[tokio::test]
async fn a_throttled_guest_is_ended_at_once() {
    let executor = Executor::with_threads(&Handle::current(), 1).unwrap();
    let limited = account(Some(Duration::from_nanos(1)));
    limited.charge(Duration::from_secs(3600));
    let (alive, ended) = oneshot::channel();

    drop(executor.spawn(&limited, spin(alive)));

    assert!(tokio::time::timeout(PATIENCE, ended).await.unwrap().is_err());
}

#[tokio::test]
async fn a_panicking_host_function_ends_only_its_guest() {
    let executor = Executor::with_threads(&Handle::current(), 1).unwrap();
    executor.spawn(&account(None), async { panic!("a bug of ours") }).detach();
    let (done, heard) = oneshot::channel();

    executor.spawn(&account(None), async move { done.send(()).unwrap() }).detach();

    tokio::time::timeout(PATIENCE, heard).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_between_threads() {
    let executor = Executor::with_threads(&Handle::current(), 2).unwrap();
    let (to, mut at) = tokio::sync::mpsc::channel::<u32>(1);
    let (back, mut home) = tokio::sync::mpsc::channel::<u32>(1);
    let guest = executor.spawn(&account(None), async move {
        while let Some(n) = at.recv().await {
            back.send(n).await.unwrap();
        }
    });

    for n in 0..20_000 {
        to.send(n).await.unwrap();
        let heard = tokio::time::timeout(PATIENCE, home.recv()).await;
        assert_eq!(heard.expect("a wake-up was lost"), Some(n));
    }
    guest.detach();
}
