//! Where the bytes come from: synchronous reads at an offset, so that a large file can lie outside linear memory.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

/// Why bytes of a source could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The bytes before this offset were released.
    #[error("byte {0} was read again after it had been released")]
    Released(u64),
    /// The provider failed.
    #[error("{0}")]
    Failed(String),
}

/// The bytes of one picture.
///
/// Methods take `&self`: decoders of other people need to own their reader, and a shared reference is what can be handed
/// to several of them one after another.
pub trait Source {
    /// Bytes in total.
    fn len(&self) -> u64;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes from `offset` on into `buffer` and says how many; 0 only at the end or for an empty buffer.
    ///
    /// # Errors
    /// [`SourceError`] where the provider fails or the bytes were released.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError>;

    /// Promises that nothing before `offset` will be read again, so that its memory can go.
    fn release_before(&self, offset: u64) {
        let _ = offset;
    }
}

impl Source for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        Source::len(self.as_slice())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        Source::read_at(self.as_slice(), offset, buffer)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        (**self).read_at(offset, buffer)
    }

    fn release_before(&self, offset: u64) {
        (**self).release_before(offset);
    }
}

/// What a transform reads.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The picture.
    pub picture: &'a dyn Source,
    /// The stored picture that is drawn over it, where the plan names one.
    pub overlay: Option<&'a dyn Source>,
}

impl<'a, S: Source> From<&'a S> for Sources<'a> {
    fn from(picture: &'a S) -> Self {
        Self { picture, overlay: None }
    }
}

/// Bytes fetched from a [`Source`] at once. Large enough that a call into JavaScript costs nothing beside its copy.
const WINDOW: usize = 64 * 1024;

/// Why a reader stopped a decoder that knows only `io::Error`.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("{0}")]
    Source(SourceError),
    #[error("cancelled")]
    Cancelled,
}

impl From<Stop> for io::Error {
    fn from(stop: Stop) -> Self {
        Self::other(stop)
    }
}

impl Stop {
    /// The reason inside an error that came out of a decoder, if it was ours.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

/// A [`Source`] as `Read`, `BufRead` and `Seek`.
///
/// Bytes behind the window are released as reading goes on when `release` is set; a decoder that seeks back must not ask
/// for that. Every refill asks the cancellation hook.
pub(crate) struct SourceReader<'a> {
    source: &'a dyn Source,
    cancel: &'a dyn Fn() -> bool,
    window: Vec<u8>,
    /// Offset of `window[0]` in the source.
    start: u64,
    /// Next byte to hand out, within `window`.
    next: usize,
    release: bool,
}

impl<'a> SourceReader<'a> {
    /// A reader from the first byte on.
    pub(crate) fn new(source: &'a dyn Source, cancel: &'a dyn Fn() -> bool) -> Self {
        Self {
            source,
            cancel,
            window: Vec::new(),
            start: 0,
            next: 0,
            release: false,
        }
    }

    pub(crate) fn releasing(mut self) -> Self {
        self.release = true;
        self
    }

    /// Offset of the next byte that will be read.
    pub(crate) fn position(&self) -> u64 {
        self.start + self.next as u64
    }

    /// How far into the source a decoder stood; one that sought beyond the end stood at the end.
    pub(crate) fn stood_at(&self) -> u64 {
        self.position().min(self.source.len())
    }

    fn refill(&mut self) -> Result<(), Stop> {
        if (self.cancel)() {
            return Err(Stop::Cancelled);
        }
        self.start += self.window.len() as u64;
        self.next = 0;
        self.window.resize(WINDOW, 0);
        let count = self
            .source
            .read_at(self.start, &mut self.window)
            .map_err(Stop::Source)?;
        self.window.truncate(count);
        if self.release {
            self.source.release_before(self.start + count as u64);
        }
        Ok(())
    }
}

impl Read for SourceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }

    // Decoders read single bytes through this; the default implementation loops over `read` for each.
    #[inline]
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if let Some(from) = self.window.get(self.next..self.next + buffer.len()) {
            buffer.copy_from_slice(from);
            self.next += buffer.len();
            return Ok(());
        }
        let mut rest = buffer;
        while !rest.is_empty() {
            let count = self.read(rest)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }
}

impl BufRead for SourceReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.next >= self.window.len() {
            self.refill()?;
        }
        Ok(self.window.get(self.next..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.next = (self.next + count).min(self.window.len());
    }
}

impl Seek for SourceReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.source.len().checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position().checked_add_signed(delta),
        };
        let target = target.ok_or(io::ErrorKind::InvalidInput)?;
        let within = target
            .checked_sub(self.start)
            .and_then(|delta| usize::try_from(delta).ok());
        match within {
            Some(next) if next <= self.window.len() => self.next = next,
            _ => {
                self.window.clear();
                self.start = target;
                self.next = 0;
            }
        }
        Ok(target)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position())
    }
}

/// A source that is read more than once: nothing of it is released.
pub(crate) struct Kept<'a>(pub(crate) &'a dyn Source);

impl Source for Kept<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        self.0.read_at(offset, buffer)
    }
}

/// A source that refuses to give again what was released, as the Worker's does.
#[cfg(test)]
pub(crate) struct Forgetful(Vec<u8>, core::cell::Cell<u64>);

#[cfg(test)]
impl Forgetful {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes, core::cell::Cell::new(0))
    }

    pub(crate) const fn forgotten(&self) -> u64 {
        self.1.get()
    }
}

#[cfg(test)]
impl Source for Forgetful {
    fn len(&self) -> u64 {
        Source::len(&self.0)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        if offset < self.1.get() {
            return Err(SourceError::Released(offset));
        }
        self.0.read_at(offset, buffer)
    }

    fn release_before(&self, offset: u64) {
        self.1.set(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use proptest::prelude::*;

    /// Gives at most seven bytes at once and remembers what was released.
    struct Dribble(Vec<u8>, Cell<u64>);

    impl Source for Dribble {
        fn len(&self) -> u64 {
            Source::len(&self.0)
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
            if offset < self.1.get() {
                return Err(SourceError::Released(offset));
            }
            let count = buffer.len().min(7);
            self.0.read_at(offset, &mut buffer[..count])
        }
        fn release_before(&self, offset: u64) {
            self.1.set(offset);
        }
    }

    proptest! {
        #[test]
        fn reads_and_seeks_like_a_cursor(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            steps in proptest::collection::vec((0u64..320, 0usize..40), 0..20),
        ) {
            let source = Dribble(bytes.clone(), Cell::new(0));
            let mut ours = SourceReader::new(&source, &|| false);
            let mut cursor = io::Cursor::new(bytes);
            for (offset, count) in steps {
                ours.seek(SeekFrom::Start(offset)).unwrap();
                cursor.seek(SeekFrom::Start(offset)).unwrap();
                let (mut a, mut b) = (vec![0; count], vec![0; count]);
                let (x, y) = (ours.read_exact(&mut a), cursor.read_exact(&mut b));
                prop_assert_eq!(x.is_ok(), y.is_ok());
                if x.is_ok() {
                    prop_assert_eq!(a, b);
                    prop_assert_eq!(ours.position(), cursor.position());
                }
            }
        }
    }

    #[test]
    fn what_was_passed_is_released() {
        let source = Dribble(vec![1; 100], Cell::new(0));
        let mut reader = SourceReader::new(&source, &|| false).releasing();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!((all.len(), source.1.get()), (100, 100));
    }

    #[test]
    fn cancellation_stops_a_read() {
        let bytes = vec![0; 10];
        let mut reader = SourceReader::new(&bytes, &|| true);
        let error = reader.read(&mut [0; 4]).unwrap_err();
        assert!(matches!(Stop::of(&error), Some(Stop::Cancelled)));
    }
}
