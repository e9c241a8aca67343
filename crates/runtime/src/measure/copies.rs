//! What moves data.

use super::{Allowed, Contest, Unit, bytes};
use lowbit_kernels::copy;

/// Transpositions: bytes an element, rows, columns.
const MATRICES: [(usize, usize, usize); 7] =
    [(1, 128, 128), (4, 128, 128), (2, 128, 128), (4, 3, 1024), (1, 3, 1024), (4, 1024, 3), (1, 64, 49)];

/// Transpositions of matrices.
pub fn contests(allowed: &Allowed) -> Vec<Contest> {
    let transpose = |(size, height, width): (usize, usize, usize)| {
        let case = format!("transpose {height}x{width} of {size} bytes");
        Contest::of(
            allowed,
            case,
            (height * width, Unit::Elements),
            copy::TRANSPOSE,
            |_| true,
            move |row| {
                let (x, y) = (bytes(size * height * width)?, bytes(size * height * width)?);
                // SAFETY: rows enter only what the CPU can run; both matrices have their bytes.
                Ok(Box::new(move || unsafe {
                    (row.run)(size, height, width, x.ptr(), width * size, y.out(), height * size);
                }))
            },
        )
    };
    MATRICES.into_iter().map(transpose).collect()
}
