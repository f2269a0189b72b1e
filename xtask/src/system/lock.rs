//! One run per data folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Held while a system runs; the kernel lets go of it whichever way the holder ends, so it is never stale.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a data folder, creating the folder.
    pub(super) fn take(data: &Path) -> Result<Self> {
        fs::create_dir_all(data).with_context(|| format!("creating {}", data.display()))?;
        let path = data.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("{}", refusal(data, &read_holder(&mut file)));
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { _file: file })
    }
}

/// What to tell somebody who may not start.
pub(super) fn refusal(data: &Path, holder: &str) -> String {
    format!(
        "another run (process {holder}) uses {}: stop it first, or run in another clone",
        data.display()
    )
}

/// The process that holds the lock of a data folder, as it wrote itself down; `None` when nobody does.
pub(super) fn holder(data: &Path) -> Result<Option<String>> {
    let path = data.join("lock");
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("looking at {}", path.display())),
    }
}

fn read_holder(file: &mut File) -> String {
    let mut holder = String::new();
    let _unreadable = file.read_to_string(&mut holder);
    holder.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary::TemporaryFolder;

    #[test]
    fn a_second_run_is_refused_with_the_number_of_the_first() {
        let folder = TemporaryFolder::new("lock").unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let text = format!("{:#}", Lock::take(folder.path()).unwrap_err());
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert_eq!(holder(folder.path()).unwrap(), Some(std::process::id().to_string()));
        drop(first);
        assert_eq!(holder(folder.path()).unwrap(), None);
        Lock::take(folder.path()).unwrap();
    }
}
