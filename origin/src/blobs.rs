//! Where originals lie: an object store, keys `<tenant>/<sha-256>`.
//!
//! A key is known only once all bytes have passed, so an upload is staged under `pending/` and renamed when it is whole.
//! What is dropped on the way removes itself.

use axum::body::Bytes;
use futures_util::TryStreamExt;
use kado_shared::tenant::TenantId;
use object_store::{
    GetResult, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path,
};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use uuid::Uuid;

use crate::hex;

/// Bytes of one part; S3 and R2 want 5 MiB at least and all the same but the last.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// Folder of what is on its way.
const PENDING: &str = "pending";

/// SHA-256 of an original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobHash(pub(crate) [u8; 32]);

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    /// There is no such object.
    #[error("the object is not there")]
    Missing(#[source] object_store::Error),
    /// Anything else: full, away, not permitted.
    #[error("the blob store failed")]
    Failed(#[source] object_store::Error),
    /// The folder cannot be made or entered.
    #[error("the blob folder {folder} cannot be used")]
    Folder {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing(error),
            other => Self::Failed(other),
        }
    }
}

/// The store.
#[derive(Clone, Debug)]
pub(crate) struct BlobStore {
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
}

impl BlobStore {
    /// A local folder, made if it is not there. Writes are on disk before they are confirmed.
    pub(crate) fn open_folder(folder: PathBuf) -> Result<Self, BlobError> {
        let pending = folder.join(PENDING);
        std::fs::create_dir_all(&pending).map_err(|source| BlobError::Folder {
            folder: folder.clone(),
            source,
        })?;
        let store = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            folder,
        })
    }

    /// Writes, reads and deletes a small object.
    pub(crate) async fn check(&self, id: Uuid) -> Result<(), BlobError> {
        let path = Path::from_iter([PENDING, &id.to_string()]);
        self.store.put(&path, PutPayload::from_static(b"kado")).await?;
        self.store.get(&path).await?.bytes().await?;
        Ok(self.store.delete(&path).await?)
    }

    /// Begins an upload; `id` is random.
    pub(crate) async fn stage(&self, id: Uuid) -> Result<Staging, BlobError> {
        let path = Path::from_iter([PENDING, &id.to_string()]);
        let upload = self.store.put_multipart(&path).await?;
        Ok(Staging {
            store: self.clone(),
            path,
            upload: Some(upload),
            buffer: Vec::new(),
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    /// Moves what was staged to its place. Whoever calls holds the blob's lock.
    pub(crate) async fn place(&self, mut staged: Staged, tenant: TenantId) -> Result<(), BlobError> {
        self.store.rename(&staged.path, &key(tenant, staged.hash)).await?;
        staged.placed = true;
        Ok(())
    }

    /// Reads an original.
    pub(crate) async fn get(&self, tenant: TenantId, hash: BlobHash) -> Result<GetResult, BlobError> {
        Ok(self.store.get(&key(tenant, hash)).await?)
    }

    /// Whether an original is there.
    pub(crate) async fn contains(&self, tenant: TenantId, hash: BlobHash) -> Result<bool, BlobError> {
        match self.store.head(&key(tenant, hash)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an original; one that is not there is removed already. Whoever calls holds the blob's lock.
    pub(crate) async fn remove(&self, tenant: TenantId, hash: BlobHash) -> Result<(), BlobError> {
        match self.store.delete(&key(tenant, hash)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes every original of a tenant that is no more; answers how many.
    pub(crate) async fn remove_all(&self, tenant: TenantId) -> Result<u64, BlobError> {
        let mut objects = self.store.list(Some(&Path::from(tenant.to_string())));
        let mut removed = 0;
        while let Some(object) = objects.try_next().await? {
            match self.store.delete(&object.location).await {
                Ok(()) => removed += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(removed)
    }

    /// Removes what a killed process left behind; answers how many files.
    pub(crate) async fn sweep_pending(&self, now: SystemTime, older_than: Duration) -> std::io::Result<u32> {
        let mut removed = 0;
        let mut entries = tokio::fs::read_dir(self.folder.join(PENDING)).await?;
        while let Some(entry) = entries.next_entry().await? {
            let Ok(modified) = entry.metadata().await.and_then(|data| data.modified()) else {
                continue;
            };
            if now.duration_since(modified).is_ok_and(|age| age > older_than)
                && tokio::fs::remove_file(entry.path()).await.is_ok()
            {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn key(tenant: TenantId, hash: BlobHash) -> Path {
    Path::from_iter([tenant.to_string(), hash.to_string()])
}

/// An upload on its way. Dropped, it leaves nothing.
pub(crate) struct Staging {
    store: BlobStore,
    path: Path,
    upload: Option<Box<dyn MultipartUpload>>,
    buffer: Vec<u8>,
    hash: Sha256,
    bytes: u64,
}

impl Staging {
    /// Bytes so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes; at most one part is held in memory.
    pub(crate) async fn write(&mut self, mut chunk: Bytes) -> Result<(), BlobError> {
        self.hash.update(&chunk);
        self.bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            let room = PART_BYTES - self.buffer.len();
            self.buffer.extend_from_slice(&chunk.split_to(room.min(chunk.len())));
            if self.buffer.len() == PART_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        if let Some(upload) = &mut self.upload {
            upload.put_part(std::mem::take(&mut self.buffer).into()).await?;
        }
        Ok(())
    }

    /// All bytes are here.
    pub(crate) async fn finish(mut self) -> Result<Staged, BlobError> {
        self.flush().await?;
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        self.upload = None;
        let hash = BlobHash(std::mem::take(&mut self.hash).finalize().into());
        Ok(Staged {
            store: self.store.clone(),
            path: self.path.clone(),
            hash,
            bytes: self.bytes,
            placed: false,
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            tokio::spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(event = "upload-abort-failed", error = %error);
                }
            });
        }
    }
}

/// An upload that is whole and has no place yet. Dropped, it leaves nothing.
pub(crate) struct Staged {
    store: BlobStore,
    path: Path,
    hash: BlobHash,
    bytes: u64,
    placed: bool,
}

impl Staged {
    /// Its name from now on.
    pub(crate) const fn hash(&self) -> BlobHash {
        self.hash
    }

    /// Its length.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its bytes, for code that reads without awaiting. Only for blocking threads.
    pub(crate) fn blocking_source(&self) -> StagedSource {
        StagedSource {
            store: Arc::clone(&self.store.store),
            path: self.path.clone(),
            bytes: self.bytes,
            runtime: tokio::runtime::Handle::current(),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed {
            let (store, path) = (self.store.clone(), self.path.clone());
            tokio::spawn(async move {
                if let Err(error) = store.store.delete(&path).await {
                    tracing::warn!(event = "pending-delete-failed", error = %error);
                }
            });
        }
    }
}

/// A staged upload as the image engine reads it.
pub(crate) struct StagedSource {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
    runtime: tokio::runtime::Handle,
}

impl kado_imaging::Source for StagedSource {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, kado_imaging::SourceError> {
        let end = self.bytes.min(offset.saturating_add(buffer.len() as u64));
        if offset >= end {
            return Ok(0);
        }
        let read = self.runtime.block_on(self.store.get_range(&self.path, offset..end));
        let bytes = read.map_err(|error| kado_imaging::SourceError::Failed(error.to_string()))?;
        let count = bytes.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::{BlobStore, PART_BYTES, PENDING};
    use axum::body::Bytes;
    use kado_imaging::Source;
    use kado_shared::tenant::TenantId;
    use sha2::{Digest, Sha256};
    use std::time::{Duration, SystemTime};
    use uuid::Uuid;

    const TENANT: TenantId = TenantId(Uuid::from_u128(5));

    fn store() -> (tempfile::TempDir, BlobStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open_folder(folder.path().join("blobs")).unwrap();
        (folder, store)
    }

    fn pending(folder: &tempfile::TempDir) -> usize {
        std::fs::read_dir(folder.path().join("blobs").join(PENDING))
            .unwrap()
            .count()
    }

    async fn until_nothing_pends(folder: &tempfile::TempDir) {
        tokio::time::timeout(Duration::from_secs(5), async {
            while pending(folder) > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("what was dropped removes itself");
    }

    #[tokio::test]
    async fn what_was_placed_is_read_back() {
        let (folder, store) = store();
        let bytes: Vec<u8> = (0..PART_BYTES + 1000).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut staging = store.stage(Uuid::from_u128(1)).await.unwrap();
        for chunk in bytes.chunks(100_000) {
            staging.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        assert_eq!(staging.bytes(), bytes.len() as u64);
        let staged = staging.finish().await.unwrap();
        let hash = staged.hash();
        assert_eq!(
            (hash.0[..].to_vec(), staged.bytes()),
            (Sha256::digest(&bytes).to_vec(), bytes.len() as u64)
        );
        store.place(staged, TENANT).await.unwrap();
        assert_eq!(pending(&folder), 0);
        assert!(
            folder
                .path()
                .join("blobs")
                .join(TENANT.to_string())
                .join(hash.to_string())
                .is_file()
        );
        assert_eq!(store.get(TENANT, hash).await.unwrap().bytes().await.unwrap(), bytes);
        assert!(store.contains(TENANT, hash).await.unwrap());
        store.remove(TENANT, hash).await.unwrap();
        store.remove(TENANT, hash).await.unwrap();
        assert!(!store.contains(TENANT, hash).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_cut_leaves_nothing() {
        let (folder, store) = store();
        let mut staging = store.stage(Uuid::from_u128(1)).await.unwrap();
        staging.write(Bytes::from(vec![1; PART_BYTES + 1])).await.unwrap();
        drop(staging);
        until_nothing_pends(&folder).await;
        let mut staging = store.stage(Uuid::from_u128(2)).await.unwrap();
        staging.write(Bytes::from_static(b"whole")).await.unwrap();
        drop(staging.finish().await.unwrap());
        until_nothing_pends(&folder).await;
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_swept_when_it_is_old() {
        let (folder, store) = store();
        std::fs::write(folder.path().join("blobs").join(PENDING).join("left#1"), b"x").unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(store.sweep_pending(SystemTime::now(), hour).await.unwrap(), 0);
        assert_eq!(
            store.sweep_pending(SystemTime::now() + 2 * hour, hour).await.unwrap(),
            1
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_engine_reads_at_any_offset() {
        let (_folder, store) = store();
        let mut staging = store.stage(Uuid::from_u128(1)).await.unwrap();
        staging.write(Bytes::from_static(b"0123456789")).await.unwrap();
        let source = staging
            .finish()
            .await
            .map(|staged| (staged.blocking_source(), staged))
            .unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 4];
            let counts = [
                source.0.read_at(3, &mut buffer).unwrap(),
                source.0.read_at(8, &mut [0; 4]).unwrap(),
                source.0.read_at(10, &mut [0; 4]).unwrap(),
            ];
            (buffer, counts)
        });
        assert_eq!(read.await.unwrap(), (*b"3456", [4, 2, 0]));
    }
}
