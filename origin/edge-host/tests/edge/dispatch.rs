//! Jobs: one at a time per process, in fair turns, within their deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Edge, IDLE, Job, Metrics, Reply, WAITING, connections, signal, workerd};

/// Starts a job on a connection of its own and leaves it running.
fn spawn(edge: &Arc<Edge>, job: Job) -> tokio::task::JoinHandle<(Reply, Instant)> {
    let edge = Arc::clone(edge);
    tokio::spawn(async move { (edge.job(&job).await, Instant::now()) })
}

async fn start(dir: &tempfile::TempDir, more: &[&str]) -> Option<(Arc<Edge>, Metrics)> {
    let workerd = workerd()?;
    let all: Vec<&str> = Metrics::FLAGS.iter().chain(more).copied().collect();
    let edge = Edge::start(dir.path(), &workerd, &all).await;
    let metrics = Metrics::of(&edge);
    Some((Arc::new(edge), metrics))
}

#[tokio::test]
async fn bodies_pass_both_ways_unchanged_and_a_bad_job_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, _)) = start(&dir, &[]).await else {
        return;
    };
    let body: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let echo = edge
        .dispatcher()
        .await
        .job(&Job::new("echo"), body.clone())
        .await
        .unwrap();
    assert_eq!(
        (echo.status.as_u16(), echo.headers["x-job"].to_str().unwrap()),
        (200, "1")
    );
    assert!(echo.body == body);

    let mut client = edge.dispatcher().await;
    let bad = client
        .send("POST", "/v1/transform", &[("kado-job", "e30")], vec![])
        .await
        .unwrap();
    assert_eq!(
        (bad.status.as_u16(), &bad.headers["content-type"]),
        (400, &"application/problem+json".parse().unwrap())
    );
    assert_eq!(
        client.send("POST", "/v1/transform", &[], vec![]).await.unwrap().status,
        400
    );
    assert_eq!(
        client.send("GET", "/v1/transform", &[], vec![]).await.unwrap().status,
        405
    );
    assert_eq!(client.send("POST", "/v1/other", &[], vec![]).await.unwrap().status, 404);
    assert_eq!(client.job(&Job::new("sleep=1"), vec![]).await.unwrap().text(), "slept");
}

#[tokio::test]
async fn tenants_take_turns_however_much_one_sends() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, metrics)) = start(&dir, &[]).await else {
        return;
    };
    let running = spawn(&edge, Job::new("sleep=300"));
    metrics.until(IDLE, 0).await;
    let mut loud = Vec::new();
    for waiting in 1..=6 {
        loud.push(spawn(&edge, Job::new("sleep=60")));
        metrics.until(WAITING, waiting).await;
    }
    let quiet = spawn(&edge, Job::new("sleep=60").of(2));
    metrics.until(WAITING, 7).await;
    running.await.unwrap();
    let quiet_end = quiet.await.unwrap().1;
    let mut loud_ends = Vec::new();
    for job in loud {
        let (reply, end) = job.await.unwrap();
        assert_eq!(reply.text(), "slept");
        loud_ends.push(end);
    }
    let before = loud_ends.iter().filter(|end| **end < quiet_end).count();
    assert!(before <= 1, "{before} of the loud tenant's jobs came first");
}

#[tokio::test]
async fn past_its_bound_the_queue_says_busy_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, metrics)) = start(&dir, &["--queue", "2"]).await else {
        return;
    };
    let running = spawn(&edge, Job::new("sleep=1500"));
    metrics.until(IDLE, 0).await;
    let first = spawn(&edge, Job::new("sleep=1"));
    metrics.until(WAITING, 1).await;
    let second = spawn(&edge, Job::new("sleep=1"));
    metrics.until(WAITING, 2).await;
    let asked = Instant::now();
    let refused = edge.job(&Job::new("sleep=1")).await;
    assert!(refused.is_busy(), "{refused:?}");
    assert!(asked.elapsed() < Duration::from_millis(1000), "{:?}", asked.elapsed());
    // Another tenant is not kept out: it takes the place of the last of the longest line.
    let other = spawn(&edge, Job::new("sleep=1").of(2));
    assert!(second.await.unwrap().0.is_busy());
    for job in [running, first, other] {
        assert_eq!(job.await.unwrap().0.text(), "slept");
    }
}

#[tokio::test]
async fn a_job_past_its_deadline_is_killed_and_the_next_one_served() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, _)) = start(&dir, &[]).await else {
        return;
    };
    let pid = edge.transform().await;
    let asked = Instant::now();
    let reply = edge.job(&Job::new("spin=600000").within(700)).await;
    assert!(reply.is_busy(), "{reply:?}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(edge.job(&Job::new("sleep=1")).await.text(), "slept");
    assert_ne!(edge.transform().await, pid);
}

#[tokio::test]
async fn a_job_that_waits_past_its_deadline_is_busy_and_nothing_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, metrics)) = start(&dir, &[]).await else {
        return;
    };
    let pid = edge.transform().await;
    let running = spawn(&edge, Job::new("sleep=1500"));
    metrics.until(IDLE, 0).await;
    assert!(edge.job(&Job::new("sleep=1").within(200)).await.is_busy());
    assert_eq!(running.await.unwrap().0.text(), "slept");
    assert_eq!(edge.transform().await, pid);
}

#[tokio::test]
async fn a_job_whose_process_dies_is_done_by_another_and_after_a_second_death_it_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, metrics)) = start(&dir, &["--transform-processes", "2"]).await else {
        return;
    };
    let job = spawn(&edge, Job::new("sleep=1000"));
    metrics.until(IDLE, 1).await;
    kill_the_busy_one(&edge).await;
    assert_eq!(job.await.unwrap().0.text(), "slept");
    metrics.until("kado_edge_transform_retries_total", 1).await;

    metrics.until(IDLE, 2).await;
    let job = spawn(&edge, Job::new("sleep=60000").within(60_000));
    metrics.until(IDLE, 1).await;
    let died = "kado_edge_transform_jobs_total{result=\"died\"}";
    kill_the_busy_one(&edge).await;
    metrics.until("kado_edge_transform_retries_total", 2).await;
    metrics.until(IDLE, 1).await;
    kill_the_busy_one(&edge).await;
    let reply = job.await.unwrap().0;
    assert!(reply.is_busy(), "{reply:?}");
    metrics.until(died, 1).await;
    assert_eq!(edge.job(&Job::new("sleep=1")).await.text(), "slept");
}

/// Kills the process that works on a job.
async fn kill_the_busy_one(edge: &Arc<Edge>) {
    let start = Instant::now();
    loop {
        for pid in edge.transforms() {
            // A health check's connection is gone at the second look; a job's is not.
            let before = connections(pid);
            tokio::time::sleep(Duration::from_millis(50)).await;
            if connections(pid).iter().any(|inode| before.contains(inode)) {
                signal(pid, "KILL");
                edge.until("it has ended", || !crate::support::runs(pid)).await;
                return;
            }
        }
        assert!(start.elapsed() < crate::support::LIMIT, "no process is busy");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_is_forgotten_with_and_without_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, metrics)) = start(&dir, &[]).await else {
        return;
    };
    let running = spawn(&edge, Job::new("sleep=1500"));
    metrics.until(IDLE, 0).await;
    for body in [0, 10_000_000] {
        let mut client = edge.dispatcher().await;
        let leaving = tokio::spawn(async move { client.job(&Job::new("sleep=1"), vec![1; body]).await.map(|_| ()) });
        metrics.until(WAITING, 1).await;
        leaving.abort();
        metrics.until(WAITING, 0).await;
    }
    assert_eq!(running.await.unwrap().0.text(), "slept");
    assert_eq!(
        edge.job(&Job::new("count")).await.text(),
        "1",
        "only the first job was done"
    );
}

#[tokio::test]
async fn a_client_that_leaves_its_running_job_frees_the_process_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, metrics)) = start(&dir, &[]).await else {
        return;
    };
    let pid = edge.transform().await;
    let mut client = edge.dispatcher().await;
    let leaving = tokio::spawn(async move { client.job(&Job::new("sleep=25000"), vec![]).await.map(|_| ()) });
    metrics.until(IDLE, 0).await;
    leaving.abort();
    let asked = Instant::now();
    assert_eq!(edge.job(&Job::new("sleep=1")).await.text(), "slept");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(edge.transform().await, pid);
}

#[tokio::test]
async fn a_client_that_reads_slowly_does_not_hold_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, metrics)) = start(&dir, &[]).await else {
        return;
    };
    let mut slow = edge.dispatcher().await;
    let request = http::Request::post("/v1/transform")
        .header("host", "edge.test")
        .header("kado-job", Job::new("large=8000000").header())
        .body(http_body_util::Full::default())
        .unwrap();
    let answer = slow.sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "8000000");
    // Not one byte of its body is read before the next job is done.
    metrics.until(IDLE, 1).await;
    assert_eq!(edge.job(&Job::new("sleep=1")).await.text(), "slept");
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .unwrap()
        .to_bytes();
    assert_eq!((body.len(), body[7_999_999]), (8_000_000, 7));
}

#[tokio::test]
async fn a_process_past_the_memory_ceiling_is_replaced_between_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let Some((edge, _)) = start(&dir, &["--transform-memory", "400"]).await else {
        return;
    };
    let pid = edge.transform().await;
    assert_eq!(edge.job(&Job::new("hog=16")).await.text(), "held");
    assert_eq!(edge.transform().await, pid);
    assert_eq!(edge.job(&Job::new("hog=400")).await.text(), "held");
    assert_eq!(edge.job(&Job::new("count")).await.text(), "0", "a fresh process");
    edge.until("the old one has ended", || !crate::support::runs(pid)).await;
}
