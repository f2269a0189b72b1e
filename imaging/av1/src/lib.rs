//! One AV1 still picture, from its bytes to its planes.
//!
//! What lives here is the wall around rav1d (as `re_rav1d`), whose public interface is dav1d's C interface. Natively the engine calls it
//! directly; for the Worker `edge/av1` makes it a module with a linear memory of its own, so that a decoder that traps
//! takes no request but its own with it. No container, no colour: planes leave as they are coded.

#![expect(
    unsafe_code,
    reason = "calls rav1d by its C interface; each block says why its pointers are good"
)]

mod obu;

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use re_rav1d::Dav1dResult;
use re_rav1d::include::dav1d::data::Dav1dData;
use re_rav1d::include::dav1d::dav1d::{Dav1dContext, Dav1dLogger, Dav1dSettings};
use re_rav1d::include::dav1d::headers::Dav1dSequenceHeader;
use re_rav1d::include::dav1d::picture::Dav1dPicture;
use re_rav1d::src::lib::{
    dav1d_close, dav1d_data_create, dav1d_data_unref, dav1d_default_settings, dav1d_get_picture, dav1d_open,
    dav1d_parse_sequence_header, dav1d_picture_unref, dav1d_send_data,
};

/// How chroma is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Luminance alone, 4:0:0.
    Grey,
    /// Half of the columns and of the rows, 4:2:0.
    Quarter,
    /// Half of the columns, 4:2:2.
    Half,
    /// All, 4:4:4.
    Full,
}

/// What the sequence header says of the colours, in the code points of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coding {
    /// `ColourPrimaries`.
    pub primaries: u8,
    /// `TransferCharacteristics`.
    pub transfer: u8,
    /// `MatrixCoefficients`.
    pub matrix: u8,
    /// Whether samples use all of their range.
    pub full_range: bool,
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is not enough memory.
    #[error("there is not enough memory for the picture")]
    Memory,
    /// The decoder refused the data.
    #[error("the AV1 data is damaged, cut short, or larger than it may be")]
    Refused,
}

/// A decoded picture, which lives in the decoder's memory.
pub struct Picture {
    picture: Dav1dPicture,
    coding: Coding,
    layout: Layout,
    depth: u8,
}

impl Picture {
    /// Decodes the picture of `data`, which are OBUs of one frame, as AVIF has them. One whose samples take more than
    /// `most_bytes` is refused before there is memory for it.
    ///
    /// # Errors
    /// [`Error::Refused`] for what is no picture, [`Error::Memory`].
    pub fn decode(data: &[u8], most_bytes: usize) -> Result<Self, Error> {
        if !obu::is_still(data) {
            return Err(Error::Refused);
        }
        let decoder = Decoder::open(most_bytes / bytes_of_four_pixels(data)? * 4)?;
        decoder.send(data)?;
        decoder.picture()
    }

    fn of(picture: Dav1dPicture) -> Result<Self, Error> {
        let mut found = Self {
            picture,
            coding: Coding {
                primaries: 2,
                transfer: 2,
                matrix: 2,
                full_range: false,
            },
            layout: Layout::Grey,
            depth: 8,
        };
        found.layout = layout(found.picture.p.layout)?;
        found.depth = match found.picture.p.bpc {
            8 => 8,
            10 => 10,
            12 => 12,
            _ => return Err(Error::Refused),
        };
        let header = found.picture.seq_hdr.ok_or(Error::Refused)?;
        // SAFETY: the picture holds a reference to the header that it was decoded by.
        let header: &Dav1dSequenceHeader = unsafe { header.as_ref() };
        found.coding = Coding {
            primaries: header.pri as u8,
            transfer: header.trc as u8,
            matrix: header.mtrx as u8,
            full_range: header.color_range != 0,
        };
        Ok(found)
    }

    /// Width and height, in pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.picture.p.w.unsigned_abs(), self.picture.p.h.unsigned_abs())
    }

    /// How chroma is stored.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Bits of a sample: 8, 10 or 12. Above 8 a sample is two bytes in the machine's order.
    #[must_use]
    pub const fn depth(&self) -> u8 {
        self.depth
    }

    /// What the sequence header says of the colours.
    #[must_use]
    pub const fn coding(&self) -> Coding {
        self.coding
    }

    /// Number of planes.
    #[must_use]
    pub const fn planes(&self) -> usize {
        if matches!(self.layout, Layout::Grey) { 1 } else { 3 }
    }

    /// A plane's bytes, and how many there are from one row to the next. Rows may be longer than the picture is wide.
    #[must_use]
    pub fn plane(&self, index: usize) -> Option<(&[u8], usize)> {
        let stride = usize::try_from(*self.picture.stride.get(index.min(1))?).ok()?;
        let data = (*self.picture.data.get(index)?)?;
        let (_, height) = self.size();
        let rows = if index > 0 && self.layout == Layout::Quarter {
            height.div_ceil(2)
        } else {
            height
        };
        let bytes = stride.checked_mul(usize::try_from(rows).ok()?)?;
        // SAFETY: the decoder's own allocator gives each plane at least `stride` bytes for each of its rows, aligned and
        // initialised, and they stay until the picture is dropped. The stride is not negative, which was converted.
        let bytes = unsafe { core::slice::from_raw_parts(data.cast::<u8>().as_ptr(), bytes) };
        Some((bytes, stride))
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: the picture came from the decoder, or is empty, and is not used afterwards.
        unsafe { dav1d_picture_unref(Some(NonNull::from(&mut self.picture))) };
    }
}

/// `ENOMEM`, negated, as dav1d answers it.
const NO_MEMORY: i32 = -12;

/// Bytes of the samples of four pixels, by the sequence header.
fn bytes_of_four_pixels(data: &[u8]) -> Result<usize, Error> {
    let mut header = MaybeUninit::<Dav1dSequenceHeader>::uninit();
    let start = NonNull::from(data).cast::<u8>();
    // SAFETY: `start` is the start of the data, and the header is ours to be written to.
    checked(unsafe { dav1d_parse_sequence_header(Some(NonNull::from(&mut header).cast()), Some(start), data.len()) })?;
    // SAFETY: a call that succeeds has filled the header.
    let header = unsafe { header.assume_init() };
    let samples = match layout(header.layout)? {
        Layout::Grey => 4,
        Layout::Quarter => 6,
        Layout::Half => 8,
        Layout::Full => 12,
    };
    Ok(if header.hbd == 0 { samples } else { 2 * samples })
}

fn layout(number: u32) -> Result<Layout, Error> {
    match number {
        0 => Ok(Layout::Grey),
        1 => Ok(Layout::Quarter),
        2 => Ok(Layout::Half),
        3 => Ok(Layout::Full),
        _ => Err(Error::Refused),
    }
}

fn checked(result: Dav1dResult) -> Result<(), Error> {
    match result.0 {
        0 => Ok(()),
        NO_MEMORY => Err(Error::Memory),
        _ => Err(Error::Refused),
    }
}

/// An open decoder, which closes itself.
struct Decoder(Option<Dav1dContext>);

impl Decoder {
    fn open(most_pixels: usize) -> Result<Self, Error> {
        let mut settings = MaybeUninit::uninit();
        // SAFETY: the call fills all fields of the struct that it is pointed to.
        let mut settings: Dav1dSettings = unsafe {
            dav1d_default_settings(NonNull::from(&mut settings).cast());
            settings.assume_init()
        };
        // One thread: WASM has no other, and the engine's caller decides how many pictures are made at a time.
        settings.n_threads = 1;
        settings.max_frame_delay = 1;
        settings.frame_size_limit = u32::try_from(most_pixels).unwrap_or(u32::MAX).max(1);
        // A picture of several layers is shown as its last one.
        settings.all_layers = 0;
        // SAFETY: without a function to call, the decoder is silent.
        settings.logger = unsafe { Dav1dLogger::new(None, None) };
        let mut decoder = Self(None);
        // SAFETY: both structs are ours and live until the call ends.
        checked(unsafe { dav1d_open(Some(NonNull::from(&mut decoder.0)), Some(NonNull::from(&mut settings))) })?;
        Ok(decoder)
    }

    /// All of the data at once; the decoder goes as far in it as the first picture.
    fn send(&self, data: &[u8]) -> Result<(), Error> {
        if data.is_empty() {
            return Err(Error::Refused);
        }
        let mut input = Dav1dData::default();
        // SAFETY: the struct is ours.
        let copy = unsafe { dav1d_data_create(Some(NonNull::from(&mut input)), data.len()) };
        if copy.is_null() {
            return Err(Error::Memory);
        }
        // SAFETY: the decoder has just allocated so many bytes, which nothing else knows of.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), copy, data.len()) };
        // SAFETY: the context is open, and the data came from `dav1d_data_create`.
        let sent = checked(unsafe { dav1d_send_data(self.0, Some(NonNull::from(&mut input))) });
        // SAFETY: what was taken is empty now, and what was not is released.
        unsafe { dav1d_data_unref(Some(NonNull::from(&mut input))) };
        sent
    }

    fn picture(&self) -> Result<Picture, Error> {
        let mut picture = Dav1dPicture::default();
        // SAFETY: the context is open, and the picture ours to be written to.
        checked(unsafe { dav1d_get_picture(self.0, Some(NonNull::from(&mut picture))) })?;
        Picture::of(picture)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the context is open or was never, and pictures keep what they need of it.
        unsafe { dav1d_close(Some(NonNull::from(&mut self.0))) };
    }
}
