//! A vector of four lanes gives the bits of four scalars, and serves as a pattern for registers.

use lowbit_arithmetic::elementary as e;
use lowbit_arithmetic::lanes::Lanes;
use lowbit_arithmetic::rounding::hash;

#[derive(Clone, Copy)]
struct Four([f32; 4]);

fn each<T: Copy, U>(a: [T; 4], f: impl Fn(T) -> U) -> [U; 4] {
    a.map(f)
}

fn pair<T: Copy, S: Copy, U>(a: [T; 4], b: [S; 4], f: impl Fn(T, S) -> U) -> [U; 4] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Lanes for Four {
    type Mask = u8;
    type Ints = [i32; 4];

    fn splat(x: f32) -> Four {
        Four([x; 4])
    }
    fn add(self, b: Four) -> Four {
        Four(pair(self.0, b.0, |a, b| a + b))
    }
    fn sub(self, b: Four) -> Four {
        Four(pair(self.0, b.0, |a, b| a - b))
    }
    fn mul(self, b: Four) -> Four {
        Four(pair(self.0, b.0, |a, b| a * b))
    }
    fn div(self, b: Four) -> Four {
        Four(pair(self.0, b.0, |a, b| a / b))
    }
    // The standard library's functions: the hardware's where there is one.
    fn fma(self, b: Four, c: Four) -> Four {
        Four(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
    }
    fn sqrt(self) -> Four {
        Four(each(self.0, f32::sqrt))
    }
    fn round_even(self) -> Four {
        Four(each(self.0, f32::round_ties_even))
    }
    fn lt(self, b: Four) -> u8 {
        mask(pair(self.0, b.0, |a, b| a < b))
    }
    fn le(self, b: Four) -> u8 {
        mask(pair(self.0, b.0, |a, b| a <= b))
    }
    fn eq(self, b: Four) -> u8 {
        mask(pair(self.0, b.0, |a, b| a == b))
    }
    fn select(mask: u8, yes: Four, no: Four) -> Four {
        Four(std::array::from_fn(|i| if mask >> i & 1 != 0 { yes.0[i] } else { no.0[i] }))
    }
    fn both(a: u8, b: u8) -> u8 {
        a & b
    }
    fn either(a: u8, b: u8) -> u8 {
        a | b
    }
    fn not(a: u8) -> u8 {
        !a & 15
    }
    fn any(mask: u8) -> bool {
        mask != 0
    }
    fn to_bits(self) -> [i32; 4] {
        each(self.0, |a| a.to_bits() as i32)
    }
    fn from_bits(bits: [i32; 4]) -> Four {
        Four(each(bits, |b| f32::from_bits(b as u32)))
    }
    fn to_int(self) -> [i32; 4] {
        // What x86 gives out of range: unlike `as`, so that no function may depend on it.
        each(self.0, |a| if a.abs() < 2e9 { a as i32 } else { i32::MIN })
    }
    fn from_int(i: [i32; 4]) -> Four {
        Four(each(i, |i| i as f32))
    }
    fn int(i: i32) -> [i32; 4] {
        [i; 4]
    }
    fn int_add(a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        pair(a, b, i32::wrapping_add)
    }
    fn int_sub(a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        pair(a, b, i32::wrapping_sub)
    }
    fn int_and(a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        pair(a, b, |a, b| a & b)
    }
    fn int_or(a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        pair(a, b, |a, b| a | b)
    }
    fn int_xor(a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        pair(a, b, |a, b| a ^ b)
    }
    fn int_shl<const N: u32>(a: [i32; 4]) -> [i32; 4] {
        each(a, |a| a << N)
    }
    fn int_shr<const N: u32>(a: [i32; 4]) -> [i32; 4] {
        each(a, |a| a >> N)
    }
    fn map(self, f: fn(f32) -> f32) -> Four {
        Four(each(self.0, f))
    }
}

fn mask(lanes: [bool; 4]) -> u8 {
    (0..4).map(|i| u8::from(lanes[i]) << i).sum()
}

fn inputs() -> impl Iterator<Item = [f32; 4]> {
    (0..300_000u64).map(|i| {
        let (h, l) = (hash(1, i), hash(2, i));
        let moderate = |bits: u64| (bits as u32 as f32 / 4_294_967_296.0 - 0.5) * 40.0;
        match i % 3 {
            0 => [h as u32, (h >> 32) as u32, l as u32, (l >> 32) as u32].map(f32::from_bits),
            1 => [h, h >> 32, l, l >> 32].map(moderate),
            _ => [f32::from_bits(h as u32), moderate(l), [f32::NAN, f32::INFINITY, -0.0][(i / 3 % 3) as usize], 0.5],
        }
    })
}

macro_rules! agree {
    ($($name:ident: |$x:ident| $value:expr;)*) => {
        $(#[test]
        fn $name() {
            fn over<V: Lanes>($x: V) -> V {
                $value
            }
            for x in inputs() {
                let vector = over(Four(x)).0;
                for (x, got) in x.into_iter().zip(vector) {
                    let want: f32 = over(x);
                    assert!(
                        got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                        "{x:e}: {got:e} in a vector, {want:e} alone"
                    );
                }
            }
        })*
    };
}

agree! {
    exp: |x| e::exp(x);
    expm1: |x| e::expm1(x);
    ln: |x| e::ln(x);
    tanh: |x| e::tanh(x);
    sigmoid: |x| e::sigmoid(x);
    silu: |x| e::silu(x);
    erf: |x| e::erf(x);
    gelu_erf: |x| e::gelu_erf(x);
    gelu_tanh: |x| e::gelu_tanh(x);
    softplus: |x| e::softplus(x);
    mish: |x| e::mish(x);
    sin: |x| e::sin(x);
    cos: |x| e::cos(x);
    relu: |x| e::relu(x);
    clip: |x| e::clip(x, -1.0, 6.0);
    hard_sigmoid: |x| e::hard_sigmoid(x, 0.2, 0.5);
    hard_swish: |x| e::hard_swish(x);
    elu: |x| e::elu(x, 1.5);
    selu: |x| e::selu(x, 1.5, 1.1);
    celu: |x| e::celu(x, 1.5);
    leaky_relu: |x| e::leaky_relu(x, V::splat(0.01));
    thresholded_relu: |x| e::thresholded_relu(x, 1.0);
    softsign: |x| e::softsign(x);
    pow: |x| e::pow(x, V::splat(-1.75));
    pow_of_constants: |x| e::pow(V::splat(1.01), x);
}
