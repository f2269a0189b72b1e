//! Bounded look into a source by offset, whether all of it is there or only its beginning.

use crate::{Format, ImageError, LimitKind, Source};

/// Why reading a header ended early.
#[derive(Debug)]
pub(super) enum Stopped {
    /// So many bytes from the start are needed, and only a head is there.
    NeedMore(u64),
    /// The header is wrong.
    Failed(ImageError),
}

impl From<ImageError> for Stopped {
    fn from(error: ImageError) -> Self {
        Self::Failed(error)
    }
}

/// Enough for most headers, and a bound on calls for those that hop from chunk to chunk.
const WINDOW: usize = 4096;

pub(super) struct Peek<'a> {
    source: &'a dyn Source,
    partial: bool,
    format: Format,
    metadata_limit: u64,
    window: Vec<u8>,
    start: u64,
}

impl<'a> Peek<'a> {
    pub(super) fn head(head: &'a &[u8]) -> Self {
        Self {
            partial: true,
            ..Self::whole(head)
        }
    }

    pub(super) fn whole<S: Source>(source: &'a S) -> Self {
        Self {
            source,
            partial: false,
            format: Format::Jpeg,
            metadata_limit: u64::MAX,
            window: Vec::new(),
            start: 0,
        }
    }

    pub(super) fn set_format(&mut self, format: Format, metadata_limit: u64) {
        self.format = format;
        self.metadata_limit = metadata_limit;
    }

    pub(super) fn is_partial(&self) -> bool {
        self.partial
    }

    pub(super) fn len(&self) -> u64 {
        self.source.len()
    }

    pub(super) fn corrupt(&self, offset: u64, detail: impl Into<String>) -> Stopped {
        Stopped::Failed(ImageError::corrupt(self.format, offset, detail))
    }

    /// Refuses metadata that reaches further than allowed.
    pub(super) fn within_metadata(&self, offset: u64) -> Result<(), Stopped> {
        if offset > self.metadata_limit {
            return Err(ImageError::TooLarge {
                what: LimitKind::MetadataBytes,
                limit: self.metadata_limit,
                value: offset,
            }
            .into());
        }
        Ok(())
    }

    /// At most `count` bytes from `offset` on; fewer only at the end of what is there.
    pub(super) fn up_to(&mut self, offset: u64, count: usize) -> Result<&[u8], Stopped> {
        let cached = offset
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .is_some_and(|skip| skip + count <= self.window.len());
        if !cached {
            self.fill(offset, count.max(WINDOW))?;
        }
        let skip = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let rest = self.window.get(skip..).unwrap_or_default();
        Ok(rest.get(..count).unwrap_or(rest))
    }

    fn fill(&mut self, offset: u64, count: usize) -> Result<(), Stopped> {
        let available = usize::try_from(self.source.len().saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(count);
        self.window.clear();
        self.window.resize(available, 0);
        self.start = offset;
        let mut filled = 0;
        while let Some(rest) = self.window.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self
                .source
                .read_at(offset + filled as u64, rest)
                .map_err(ImageError::from)?
            {
                0 => break,
                count => filled += count,
            }
        }
        self.window.truncate(filled);
        Ok(())
    }

    /// Exactly `count` bytes from `offset` on.
    pub(super) fn exactly(&mut self, offset: u64, count: usize) -> Result<&[u8], Stopped> {
        let end = offset.saturating_add(count as u64);
        if end > self.source.len() {
            return Err(if self.partial {
                Stopped::NeedMore(end)
            } else {
                self.corrupt(self.source.len(), "the file ends inside its header")
            });
        }
        // The borrow checker does not see that a returned slice and the error path exclude each other.
        let got = self.up_to(offset, count)?.len();
        if got < count {
            return Err(self.corrupt(offset + got as u64, "the file ends inside its header"));
        }
        self.up_to(offset, count)
    }

    pub(super) fn array<const N: usize>(&mut self, offset: u64) -> Result<[u8; N], Stopped> {
        let bytes = self.exactly(offset, N)?;
        Ok(core::array::from_fn(|index| bytes.get(index).copied().unwrap_or(0)))
    }

    pub(super) fn u8(&mut self, offset: u64) -> Result<u8, Stopped> {
        self.array(offset).map(|[byte]| byte)
    }

    pub(super) fn be16(&mut self, offset: u64) -> Result<u16, Stopped> {
        self.array(offset).map(u16::from_be_bytes)
    }

    pub(super) fn be32(&mut self, offset: u64) -> Result<u32, Stopped> {
        self.array(offset).map(u32::from_be_bytes)
    }

    pub(super) fn le16(&mut self, offset: u64) -> Result<u16, Stopped> {
        self.array(offset).map(u16::from_le_bytes)
    }

    pub(super) fn le32(&mut self, offset: u64) -> Result<u32, Stopped> {
        self.array(offset).map(u32::from_le_bytes)
    }
}
