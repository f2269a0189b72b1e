//! What rav1d takes from libc: C's integers as they are on WASM, and the numbers of a few errors as Linux has them,
//! which both lanes then agree on.
#![no_std]
#![expect(non_camel_case_types, reason = "C's names")]

/// Difference of two pointers.
pub type ptrdiff_t = isize;
/// A signed integer as wide as a pointer.
pub type intptr_t = isize;
/// An unsigned integer as wide as a pointer.
pub type uintptr_t = usize;
/// An offset in a file.
pub type off_t = i64;

/// There is no such file.
pub const ENOENT: i32 = 2;
/// Reading or writing failed.
pub const EIO: i32 = 5;
/// More input is needed.
pub const EAGAIN: i32 = 11;
/// There is not enough memory.
pub const ENOMEM: i32 = 12;
/// An argument is wrong.
pub const EINVAL: i32 = 22;
/// A result is out of range.
pub const ERANGE: i32 = 34;
/// It is not done here.
pub const ENOPROTOOPT: i32 = 92;
