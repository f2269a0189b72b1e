//! Many at once, much at once, and no room left.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Client, FRESH, MIB, Service, TestClock, noise};

fn url(n: usize) -> String {
    format!("https://kado.invalid/{n}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_readers_and_writers_always_see_whole_versions() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let tasks: Vec<_> = (0..16_usize)
        .map(|task| {
            let socket = service.socket.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(&socket).await;
                let mut hits = 0;
                for round in 0..40_usize {
                    let n = (task + round) % 8;
                    // A version is one byte repeated: anything mixed would show.
                    let version = u8::try_from((task * 40 + round) % 251).unwrap();
                    if (task + round) % 3 == 0 {
                        assert_eq!(client.put(&url(n), &[FRESH], &vec![version; 5000 + n]).await, 204);
                    }
                    let found = client.find(&url(n)).await;
                    if found.is_hit() {
                        hits += 1;
                        assert_eq!(found.body.len(), 5000 + n);
                        assert!(found.body.iter().all(|b| *b == found.body[0]));
                    }
                }
                hits
            })
        })
        .collect();
    let mut hits = 0;
    for task in tasks {
        hits += task.await.unwrap();
    }
    assert!(hits > 300, "{hits}");
    service.stop().await;
}

/// A load from disk that began before a write must not put the old version back after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_write_or_a_deletion_no_older_version_is_ever_seen() {
    let dir = tempfile::tempdir().unwrap();
    // Hardly any memory: most lookups load from disk.
    let service = Service::start_with(dir.path(), TestClock::new(), |c| c.memory_bytes = 128 * 1024).await;
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4_usize)
        .map(|reader| {
            let (socket, stop) = (service.socket.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut client = Client::connect(&socket).await;
                let mut n = reader;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    client.find(&url(n % 4)).await;
                    client.find(&url(100 + n % 8)).await;
                }
            })
        })
        .collect();
    let mut filler = service.client().await;
    for n in 0..8 {
        filler.put(&url(100 + n), &[FRESH], &noise(30_000, n as u64)).await;
    }
    let writers: Vec<_> = (0..4_usize)
        .map(|key| {
            let socket = service.socket.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(&socket).await;
                for round in 0..500_u32 {
                    let body = [&round.to_le_bytes()[..], &[0; 30_000]].concat();
                    assert_eq!(client.put(&url(key), &[FRESH], &body).await, 204);
                    for _ in 0..3 {
                        let found = client.find(&url(key)).await;
                        assert!(
                            found.is_miss() || found.body[..4] == round.to_le_bytes(),
                            "round {round}"
                        );
                    }
                    if round % 5 == 4 {
                        client.purge(&url(key)).await;
                        for _ in 0..3 {
                            assert!(client.find(&url(key)).await.is_miss(), "deleted in round {round}");
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    service.stop().await;
}

#[tokio::test]
async fn memory_and_disk_stay_within_their_sizes_and_what_memory_dropped_comes_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    let body = |n: usize| noise(100_000, n as u64);
    // 8 MB into 4 MiB of memory: all of it fits on the disk of 16 MiB.
    for n in 0..80 {
        assert_eq!(client.put(&url(n), &[FRESH], &body(n)).await, 204);
    }
    for n in 0..80 {
        assert_eq!(client.find(&url(n)).await.body, body(n), "{n}");
    }
    let stats = client.stats().await;
    assert!(stats["evictions"].as_u64() > Some(30), "{stats}");
    assert!(stats["diskReadBytes"].as_u64() > Some(3_000_000), "{stats}");
    assert!(
        stats["memoryBytes"].as_u64() <= stats["memoryCapacity"].as_u64(),
        "{stats}"
    );
    // 40 MB in all: the disk wraps.
    for n in 80..400 {
        assert_eq!(client.put(&url(n), &[FRESH], &body(n)).await, 204);
    }
    assert_eq!(client.find(&url(399)).await.body, body(399));
    assert!(client.find(&url(0)).await.is_miss(), "the oldest made room");
    assert!(size_of_dir(&dir.path().join("cache")) <= 16 * MIB as u64 + 4096);
    service.stop().await;
}

fn size_of_dir(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                size_of_dir(&entry.path())
            } else {
                meta.len()
            }
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_burst_of_large_bodies_is_taken_in_turn_and_none_is_lost_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let service = Service::start_with(dir.path(), clock.clone(), |_| {}).await;
    let tasks: Vec<_> = (0..12_usize)
        .map(|n| {
            let socket = service.socket.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(&socket).await;
                client.put(&url(n), &[FRESH], &noise(MIB - 300, n as u64)).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 204);
    }
    service.stop().await;
    // After a restart only the disk can answer: nothing was dropped on the way there.
    let service = Service::start_with(dir.path(), clock, |_| {}).await;
    let mut client = service.client().await;
    for n in 0..12 {
        assert!(client.find(&url(n)).await.is_hit(), "{n}");
    }
    service.stop().await;
}

/// A file system of `mib` MiB, which only root can mount; elsewhere the test says that it did not run.
fn small_disk(dir: &Path, mib: usize) -> Option<Unmount> {
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "kado-cache-test"])
        .arg(dir)
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if mounted {
        return Some(Unmount(dir.to_path_buf()));
    }
    assert!(
        std::env::var_os("KADO_REQUIRE_ALL").is_none(),
        "mounting a small file system needs root"
    );
    println!("not run: mounting a small file system needs root");
    None
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn serves_from_memory(service: &Service) -> serde_json::Value {
    let mut client = service.client().await;
    for n in 0..100 {
        assert_eq!(
            client.put(&url(n), &[FRESH], &noise(100_000, n as u64)).await,
            204,
            "{n}"
        );
        assert_eq!(
            client.find(&url(n)).await.body,
            noise(100_000, n as u64),
            "memory serves it"
        );
    }
    for n in 0..100 {
        let found = client.find(&url(n)).await;
        assert!(found.is_miss() || found.body == noise(100_000, n as u64), "{n}");
    }
    assert_eq!(client.purge(&url(99)).await, 200);
    assert!(client.find(&url(99)).await.is_miss());
    client.stats().await
}

#[tokio::test]
async fn without_room_for_the_disk_tier_memory_serves_alone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("small");
    std::fs::create_dir(&disk).unwrap();
    let Some(_unmount) = small_disk(&disk, 3) else { return };
    let service = Service::start_with(dir.path(), TestClock::new(), |c| c.dir = disk.join("cache")).await;
    let stats = serves_from_memory(&service).await;
    assert_eq!(stats["memoryAlone"], true, "{stats}");
    service.stop().await;
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_middle_keeps_the_service_running() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("small");
    std::fs::create_dir(&disk).unwrap();
    let Some(_unmount) = small_disk(&disk, 3) else { return };
    let service = Service::start_with(dir.path(), TestClock::new(), |c| {
        c.dir = disk.join("cache");
        c.reserve_disk = false;
    })
    .await;
    serves_from_memory(&service).await;
    service.stop().await;
}
