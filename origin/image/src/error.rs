//! Why there is no picture.

use kado_imaging::{ImageError, OptionError};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why `kado image` could not make a picture.
#[derive(Debug, thiserror::Error)]
pub enum ImageCommandError {
    /// The command line cannot work.
    #[error("{0}")]
    Usage(String),
    /// There is such a file, and nobody said that it may go.
    #[error("{} is there already; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// The answer would replace a source.
    #[error("{} is an input, which is never overwritten", .0.display())]
    IsInput(PathBuf),
    /// The engine refused.
    #[error("{name}: {reason}")]
    Picture {
        /// The source.
        name: String,
        /// What the engine said.
        reason: ImageError,
    },
    /// A decoder or encoder gave up in a way that it should not.
    #[error("{0}: the engine panicked, which is a defect")]
    Panicked(String),
    /// A file could not be read or written.
    #[error("{}: {reason}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

impl ImageCommandError {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    pub(crate) fn options(errors: &[OptionError]) -> Self {
        let faults: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Self::Usage(faults.join("; "))
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |reason| Self::Io { path, reason }
    }

    pub(crate) fn picture(name: &str) -> impl Fn(ImageError) -> Self {
        let name = name.to_owned();
        move |reason| Self::Picture {
            name: name.clone(),
            reason,
        }
    }

    /// Whether the source is no picture at all, which in a folder is nobody's mistake.
    pub(crate) fn is_no_picture(&self) -> bool {
        matches!(
            self,
            Self::Picture {
                reason: ImageError::NotAnImage,
                ..
            }
        )
    }

    /// Whether the command line is at fault (exit code 64) rather than the picture or the machine (70).
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Usage(_) | Self::Exists(_) | Self::IsInput(_) => true,
            Self::Picture { reason, .. } => matches!(reason, ImageError::BadOptions(_)),
            Self::Io { reason, .. } => reason.kind() == io::ErrorKind::NotFound,
            Self::Panicked(_) => false,
        }
    }
}
