//! `postmaster.pid`: PostgreSQL's own word on whether it runs and takes connections.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::leftover;

/// The lines of the file that matter (PostgreSQL's `pidfile.h`).
#[derive(Debug, PartialEq, Eq)]
struct PidFile {
    pid: i32,
    ready: bool,
}

fn parse(text: &str) -> Option<PidFile> {
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    let ready = lines.nth(6).is_some_and(|status| status.trim() == "ready");
    Some(PidFile { pid, ready })
}

/// Whether the server with this process number takes connections.
pub(super) fn is_ready(data: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return false;
    };
    parse(&text).is_some_and(|file| file.ready && u32::try_from(file.pid) == Ok(pid))
}

/// Ends a server that an earlier run left behind on this data, and removes its file: PostgreSQL would take any
/// process that has its number by now for the server.
pub(super) fn clear(data: &Path) -> Result<()> {
    let path = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(());
    };
    if let Some(file) = parse(&text) {
        leftover::end(file.pid, &data.to_string_lossy(), Signal::INT)
            .context("ending a PostgreSQL that an earlier run left behind")?;
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary::TemporaryFolder;

    const READY: &str = "4711\n/clone/.kado/pg\n1795000000\n25432\n\n127.0.0.1\n  1234 0\nready   \n";

    #[test]
    fn a_ready_server_is_told_from_a_starting_one() {
        assert_eq!(parse(READY), Some(PidFile { pid: 4711, ready: true }));
        assert_eq!(
            parse(&READY.replace("ready   ", "starting")),
            Some(PidFile {
                pid: 4711,
                ready: false
            })
        );
        assert_eq!(
            parse("4711\n/clone/.kado/pg\n"),
            Some(PidFile {
                pid: 4711,
                ready: false
            })
        );
        assert_eq!(parse(""), None);
        assert_eq!(parse("half a f"), None);
    }

    #[test]
    fn the_file_of_another_process_is_not_readiness() {
        let folder = TemporaryFolder::new("pid").unwrap();
        fs::write(folder.path().join("postmaster.pid"), READY).unwrap();
        assert!(is_ready(folder.path(), 4711));
        assert!(!is_ready(folder.path(), 4712));
    }

    #[test]
    fn a_stale_file_is_removed_and_a_strangers_process_is_left_alone() {
        let folder = TemporaryFolder::new("pid").unwrap();
        let path = folder.path().join("postmaster.pid");
        // Our own number: surely alive, and surely no PostgreSQL on this folder.
        fs::write(&path, READY.replace("4711", &std::process::id().to_string())).unwrap();
        clear(folder.path()).unwrap();
        assert!(!path.exists());
        clear(folder.path()).unwrap();
    }
}
