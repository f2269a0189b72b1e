//! The AV1 decoder as a WebAssembly module: what JavaScript calls, in `edge/js/av1.mjs`.
//!
//! One picture at a time: `reserve` memory for the data, `decode` it, read the facts and the planes, `release`. Whatever goes
//! wrong inside ends in a trap, after which the instance is thrown away.

use kado_av1::{Error, Layout, Picture};
use std::cell::RefCell;

/// The data that is about to be decoded, and the picture of it.
struct State {
    data: Vec<u8>,
    picture: Option<Picture>,
}

thread_local! {
    static STATE: RefCell<State> = const {
        RefCell::new(State {
            data: Vec::new(),
            picture: None,
        })
    };
}

fn with<T>(use_it: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(use_it)
}

/// Memory for so many bytes of data; null where there is not enough.
#[unsafe(no_mangle)]
pub extern "C" fn reserve(bytes: usize) -> *mut u8 {
    with(|state| {
        state.data.clear();
        if state.data.try_reserve_exact(bytes).is_err() {
            return core::ptr::null_mut();
        }
        state.data.resize(bytes, 0);
        state.data.as_mut_ptr()
    })
}

/// Decodes what was written there: 0 for a picture, 1 where memory lacks, 2 for data that is refused.
#[unsafe(no_mangle)]
pub extern "C" fn decode(most_bytes: usize) -> u32 {
    with(|state| {
        state.picture = None;
        match Picture::decode(&core::mem::take(&mut state.data), most_bytes) {
            Ok(picture) => {
                state.picture = Some(picture);
                0
            }
            Err(Error::Memory) => 1,
            Err(Error::Refused) => 2,
        }
    })
}

/// A fact of the picture, by number; 0 where there is no picture.
#[unsafe(no_mangle)]
pub extern "C" fn fact(number: u32) -> u32 {
    with(|state| state.picture.as_ref().map_or(0, |picture| fact_of(picture, number)))
}

fn fact_of(picture: &Picture, number: u32) -> u32 {
    let (coding, (width, height)) = (picture.coding(), picture.size());
    match number {
        0 => width,
        1 => height,
        2 => match picture.layout() {
            Layout::Grey => 0,
            Layout::Quarter => 1,
            Layout::Half => 2,
            Layout::Full => 3,
        },
        3 => picture.depth().into(),
        4 => coding.primaries.into(),
        5 => coding.transfer.into(),
        6 => coding.matrix.into(),
        7 => coding.full_range.into(),
        _ => 0,
    }
}

fn plane<T>(index: usize, of: impl FnOnce(&[u8], usize) -> T) -> Option<T> {
    with(|state| {
        let (bytes, stride) = state.picture.as_ref()?.plane(index)?;
        Some(of(bytes, stride))
    })
}

/// Where a plane lies; null where there is none.
#[unsafe(no_mangle)]
pub extern "C" fn plane_start(index: usize) -> *const u8 {
    plane(index, |bytes, _| bytes.as_ptr()).unwrap_or(core::ptr::null())
}

/// Bytes of a plane.
#[unsafe(no_mangle)]
pub extern "C" fn plane_bytes(index: usize) -> usize {
    plane(index, |bytes, _| bytes.len()).unwrap_or(0)
}

/// Bytes from one row of a plane to the next.
#[unsafe(no_mangle)]
pub extern "C" fn plane_stride(index: usize) -> usize {
    plane(index, |_, stride| stride).unwrap_or(0)
}

/// Lets go of the picture.
#[unsafe(no_mangle)]
pub extern "C" fn release() {
    with(|state| state.picture = None);
}
