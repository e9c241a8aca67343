//! Functions of two elements, and what is known of each.

use super::facts::Results;
use strum::{EnumIter, IntoEnumIterator};

/// Functions of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, Default)]
pub enum Binary {
    /// a + b.
    #[default]
    Add,
    /// a - b.
    Sub,
    /// a * b.
    Mul,
    /// a / b; integers truncate toward zero.
    Div,
    /// a ^ b.
    Pow,
    /// Smaller.
    Min,
    /// Larger.
    Max,
    /// a below 0 times b, else a.
    PRelu,
    /// a == b, as bool.
    Equal,
    /// a < b, as bool.
    Less,
    /// a > b, as bool.
    Greater,
    /// Both, of bools.
    And,
    /// Either, of bools.
    Or,
    /// What is left of a divided by b, with the sign of b.
    Mod,
    /// What is left of a divided by b toward zero, with the sign of a.
    Fmod,
    /// The bits set in both.
    BitAnd,
    /// The bits set in either.
    BitOr,
    /// The bits set in one of the two.
    BitXor,
    /// a * 2^b, of which the type keeps the low bits.
    ShiftLeft,
    /// a / 2^b, toward minus infinity.
    ShiftRight,
}

/// What is known of a [`Binary`] beside its values, which the interpreter computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinaryFacts {
    /// The name that configs, reports and the text form use.
    pub name: &'static str,
    /// What it computes, in a few words.
    pub meaning: &'static str,
    /// Of which operands, both of one type.
    pub pairs: Pairs,
    /// Whether its values are bools, whatever its operands are.
    pub tells: bool,
}

/// The operands that a function of two elements is defined on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// Floats.
    Floats,
    /// Floats, and integers that are not quantized.
    Numbers,
    /// All but bools; quantized ones give one of the two.
    Ordered,
    /// All that are not quantized.
    Plain,
    /// Integers that are not quantized.
    Integers,
    /// Bools.
    Bools,
}

const fn facts(name: &'static str, meaning: &'static str, pairs: Pairs) -> BinaryFacts {
    BinaryFacts { name, meaning, pairs, tells: false }
}

const fn tells(name: &'static str, meaning: &'static str, pairs: Pairs) -> BinaryFacts {
    BinaryFacts { name, meaning, pairs, tells: true }
}

impl BinaryFacts {
    /// What its results are made of: of quantized operands it gives one, or nothing.
    pub const fn results(self) -> Results {
        match self.pairs {
            Pairs::Ordered => Results::Elements,
            Pairs::Floats | Pairs::Numbers | Pairs::Plain | Pairs::Integers | Pairs::Bools => Results::Computed,
        }
    }
}

impl Binary {
    /// Every function.
    pub fn all() -> Vec<Binary> {
        Binary::iter().collect()
    }

    /// What is known of the function.
    pub fn facts(self) -> BinaryFacts {
        match self {
            Binary::Add => facts("Add", "a + b", Pairs::Numbers),
            Binary::Sub => facts("Sub", "a - b", Pairs::Numbers),
            Binary::Mul => facts("Mul", "a * b", Pairs::Numbers),
            Binary::Div => facts("Div", "a / b; integers truncate toward zero", Pairs::Numbers),
            Binary::Pow => facts("Pow", "a ^ b", Pairs::Numbers),
            Binary::Min => facts("Min", "the smaller", Pairs::Ordered),
            Binary::Max => facts("Max", "the larger", Pairs::Ordered),
            Binary::PRelu => facts("PRelu", "a, and a * b below 0", Pairs::Floats),
            Binary::Equal => tells("Equal", "a == b", Pairs::Plain),
            Binary::Less => tells("Less", "a < b", Pairs::Numbers),
            Binary::Greater => tells("Greater", "a > b", Pairs::Numbers),
            Binary::And => facts("And", "both", Pairs::Bools),
            Binary::Or => facts("Or", "either", Pairs::Bools),
            Binary::Mod => facts("Mod", "what is left of a / b, with the sign of b", Pairs::Numbers),
            Binary::Fmod => facts("Fmod", "what is left of a / b, with the sign of a", Pairs::Numbers),
            Binary::BitAnd => facts("BitAnd", "the bits set in both", Pairs::Integers),
            Binary::BitOr => facts("BitOr", "the bits set in either", Pairs::Integers),
            Binary::BitXor => facts("BitXor", "the bits set in one of the two", Pairs::Integers),
            Binary::ShiftLeft => facts("ShiftLeft", "a * 2^b, the low bits of it", Pairs::Integers),
            Binary::ShiftRight => facts("ShiftRight", "a / 2^b, toward minus infinity", Pairs::Integers),
        }
    }

    /// The function's name.
    pub fn name(self) -> &'static str {
        self.facts().name
    }
}
