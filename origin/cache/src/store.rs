//! The two tiers, over foyer.
//!
//! Every entry is written to disk when it is stored, not when memory evicts it, so that a killed process loses at most
//! what was still on its way. What foyer does not promise is added here:
//!
//! * *An older version never comes back.* foyer drops disk writes when its buffer is full, and would then find the
//!   previous version under the key. So the old address is forgotten first, and writes wait until there is room.
//! * *Nor by a load that began before a write and ends after it.* foyer would put what it loaded into memory over what
//!   was written. So loads are done here, and what they bring is dropped when their group of keys was written to.
//! * *A deletion survives a crash.* It is written as an entry (`Entry::Deleted`) and awaited. Blocks are reclaimed in
//!   the order they were written, so the mark never goes before what it hides. (foyer's own log of deletions has no
//!   checksum: damage to it would stop the start.)
//! * *A directory with another layout* begins empty instead of being misread.
//! * *A disk that fails does not stop the service.* The files' space is taken at the start. Where a write fails all the
//!   same, foyer may give up inside with a panic: it is caught here, and from then on memory serves alone.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use foyer::{
    BlockEngineConfig, DeviceBuilder, Event, EventListener, FifoPicker, FsDeviceBuilder, HybridCache,
    HybridCacheBuilder, HybridCacheEntry, HybridCachePolicy, Load, PsyncIoEngineConfig, RecoverMode, S3FifoConfig,
};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::entry::{Entry, Stored};
use crate::key::Key;
use crate::stripes::Stripes;
use crate::{CacheError, Config, Stats};

/// How long a write may wait for the disk before the entry is kept in memory alone.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// foyer's unit on disk.
const PAGE: usize = 4096;
/// foyer's header before an entry, generously.
const ENTRY_HEADER: usize = 256;

type MemoryEntry = HybridCacheEntry<Key, Entry>;

/// A response in the cache: shared, not copied.
pub(crate) struct Hit(MemoryEntry);

/// What a lookup found.
pub(crate) enum Lookup {
    Hit(Hit),
    /// There is one, but its time is over.
    Expired,
    Miss,
}

impl Hit {
    pub(crate) fn stored(&self) -> Option<&Stored> {
        match self.0.value() {
            Entry::Response(stored) => Some(stored),
            Entry::Deleted => None,
        }
    }
}

pub(crate) struct Store {
    cache: HybridCache<Key, Entry>,
    stats: Arc<Stats>,
    /// Bytes handed to the disk writer since it was last seen empty. Never more than its buffer, so it drops nothing.
    in_flight: Mutex<usize>,
    write_buffer: usize,
    stripes: Stripes,
    /// Whether the disk tier has been given up until the next start.
    memory_alone: AtomicBool,
    /// Held until the process ends.
    _lock: File,
}

struct CountEvictions(Arc<Stats>);

impl EventListener for CountEvictions {
    type Key = Key;
    type Value = Entry;

    fn on_leave(&self, reason: Event, _key: &Key, _value: &Entry) {
        if reason == Event::Evict {
            self.0.evictions.increment();
        }
    }
}

impl Store {
    pub(crate) async fn open(config: &Config, stats: Arc<Stats>) -> Result<Self, CacheError> {
        let lock = prepare_directory(config)?;
        let disk = |e: foyer::Error| CacheError::Disk {
            dir: config.dir.clone(),
            message: e.to_string(),
        };
        let block = config.block_bytes();
        let device = FsDeviceBuilder::new(blocks_dir(&config.dir))
            .with_capacity(config.blocks() * block)
            .build()
            .map_err(disk)?;
        // One shard must hold the largest object, else it would be evicted as it comes.
        let shards = (config.memory_bytes / (2 * block)).clamp(1, 8);
        let largest_in_memory = config.memory_bytes / shards / 2;
        let write_buffer = 2 * block;
        let engine = BlockEngineConfig::new(device)
            .with_block_size(block)
            .with_buffer_pool_size(write_buffer)
            .with_submit_queue_size_threshold(2 * write_buffer)
            .with_recover_concurrency(4)
            // Only in order of writing: see the head of this file.
            .with_eviction_pickers(vec![Box::new(FifoPicker::new(0.0))]);
        let cache = HybridCacheBuilder::new()
            .with_name("kado-cache")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .with_flush_on_close(false)
            .with_event_listener(Arc::new(CountEvictions(Arc::clone(&stats))))
            .memory(config.memory_bytes)
            .with_shards(shards)
            .with_eviction_config(S3FifoConfig::default())
            .with_weighter(|_: &Key, entry: &Entry| entry.weight())
            .with_filter(move |_: &Key, entry: &Entry| entry.weight() <= largest_in_memory)
            .storage()
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(engine)
            .with_recover_mode(RecoverMode::Quiet)
            .build()
            .await
            .map_err(disk)?;
        let memory_alone = config.reserve_disk && !reserve(&blocks_dir(&config.dir));
        Ok(Self {
            cache,
            stats,
            in_flight: Mutex::new(0),
            write_buffer,
            stripes: Stripes::new(),
            memory_alone: AtomicBool::new(memory_alone),
            _lock: lock,
        })
    }

    pub(crate) async fn get(&self, key: &Key, now_ms: u64) -> Lookup {
        let found = match self.cache.memory().get(key) {
            Some(entry) => Some(entry),
            None => self.load(key).await,
        };
        let Some(hit) = found.map(Hit) else { return Lookup::Miss };
        match hit.stored() {
            Some(stored) if stored.is_fresh(now_ms) => Lookup::Hit(hit),
            Some(_) => Lookup::Expired,
            None => Lookup::Miss,
        }
    }

    /// Brings an entry from disk into memory.
    async fn load(&self, key: &Key) -> Option<MemoryEntry> {
        let disk = self.cache.storage();
        if self.memory_alone() || !disk.may_contains(key) {
            return None;
        }
        let stripe = self.stripes.of(key.first_byte())?;
        let _turn = stripe.loading.lock().await;
        if let Some(entry) = self.cache.memory().get(key) {
            return Some(entry);
        }
        let writes = stripe.writes();
        let memory = self.cache.memory();
        let loaded = match disk.load(key).await {
            Ok(Load::Entry { key, value, .. }) => stripe.unless_written(writes, || memory.insert(key, value)),
            Ok(Load::Piece { piece, .. }) => stripe.unless_written(writes, || memory.insert_piece(piece)),
            Ok(Load::Miss | Load::Throttled) => return None,
            Err(error) => {
                // A read that failed, or an entry that cannot be read: forget where it lay and go on without it.
                self.stats.disk_errors.increment();
                tracing::warn!(%error, "an entry could not be read from disk; treated as a miss");
                stripe.unless_written(writes, || disk.delete(key));
                return None;
            }
        };
        // Written to meanwhile: what memory has now is newer than what was loaded.
        loaded.or_else(|| memory.get(key))
    }

    pub(crate) async fn insert(&self, key: Key, stored: Stored) {
        self.write(key, Entry::Response(stored)).await;
    }

    /// Deletes what lies under the key and waits until a restart would not bring it back.
    pub(crate) async fn delete(&self, key: Key) {
        self.write(key, Entry::Deleted).await;
        if !self.memory_alone() && tokio::time::timeout(DISK_PATIENCE, self.disk_idle()).await.is_err() {
            tracing::warn!("a deletion did not reach the disk in time; it holds until the next restart");
        }
    }

    async fn write(&self, key: Key, entry: Entry) {
        // Held until the entry is handed over: room that was promised must not be counted as free in between.
        let room = self.room_for(on_disk(&entry)).await;
        let Some(stripe) = self.stripes.of(key.first_byte()) else {
            return;
        };
        stripe.write(|| {
            if !self.memory_alone() {
                // Whatever becomes of this write, the previous version is gone from now on.
                self.cache.storage().delete(&key);
            }
            if room.is_some() {
                self.cache.insert(key, entry);
            } else {
                self.stats.memory_only.increment();
                self.cache.memory().insert(key, entry);
            }
        });
    }

    /// Waits until the disk writer takes `size` more bytes. `None` when it does not within a short time, or is given up.
    async fn room_for(&self, size: usize) -> Option<MutexGuard<'_, usize>> {
        if self.memory_alone() {
            return None;
        }
        let room = async {
            let mut in_flight = self.in_flight.lock().await;
            if *in_flight + size > self.write_buffer {
                self.disk_idle().await;
                *in_flight = 0;
            }
            *in_flight += size;
            in_flight
        };
        match tokio::time::timeout(DISK_PATIENCE, room).await {
            Ok(in_flight) => (!self.memory_alone()).then_some(in_flight),
            Err(_) => {
                tracing::warn!(bytes = size, "the disk is too slow; an entry is kept in memory alone");
                None
            }
        }
    }

    /// Waits until everything handed to the disk writer is written. Gives the disk up when the writer is broken.
    async fn disk_idle(&self) {
        let storage = self.cache.storage().clone();
        // In a task of its own, where a panic inside foyer ends nothing else.
        let idle = tokio::spawn(async move { storage.wait().await });
        if idle.await.is_err() && !self.memory_alone.swap(true, Ordering::Relaxed) {
            self.stats.disk_errors.increment();
            tracing::error!("the disk tier failed; entries are kept in memory alone until the next start");
        }
    }

    fn memory_alone(&self) -> bool {
        self.memory_alone.load(Ordering::Relaxed)
    }

    pub(crate) fn describe(&self) -> Value {
        let disk = self.cache.statistics();
        json!({
            "memoryBytes": self.cache.memory().usage(),
            "memoryCapacity": self.cache.memory().capacity(),
            "memoryEntries": self.cache.memory().entries(),
            "diskWrittenBytes": disk.disk_write_bytes(),
            "diskReadBytes": disk.disk_read_bytes(),
            "memoryAlone": self.memory_alone(),
        })
    }

    /// Waits for what is on its way to disk.
    pub(crate) async fn close(&self) {
        let cache = self.cache.clone();
        // In a task of its own for the same reason as above.
        match tokio::spawn(async move { cache.close().await }).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the disk tier did not close cleanly"),
            Err(error) => tracing::error!(%error, "the disk tier did not close cleanly"),
        }
    }
}

fn on_disk(entry: &Entry) -> usize {
    use foyer::Code;
    (entry.estimated_size() + ENTRY_HEADER).div_ceil(PAGE) * PAGE
}

fn blocks_dir(dir: &Path) -> std::path::PathBuf {
    dir.join("blocks")
}

/// Takes the space of every file. False when there is not enough, and the disk tier cannot be used.
fn reserve(blocks: &Path) -> bool {
    let reserved = std::fs::read_dir(blocks).and_then(|files| {
        for file in files {
            let file = File::options().write(true).open(file?.path())?;
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, file.metadata()?.len()) {
                // A file system that cannot promise space may still have some.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    });
    if let Err(error) = &reserved {
        tracing::error!(
            %error, dir = %blocks.display(),
            "the disk has no room for --disk-bytes; entries are kept in memory alone. Free space or lower it, then restart"
        );
    }
    reserved.is_ok()
}

/// Creates the directory, takes its lock, and empties it when it was laid out with other sizes.
fn prepare_directory(config: &Config) -> Result<File, CacheError> {
    let dir = &config.dir;
    let unusable = |source| CacheError::Directory {
        dir: dir.clone(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(unusable)?;
    let lock = File::create(dir.join("lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(CacheError::DirectoryLocked { dir: dir.clone() }),
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    let layout = json!({ "format": 1, "blockBytes": config.block_bytes(), "blocks": config.blocks() }).to_string();
    let layout_file = dir.join("layout.json");
    if std::fs::read_to_string(&layout_file).ok().as_deref() != Some(layout.as_str()) {
        let blocks = blocks_dir(dir);
        match std::fs::remove_dir_all(&blocks) {
            Ok(()) => tracing::info!(dir = %dir.display(), "the sizes changed; the disk tier begins empty"),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(unusable(source)),
        }
        std::fs::write(&layout_file, layout).map_err(unusable)?;
    }
    Ok(lock)
}
