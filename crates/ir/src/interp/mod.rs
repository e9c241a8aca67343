//! The interpreter: the slow, exact, readable specification of every operator, float and integer.

mod host;

pub use host::check_float_mode;
