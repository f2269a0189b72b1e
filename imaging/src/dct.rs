//! What JPEG's forward and inverse transforms share.

/// The order in which files name coefficients: index in natural order, row by row.
pub(crate) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

// Cosines of multiples of pi / 16, halved, as the normalisation of the transform of eight has it.
const C1: f32 = 0.490_392_64;
pub(crate) const C2: f32 = 0.461_939_77;
const C3: f32 = 0.415_734_8;
pub(crate) const C4: f32 = 0.353_553_4;
const C5: f32 = 0.277_785_1;
pub(crate) const C6: f32 = 0.191_341_71;
const C7: f32 = 0.097_545_16;

/// What the odd coefficients have in each of the first four samples of eight; in the last four it is the negative. The
/// table is its own transpose but for signs, so that a row is also what each of the first samples gives to a coefficient.
pub(crate) const ODD: [[f32; 4]; 4] = [
    [C1, C3, C5, C7],
    [C3, -C7, -C1, -C5],
    [C5, -C1, C7, C3],
    [C7, -C5, C3, -C1],
];

/// Numbers side by side.
pub(crate) type Vector<const N: usize> = [f32; N];

#[inline(always)]
pub(crate) fn plus<const N: usize>(mut a: Vector<N>, b: Vector<N>) -> Vector<N> {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    a
}

#[inline(always)]
pub(crate) fn minus<const N: usize>(mut a: Vector<N>, b: Vector<N>) -> Vector<N> {
    a.iter_mut().zip(b).for_each(|(a, b)| *a -= b);
    a
}

#[inline(always)]
pub(crate) fn times<const N: usize>(factor: f32, row: Vector<N>) -> Vector<N> {
    row.map(|value| factor * value)
}
