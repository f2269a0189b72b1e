//! A file as the engine reads it: at an offset, never whole.

use kado_imaging::{Source, SourceError};
use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use crate::{Args, ImageCommandError};

/// An open file and its length, which is taken once.
#[derive(Debug)]
pub(crate) struct FileSource {
    file: File,
    length: u64,
}

impl FileSource {
    pub(crate) fn open(path: &Path) -> Result<Self, ImageCommandError> {
        let open = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok(Self { file, length })
        };
        open().map_err(ImageCommandError::io(path))
    }
}

/// The picture that `draw` means.
pub(crate) fn overlay(args: &Args) -> Result<Option<FileSource>, ImageCommandError> {
    args.overlay.as_deref().map(FileSource::open).transpose()
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| SourceError::Failed(error.to_string())),
            }
        }
    }
}
