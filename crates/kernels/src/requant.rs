//! What happens to an accumulator before it is stored: the epilogue shared by the multiply-accumulate kernels.
//!
//! The functions at the end say it for one element, by the crate `arithmetic`; scalar rows call them.

use lowbit_arithmetic::{AddRescale, Rescale, Rounding, requant::offset_and_clamp, requantize};

/// Per-channel multipliers of one requantize method.
///
/// Pointers are to one entry a channel of the tile, readable up to the row's tile width.
#[derive(Debug, Clone, Copy)]
pub enum Scales {
    /// `Rescale::Float32`: one f32 a channel.
    Float32(*const f32),
    /// `Rescale::Fixed`: multiplier and right shift (which may be negative) a channel.
    Fixed(*const i32, *const i32),
    /// `Rescale::Shift`: right shift a channel (negative: saturating left shift).
    Shift(*const i32),
}

/// From accumulator to u8: rescale, add the zero point, clamp.
#[derive(Debug, Clone, Copy)]
pub struct Requant {
    /// Multipliers a channel.
    pub scales: Scales,
    /// Any but the one by chance, which asks where in the sample an element lies: for that the compiler stores the
    /// accumulators and runs [`elementwise`](crate::elementwise)'s requantize.
    pub rounding: Rounding,
    /// Added after rounding.
    pub zero_point: i32,
    /// Lowest stored value.
    pub lo: i32,
    /// Highest stored value.
    pub hi: i32,
}

/// From the requantized value `q` and another tensor `r` to a sum: `AddRescale` on `q - z1` and `r - z2`, then the
/// output's zero point and clamp.
#[derive(Debug, Clone, Copy)]
pub struct Residual {
    /// The other tensor's tile, laid out as the output's.
    pub r: *const u8,
    /// Bytes between its rows.
    pub r_stride: usize,
    /// How the two are scaled.
    pub add: AddParams,
}

/// Parameters of an addition of quantized values.
#[derive(Debug, Clone, Copy)]
pub struct AddParams {
    /// The two multipliers.
    pub rescale: AddRescale,
    /// Of the sum; as in [`Requant`].
    pub rounding: Rounding,
    /// Zero point of the first operand.
    pub z1: i32,
    /// Zero point of the second operand.
    pub z2: i32,
    /// Zero point of the sum.
    pub zero_point: i32,
    /// Lowest stored value.
    pub lo: i32,
    /// Highest stored value.
    pub hi: i32,
}

/// What a multiply-accumulate kernel stores.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue {
    /// The i32 accumulators as they are; strides count bytes all the same.
    Accumulator,
    /// u8.
    Requant(Requant),
    /// u8, after adding another tensor.
    RequantAdd(Requant, Residual),
}

/// What a float kernel stores: `add` joins after the first clamp, the second clamp follows.
///
/// A clamp is `if x < lo {lo} else if x > hi {hi} else {x}`: NaN and the sign of zero pass through.
#[derive(Debug, Clone, Copy)]
pub struct FloatEpilogue {
    /// First clamp.
    pub clamp: (f32, f32),
    /// Another tensor's tile and the bytes between its rows, then the second clamp.
    pub add: Option<(*const f32, usize, (f32, f32))>,
}

impl Scales {
    /// The method's default rounding.
    #[inline]
    pub const fn rounding(self) -> Rounding {
        match self {
            Scales::Float32(_) => Rounding::HalfEven,
            Scales::Fixed(..) | Scales::Shift(_) => Rounding::HalfUp,
        }
    }

    /// The multipliers from a channel on.
    #[inline]
    pub const fn from(self, channel: usize) -> Scales {
        match self {
            Scales::Float32(m) => Scales::Float32(m.wrapping_add(channel)),
            Scales::Fixed(m, shift) => Scales::Fixed(m.wrapping_add(channel), shift.wrapping_add(channel)),
            Scales::Shift(shift) => Scales::Shift(shift.wrapping_add(channel)),
        }
    }

    /// The multiplier of one channel.
    ///
    /// # Safety
    /// The pointers lead to more than `channel` entries.
    #[inline]
    pub unsafe fn at(self, channel: usize) -> Rescale {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Scales::Float32(m) => Rescale::Float32 { m: *m.add(channel) },
                Scales::Fixed(m, shift) => Rescale::Fixed { m: *m.add(channel), shift: *shift.add(channel) },
                Scales::Shift(shift) => Rescale::Shift { shift: *shift.add(channel) },
            }
        }
    }
}

/// Each method's default rounding, which the rows that are told of none apply.
#[inline]
pub const fn rounding_of(rescale: &Rescale) -> Rounding {
    match rescale {
        Rescale::Float32 { .. } => Rounding::HalfEven,
        Rescale::Fixed { .. } | Rescale::Shift { .. } => Rounding::HalfUp,
    }
}

impl Requant {
    /// Whether the rounding is the method's default.
    #[inline]
    pub fn is_default(&self) -> bool {
        self.rounding == self.scales.rounding()
    }

    /// The stored value of one accumulator.
    ///
    /// # Safety
    /// As [`Scales::at`].
    #[inline]
    pub unsafe fn apply(&self, acc: i32, channel: usize) -> u8 {
        // SAFETY: the caller's promise.
        let rescale = unsafe { self.scales.at(channel) };
        requantize(i64::from(acc), rescale, self.rounding, self.zero_point, self.lo, self.hi, 0) as u8
    }
}

impl AddParams {
    /// The rescaled sum of two stored values.
    #[inline]
    pub fn apply(&self, q1: i32, q2: i32) -> i32 {
        let a = i64::from(q1) - i64::from(self.z1);
        let b = i64::from(q2) - i64::from(self.z2);
        offset_and_clamp(self.rescale.apply(a, b, self.rounding, 0), self.zero_point, self.lo, self.hi)
    }
}

impl Epilogue {
    /// Stores one accumulator at its row and channel of the tile that starts at `y`.
    ///
    /// # Safety
    /// Row and channel lie within the tile, and the tile's pointers are valid as its kernel's contract says.
    #[inline]
    pub unsafe fn store(&self, acc: i32, row: usize, channel: usize, y: *mut u8, y_stride: usize) {
        // SAFETY: the caller's promise covers the element's place in the output and in the other tensor.
        unsafe {
            let y = y.add(row * y_stride);
            match self {
                Epilogue::Accumulator => y.cast::<i32>().add(channel).write_unaligned(acc),
                Epilogue::Requant(requant) => *y.add(channel) = requant.apply(acc, channel),
                Epilogue::RequantAdd(requant, residual) => {
                    let q = i32::from(requant.apply(acc, channel));
                    let r = i32::from(*residual.r.add(row * residual.r_stride + channel));
                    *y.add(channel) = residual.add.apply(q, r) as u8;
                }
            }
        }
    }
}

impl FloatEpilogue {
    /// Stores one accumulator at its row and channel of the tile that starts at `y`.
    ///
    /// # Safety
    /// As [`Epilogue::store`].
    #[inline]
    pub unsafe fn store(&self, acc: f32, row: usize, channel: usize, y: *mut f32, y_stride: usize) {
        // SAFETY: the caller's promise covers the element's place in the output and in the other tensor.
        unsafe {
            let mut v = clamp(acc, self.clamp);
            if let Some((r, r_stride, bounds)) = self.add {
                v = clamp(v + *r.byte_add(row * r_stride).add(channel), bounds);
            }
            *y.byte_add(row * y_stride).add(channel) = v;
        }
    }
}

#[inline]
fn clamp(x: f32, (lo, hi): (f32, f32)) -> f32 {
    lowbit_arithmetic::elementary::clip(x, lo, hi)
}
