//! Work that keeps a core busy for long: on a thread of its own, which stands back for those that answer requests.
//!
//! A hash takes 20 ms, a large picture seconds. Of equal rank, they and a request's few hundred microseconds take turns, and
//! the request, which changes hands several times between edge, origin and database, waits for its turn each time.

use std::thread;
use tokio::sync::oneshot;

/// Niceness of such a thread: where all cores are busy it gets a tenth of what others get, so that nobody who signs in waits
/// for ever.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Runs it; `None` where there is no thread to be had, or the work panicked. Dropping the future does not stop the work.
pub(crate) async fn run<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, result) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        stand_back();
        // Who asked may have gone.
        let _ = sender.send(work());
    });
    thread.ok()?;
    result.await.ok()
}

/// On Linux, niceness is each thread's own.
#[cfg(target_os = "linux")]
fn stand_back() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        // It works all the same.
        tracing::debug!(event = "priority-not-lowered", error = %error, "a thread keeps its priority");
    }
}

#[cfg(not(target_os = "linux"))]
const fn stand_back() {}

#[cfg(test)]
mod tests {
    use super::run;

    #[tokio::test]
    async fn it_gives_back_what_was_made_and_survives_a_panic() {
        assert_eq!(run("test", || 7).await, Some(7));
        let panicked = run("test", || {
            // Somebody's work may.
            assert!(std::hint::black_box(false));
        });
        assert_eq!(panicked.await, None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_the_thread_of_the_work_stands_back() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let there = run("test", niceness).await;
        assert_eq!(there, Some(before.max(super::NICE)));
        assert_eq!(niceness(), before);
    }
}
