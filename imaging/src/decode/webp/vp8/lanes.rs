//! Rearranging rows of lanes. As loops over arrays of a fixed length these become the unpacking instructions of every lane.

/// Pairs the values of two rows.
#[inline(always)]
fn zip<T: Copy + Default, const L: usize>(a: &[T; L], b: &[T; L]) -> [[T; L]; 2] {
    let mut pairs = [[T::default(); L]; 2];
    let values = a.iter().zip(b);
    for (pair, (a, b)) in pairs.as_flattened_mut().as_chunks_mut().0.iter_mut().zip(values) {
        *pair = [*a, *b];
    }
    pairs
}

/// Pairs the rows of one half with those of the other. In the index of a value, row and lane taken as one binary number,
/// the highest bit becomes the lowest: so many times as rows have bits turn rows to columns.
#[inline(always)]
pub(super) fn rotated<T: Copy + Default, const L: usize, const N: usize>(rows: &[[T; L]; N]) -> [[T; L]; N] {
    let mut paired = [[T::default(); L]; N];
    let (upper, lower) = rows.split_at(N / 2);
    for (pair, (a, b)) in paired.as_chunks_mut().0.iter_mut().zip(upper.iter().zip(lower)) {
        *pair = zip(a, b);
    }
    paired
}

/// The rows of two squares, each next to the other's.
#[inline(always)]
pub(super) fn side_by_side([left, right]: &[[[u8; 8]; 8]; 2]) -> [[u8; 16]; 8] {
    let mut both = [[0; 16]; 8];
    for ((both, left), right) in both.iter_mut().zip(left).zip(right) {
        let (to_left, to_right) = both.split_at_mut(8);
        to_left.copy_from_slice(left);
        to_right.copy_from_slice(right);
    }
    both
}

/// The way back.
#[inline(always)]
pub(super) fn apart(both: &[[u8; 16]; 8]) -> [[[u8; 8]; 8]; 2] {
    let mut squares = [[[0; 8]; 8]; 2];
    let [left, right] = &mut squares;
    for ((both, left), right) in both.iter().zip(left).zip(right) {
        let (from_left, from_right) = both.split_at(8);
        left.copy_from_slice(from_left);
        right.copy_from_slice(from_right);
    }
    squares
}
