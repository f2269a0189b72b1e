//! Ends of every kind, and what is there afterwards.

use std::os::unix::fs::FileExt;
use std::path::Path;

use kado_cache::{Address, CacheError, Listener, serve};

use crate::support::{FRESH, Process, Service, TestClock, config, noise};

fn url(n: usize) -> String {
    format!("https://kado.invalid/{n}")
}

#[tokio::test]
async fn entries_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let service = Service::start_with(dir.path(), clock.clone(), |_| {}).await;
    let mut client = service.client().await;
    for n in 0..20 {
        assert_eq!(
            client
                .put(&url(n), &[FRESH, ("X-N", &n.to_string())], &noise(1000 * n, n as u64))
                .await,
            204
        );
    }
    client.purge(&url(7)).await;
    service.stop().await;
    clock.advance(5);
    let service = Service::start_with(dir.path(), clock, |_| {}).await;
    let mut client = service.client().await;
    for n in 0..20 {
        let found = client.find(&url(n)).await;
        if n == 7 {
            assert!(found.is_miss(), "deleted before the restart");
            continue;
        }
        assert!(found.is_hit(), "{n}");
        assert_eq!(found.body, noise(1000 * n, n as u64));
        assert_eq!(
            (&found.headers["x-n"], &found.headers["age"]),
            (&n.to_string().parse().unwrap(), &"5".parse().unwrap())
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn after_kill_9_what_was_written_is_there_and_what_was_deleted_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path()).await;
    let mut client = process.client().await;
    for n in 0..10 {
        client.put(&url(n), &[FRESH], b"old").await;
        client.put(&url(n), &[FRESH], &noise(20_000, n as u64)).await;
    }
    client.put(&url(99), &[FRESH], b"deleted").await;
    // A deletion is answered once it is on disk, and the writes before it are there then too.
    assert_eq!(client.purge(&url(99)).await, 200);
    process.kill();
    let process = Process::start(dir.path()).await;
    let mut client = process.client().await;
    for n in 0..10 {
        let found = client.find(&url(n)).await;
        assert!(found.is_hit(), "{n}");
        assert_eq!(found.body, noise(20_000, n as u64));
    }
    assert!(client.find(&url(99)).await.is_miss());
    process.kill();
}

#[tokio::test]
async fn kill_9_amid_writes_never_leaves_a_wrong_body() {
    let dir = tempfile::tempdir().unwrap();
    let body = |n: usize| noise(50_000 + n, n as u64);
    for round in 0..3 {
        let process = Process::start(dir.path()).await;
        let mut reader = process.client().await;
        for n in 0..round * 40 {
            let found = reader.find(&url(n)).await;
            assert!(found.is_miss() || found.body == body(n), "{n}");
        }
        let mut writer = process.client().await;
        for n in round * 40..(round + 1) * 40 {
            writer.put(&url(n), &[FRESH], &body(n)).await;
        }
        process.kill();
    }
}

#[tokio::test]
async fn damage_on_disk_makes_misses_never_wrong_bytes_and_never_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let body = |n: usize| noise(30_000, n as u64);
    for (step, damage) in [9_973_u64, 1_009, 64].into_iter().enumerate() {
        let service = Service::start_with(dir.path(), clock.clone(), |_| {}).await;
        let mut client = service.client().await;
        for n in 0..60 {
            let found = client.find(&url(n)).await;
            assert!(found.is_miss() || found.body == body(n), "{n}");
        }
        for n in 0..60 {
            client.put(&url(n), &[FRESH], &body(n)).await;
        }
        service.stop().await;
        let hurt = damage_files(&dir.path().join("cache/blocks"), damage);
        assert!(hurt > 10, "step {step} damaged {hurt} places");
    }
    let service = Service::start_with(dir.path(), clock.clone(), |_| {}).await;
    let mut client = service.client().await;
    let mut misses = 0;
    for n in 0..60 {
        let found = client.find(&url(n)).await;
        assert!(found.is_miss() || found.body == body(n), "{n}");
        misses += usize::from(found.is_miss());
    }
    assert_eq!(misses, 60, "every entry was hit by the last damage");
    assert_eq!(client.put(&url(0), &[FRESH], b"again").await, 204);
    service.stop().await;
}

/// Flips a byte in every `step` bytes of every file that holds anything.
fn damage_files(dir: &Path, step: u64) -> usize {
    let mut hurt = 0;
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        if content.iter().all(|b| *b == 0) {
            continue;
        }
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        for at in (0..content.len() as u64).step_by(usize::try_from(step).unwrap()) {
            let byte = content[usize::try_from(at).unwrap()];
            file.write_all_at(&[byte ^ 0x55], at).unwrap();
            hurt += 1;
        }
    }
    hurt
}

#[tokio::test]
async fn truncated_and_deleted_files_are_only_misses() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let service = Service::start_with(dir.path(), clock.clone(), |_| {}).await;
    let mut client = service.client().await;
    for n in 0..60 {
        client.put(&url(n), &[FRESH], &noise(50_000, n as u64)).await;
    }
    service.stop().await;
    for (i, file) in std::fs::read_dir(dir.path().join("cache/blocks")).unwrap().enumerate() {
        let path = file.unwrap().path();
        if i % 2 == 0 {
            std::fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(6000)
                .unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    let service = Service::start_with(dir.path(), clock, |_| {}).await;
    let mut client = service.client().await;
    for n in 0..60 {
        assert!(client.find(&url(n)).await.is_miss(), "{n}");
    }
    assert_eq!(client.put(&url(0), &[FRESH], b"again").await, 204);
    assert_eq!(client.find(&url(0)).await.body, "again");
    service.stop().await;
}

#[tokio::test]
async fn other_sizes_begin_with_an_empty_disk() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let service = Service::start_with(dir.path(), clock.clone(), |_| {}).await;
    service.client().await.put(&url(1), &[FRESH], b"x").await;
    service.stop().await;
    let service = Service::start_with(dir.path(), clock, |c| c.max_object_bytes /= 2).await;
    let mut client = service.client().await;
    assert!(client.find(&url(1)).await.is_miss());
    assert_eq!(client.put(&url(1), &[FRESH], b"y").await, 204);
    service.stop().await;
}

#[tokio::test]
async fn a_second_service_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    assert!(service.client().await.find(&url(1)).await.is_miss());
    let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()))
        .await
        .unwrap();
    let second = serve(config(dir.path(), &TestClock::new()), listener, std::future::pending()).await;
    assert!(matches!(second, Err(CacheError::DirectoryLocked { .. })), "{second:?}");
    service.stop().await;
}
