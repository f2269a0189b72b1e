//! A service's log: appended to by the process itself, kept from growing without bound by the supervisor.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::invoke;

/// Past this a running process's log is set aside.
const LONGEST: u64 = 16 << 20;
/// How much of a log's end is read to quote from it.
const QUOTED_BYTES: u64 = 16 << 10;

/// Opens a log for a process to append to. The process holds the file itself: nothing is lost if we are killed.
pub(super) fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

/// Sets a former run's log aside as `<name>.log.1`.
pub(super) fn set_aside(path: &Path) -> Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > 0) {
        fs::rename(path, previous(path)).with_context(|| format!("setting {} aside", path.display()))?;
    }
    Ok(())
}

/// Copies a log that has grown too long to `<name>.log.1` and empties it; its process goes on appending.
pub(super) fn shorten(path: &Path) -> Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LONGEST) {
        fs::copy(path, previous(path)).with_context(|| format!("setting {} aside", path.display()))?;
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(0))
            .with_context(|| format!("emptying {}", path.display()))?;
    }
    Ok(())
}

/// The last `lines` lines of a log, indented; empty when there is none.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(QUOTED_BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    read().map(|text| invoke::last_lines(&text, lines)).unwrap_or_default()
}

fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::temporary::TemporaryFolder;

    #[test]
    fn a_long_log_is_emptied_under_a_process_that_goes_on_writing() {
        let folder = TemporaryFolder::new("log").unwrap();
        let path = folder.path().join("logs/origin.log");
        let mut writer = open(&path).unwrap();
        writer
            .write_all(&vec![b'x'; usize::try_from(LONGEST).unwrap() + 1])
            .unwrap();
        shorten(&path).unwrap();
        writer.write_all(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
        assert_eq!(fs::metadata(previous(&path)).unwrap().len(), LONGEST + 1);
    }

    #[test]
    fn a_short_log_stays_and_a_new_run_begins_a_new_one() {
        let folder = TemporaryFolder::new("log").unwrap();
        let path = folder.path().join("edge.log");
        open(&path).unwrap().write_all(b"first run\n").unwrap();
        shorten(&path).unwrap();
        assert_eq!(tail(&path, 5), "\n    first run");
        set_aside(&path).unwrap();
        assert_eq!(tail(&path, 5), "");
        assert_eq!(tail(&previous(&path), 5), "\n    first run");
    }
}
