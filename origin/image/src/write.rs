//! Answers on disk: whole or not at all, and never in a source's place.

use std::{
    collections::HashSet,
    fs::{self, Metadata, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};
use tempfile::Builder;

use crate::ImageCommandError;

/// What must not be replaced.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Device and number of every input, so that no link to one is replaced either.
    inputs: HashSet<(u64, u64)>,
    force: bool,
}

impl Rules {
    pub(crate) fn new<'a>(inputs: impl IntoIterator<Item = &'a Path>, force: bool) -> Self {
        let known = inputs.into_iter().filter_map(|path| fs::metadata(path).ok());
        Self {
            inputs: known.map(|meta| identity(&meta)).collect(),
            force,
        }
    }

    /// Refuses a name before any work is done for it.
    pub(crate) fn check(&self, output: &Path) -> Result<(), ImageCommandError> {
        match fs::metadata(output) {
            Ok(meta) if self.inputs.contains(&identity(&meta)) => Err(ImageCommandError::IsInput(output.to_owned())),
            Ok(meta) if !meta.is_file() => Err(ImageCommandError::usage(format!(
                "{} is no file; for standard output write -",
                output.display()
            ))),
            Ok(_) if !self.force => Err(ImageCommandError::Exists(output.to_owned())),
            _ => Ok(()),
        }
    }

    /// Writes a file beside its place and puts it there in one step.
    pub(crate) fn write(&self, output: &Path, bytes: &[u8]) -> Result<(), ImageCommandError> {
        self.check(output)?;
        let folder = match output.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let put = || -> io::Result<()> {
            let mut file = Builder::new()
                .prefix(".kado-")
                // What the caller's umask leaves of it, as for any new file.
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(folder)?;
            file.write_all(bytes)?;
            let placed = if self.force {
                file.persist(output)
            } else {
                file.persist_noclobber(output)
            };
            placed.map(drop).map_err(|error| error.error)
        };
        put().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ImageCommandError::Exists(output.to_owned()),
            _ => ImageCommandError::io(output)(error),
        })
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}
