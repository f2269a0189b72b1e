//! Which files INPUT means, and under which names their answers lie in OUTPUT.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

use crate::ImageCommandError;

/// What INPUT is.
#[derive(Debug)]
pub(crate) enum Inputs {
    /// `-`.
    Stdin,
    /// One file.
    File(PathBuf),
    /// A folder's files, or those that a pattern matches.
    Several(Several),
}

/// Files, in the order of their names.
#[derive(Debug)]
pub(crate) struct Several {
    pub(crate) files: Vec<Input>,
    /// Whether what is no picture is passed over: in a folder there may be anything, a pattern was written on purpose.
    pub(crate) skip_others: bool,
}

/// One of several files.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    /// Where its answer lies in OUTPUT, without the extension.
    pub(crate) name: PathBuf,
}

impl Inputs {
    pub(crate) fn expand(input: &Path) -> Result<Self, ImageCommandError> {
        if input == Path::new("-") {
            return Ok(Self::Stdin);
        }
        match fs::metadata(input) {
            Ok(meta) if meta.is_dir() => Ok(Self::Several(Several {
                files: named(list(input)?, input),
                skip_others: true,
            })),
            Ok(_) => Ok(Self::File(input.to_owned())),
            Err(_) if is_pattern(input) => Ok(Self::Several(Several {
                files: named(matching(input)?, &fixed_part(input)),
                skip_others: false,
            })),
            Err(error) => Err(ImageCommandError::io(input)(error)),
        }
    }
}

fn is_pattern(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|byte| b"*?[".contains(byte))
}

/// The folders in front of the first part that is a pattern.
fn fixed_part(pattern: &Path) -> PathBuf {
    pattern
        .components()
        .take_while(|part| !is_pattern(Path::new(part.as_os_str())))
        // `glob` gives back paths without it.
        .filter(|part| *part != Component::CurDir)
        .collect()
}

/// A folder's own files; hidden ones are left out.
fn list(folder: &Path) -> Result<Vec<PathBuf>, ImageCommandError> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && fs::metadata(entry.path())?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    };
    read().map_err(ImageCommandError::io(folder))
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>, ImageCommandError> {
    let text = pattern
        .to_str()
        .ok_or_else(|| ImageCommandError::usage("a pattern has to be UTF-8"))?;
    let paths = glob::glob(text).map_err(|error| ImageCommandError::usage(format!("{text}: {error}")))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| ImageCommandError::Io {
            path: error.path().to_owned(),
            reason: error.into(),
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(ImageCommandError::usage(format!("{text} matches no file")));
    }
    Ok(files)
}

/// Names without extension, but for files that differ in nothing else: `a.jpg` and `a.png` both keep theirs.
fn named(files: Vec<PathBuf>, base: &Path) -> Vec<Input> {
    let relative = |path: &Path| path.strip_prefix(base).unwrap_or(path).to_owned();
    let mut seen: HashMap<PathBuf, usize> = HashMap::new();
    for path in &files {
        *seen.entry(relative(path).with_extension("")).or_default() += 1;
    }
    let name = |path: PathBuf| {
        let whole = relative(&path);
        let short = whole.with_extension("");
        let name = if seen.get(&short) == Some(&1) { short } else { whole };
        Input { path, name }
    };
    files.into_iter().map(name).collect()
}

/// A name with an extension added to what it has.
pub(crate) fn with_added_extension(name: &Path, extension: &str) -> PathBuf {
    let mut text = OsString::from(name);
    text.push(".");
    text.push(extension);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::{fixed_part, named, with_added_extension};
    use std::path::{Path, PathBuf};

    #[test]
    fn names_keep_their_folders_and_lose_their_extensions_unless_they_would_meet() {
        let files = ["p/a.jpg", "p/a.png", "p/deep/a.png", "p/b.c.jpg"].map(PathBuf::from);
        let names: Vec<_> = named(files.to_vec(), Path::new("p"))
            .into_iter()
            .map(|input| input.name)
            .collect();
        assert_eq!(names, ["a.jpg", "a.png", "deep/a", "b.c"].map(PathBuf::from));
        assert_eq!(with_added_extension(&names[3], "webp"), Path::new("b.c.webp"));
    }

    #[test]
    fn a_pattern_begins_at_its_first_wildcard() {
        assert_eq!(fixed_part(Path::new("a/b/*.jpg")), Path::new("a/b"));
        assert_eq!(fixed_part(Path::new("./a/**/b/?.jpg")), Path::new("a"));
        assert_eq!(fixed_part(Path::new("*.jpg")), Path::new(""));
    }
}
