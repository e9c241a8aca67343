//! What is wanted of a kind of tensor: every choice may be left to whoever is less specific.

use lowbit_arithmetic::Rounding;
use lowbit_ir::request::{Request, ScaleForm};
use lowbit_ir::{Error, Kind, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A partial wish; what it leaves open, the configuration says.
///
/// ```
/// # use lowbit_quantize::Spec;
/// # use lowbit_quantize::config::Rounding;
/// let input = Spec::bits(8).unsigned().rounding(Rounding::HalfEven);
/// let weight = Spec::bits(4).per_channel().observer("mse");
/// # assert_eq!(input.over(&weight).bits, Some(8));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Width: 2..=16 bits, of the wide values between a layer and the next input up to 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<u8>,
    /// Whether negative integers are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
    /// Whether the zero point is the middle of the integers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symmetric: Option<bool>,
    /// Whether signed integers leave out the lowest (-127..127 of 8 bits).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub narrow: Option<bool>,
    /// What shares a scale: `tensor`, `channel` or `block(32)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<Per>,
    /// Which scales are allowed: `float` or `power-of-two`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// How floats are rounded to integers, such as `half-even`.
    #[serde(skip_serializing_if = "Option::is_none", with = "rounding")]
    pub rounding: Option<Rounding>,
    /// What finds the range, by name, with its parameter in brackets: `percentile(99.9)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observer: Option<String>,
}

/// What shares a scale; which axis is the channel's, the operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// All elements of a tensor.
    Tensor,
    /// A slice along the channels: of weights the output channels.
    Channel,
    /// So many elements that follow each other along the axis that is summed over.
    Block(usize),
}

/// Largest block: what a 32-bit size holds, as files and other tools have it.
pub(super) const LARGEST_BLOCK: usize = i32::MAX as usize;

/// Which scales are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Any positive float.
    Float,
    /// Powers of two, so that rescaling is a shift.
    PowerOfTwo,
}

impl Spec {
    /// Of this width, all else left open.
    pub fn bits(bits: u8) -> Spec {
        Spec { bits: Some(bits), ..Spec::default() }
    }

    /// With negative integers.
    #[must_use]
    pub fn signed(self) -> Spec {
        Spec { signed: Some(true), ..self }
    }

    /// Without negative integers.
    #[must_use]
    pub fn unsigned(self) -> Spec {
        Spec { signed: Some(false), ..self }
    }

    /// With the zero point in the middle.
    #[must_use]
    pub fn symmetric(self) -> Spec {
        Spec { symmetric: Some(true), ..self }
    }

    /// With a zero point wherever the range wants it.
    #[must_use]
    pub fn asymmetric(self) -> Spec {
        Spec { symmetric: Some(false), ..self }
    }

    /// Without the lowest of the signed integers.
    #[must_use]
    pub fn narrow(self) -> Spec {
        Spec { narrow: Some(true), ..self }
    }

    /// One scale a tensor.
    #[must_use]
    pub fn per_tensor(self) -> Spec {
        Spec { per: Some(Per::Tensor), ..self }
    }

    /// One scale a channel.
    #[must_use]
    pub fn per_channel(self) -> Spec {
        Spec { per: Some(Per::Channel), ..self }
    }

    /// One scale for so many elements.
    #[must_use]
    pub fn per_block(self, size: usize) -> Spec {
        Spec { per: Some(Per::Block(size)), ..self }
    }

    /// Scales that are powers of two.
    #[must_use]
    pub fn power_of_two(self) -> Spec {
        Spec { scale: Some(Scale::PowerOfTwo), ..self }
    }

    /// Rounded so.
    #[must_use]
    pub fn rounding(self, rounding: Rounding) -> Spec {
        Spec { rounding: Some(rounding), ..self }
    }

    /// With a range found by the observer of this name.
    #[must_use]
    pub fn observer(self, name: &str) -> Spec {
        Spec { observer: Some(name.into()), ..self }
    }

    /// This wish, and where it leaves something open, `under`.
    #[must_use]
    pub fn over(&self, under: &Spec) -> Spec {
        Spec {
            bits: self.bits.or(under.bits),
            signed: self.signed.or(under.signed),
            symmetric: self.symmetric.or(under.symmetric),
            narrow: self.narrow.or(under.narrow),
            per: self.per.or(under.per),
            scale: self.scale.or(under.scale),
            rounding: self.rounding.or(under.rounding),
            observer: self.observer.clone().or_else(|| under.observer.clone()),
        }
    }

    /// Whether it leaves everything open.
    pub fn is_open(&self) -> bool {
        *self == Spec::default()
    }

    /// The usual choices of a kind; nothing is left open.
    pub fn usual(kind: Kind) -> Spec {
        match kind {
            Kind::Input => Spec::bits(8).unsigned().asymmetric().per_tensor().observer("mse").closed(false),
            Kind::Weight => Spec::bits(8).signed().symmetric().per_channel().observer("max").closed(true),
            Kind::Activation => Spec::bits(32).signed().symmetric().per_tensor().observer("minmax").closed(false),
        }
    }

    /// With float scales and the usual rounding, so that nothing is left open.
    fn closed(self, narrow: bool) -> Spec {
        let (scale, rounding) = (Some(Scale::Float), Some(Rounding::HalfEven));
        Spec { narrow: Some(narrow), scale, rounding, ..self }
    }

    /// This wish of a kind with nothing left open: the usual choices fill it. Unsigned integers have no lowest one to leave
    /// out.
    #[must_use]
    pub fn filled(&self, kind: Kind) -> Spec {
        let all = self.over(&Spec::usual(kind));
        Spec { narrow: all.narrow.zip(all.signed).map(|(narrow, signed)| narrow && signed), ..all }
    }

    /// All that a request says, its axes aside.
    pub fn of_request(request: &Request) -> Spec {
        use lowbit_ir::request::Sharing;
        Spec {
            bits: Some(request.bits),
            signed: Some(request.signed),
            symmetric: Some(request.symmetric),
            narrow: Some(request.narrow),
            per: Some(match request.sharing {
                Sharing::Tensor => Per::Tensor,
                Sharing::Channel(_) => Per::Channel,
                Sharing::Block { size, .. } => Per::Block(size),
            }),
            scale: Some(match request.scale {
                ScaleForm::Float => Scale::Float,
                ScaleForm::PowerOfTwo => Scale::PowerOfTwo,
            }),
            rounding: Some(request.rounding),
            observer: Some(request.observer.to_string()),
        }
    }

    /// What it says that `other` does not say too.
    #[must_use]
    pub fn beyond(&self, other: &Spec) -> Spec {
        fn unless<T: PartialEq + Clone>(mine: &Option<T>, other: &Option<T>) -> Option<T> {
            if mine == other { None } else { mine.clone() }
        }
        Spec {
            bits: unless(&self.bits, &other.bits),
            signed: unless(&self.signed, &other.signed),
            symmetric: unless(&self.symmetric, &other.symmetric),
            narrow: unless(&self.narrow, &other.narrow),
            per: unless(&self.per, &other.per),
            scale: unless(&self.scale, &other.scale),
            rounding: unless(&self.rounding, &other.rounding),
            observer: unless(&self.observer, &other.observer),
        }
    }

    /// What it says, as keys and values in TOML.
    pub fn entries(&self) -> Vec<(String, String)> {
        let table = toml::Table::try_from(self).unwrap_or_default();
        table.into_iter().map(|(key, value)| (key, value.to_string())).collect()
    }

    /// Refuses what no integers can be, for a kind of tensor. Observers are known to [`crate::observe::Observers`].
    pub fn check(&self, kind: Kind) -> Result<()> {
        let widest = if kind == Kind::Activation { 32 } else { 16 };
        if let Some(bits) = self.bits.filter(|bits| !(2..=widest).contains(bits)) {
            return Err(Error::new(format!("expected bits in 2..={widest}, found {bits}")));
        }
        if self.narrow == Some(true) && self.signed == Some(false) {
            return Err(Error::new(
                "narrow = true leaves out the lowest of signed integers, and signed = false has none",
            )
            .hint("signed = true, or narrow = false"));
        }
        if let Some(Per::Block(size)) = self.per
            && !(1..=LARGEST_BLOCK).contains(&size)
        {
            return Err(Error::new(format!("expected blocks of 1..={LARGEST_BLOCK} elements, found block({size})")));
        }
        if kind == Kind::Input && matches!(self.per, Some(Per::Block(_))) {
            return Err(Error::new("values in memory have one scale a tensor or a channel")
                .hint("blocks are a choice of weight"));
        }
        if kind == Kind::Activation && matches!(self.per, Some(Per::Channel | Per::Block(_))) {
            return Err(Error::new("wide values between layers have one scale a tensor")
                .hint("per channel or block are choices of input and weight"));
        }
        Ok(())
    }

    /// The request of a complete wish: `axis` is that of the channels, `block_axis` the one that blocks cut.
    pub(crate) fn request(&self, kind: Kind, axis: usize, block_axis: usize) -> Request {
        let all = self.filled(kind);
        use lowbit_ir::request::Sharing;
        Request {
            kind,
            bits: all.bits.unwrap_or(8),
            signed: all.signed.unwrap_or(false),
            symmetric: all.symmetric.unwrap_or(false),
            narrow: all.narrow.unwrap_or(false),
            sharing: match all.per {
                None | Some(Per::Tensor) => Sharing::Tensor,
                Some(Per::Channel) => Sharing::Channel(axis),
                Some(Per::Block(size)) => Sharing::Block { axis: block_axis, size },
            },
            scale: match all.scale {
                None | Some(Scale::Float) => ScaleForm::Float,
                Some(Scale::PowerOfTwo) => ScaleForm::PowerOfTwo,
            },
            rounding: all.rounding.unwrap_or(Rounding::HalfEven),
            observer: all.observer.unwrap_or_default().into(),
        }
    }
}

/// `tensor`, `channel` or `block(32)`.
impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Per::Tensor => f.write_str("tensor"),
            Per::Channel => f.write_str("channel"),
            Per::Block(size) => write!(f, "block({size})"),
        }
    }
}

impl FromStr for Per {
    type Err = Error;

    fn from_str(text: &str) -> Result<Per> {
        let block = || text.strip_prefix("block(")?.strip_suffix(')')?.parse().ok();
        match text {
            "tensor" => Ok(Per::Tensor),
            "channel" => Ok(Per::Channel),
            other => block()
                .map(Per::Block)
                .ok_or_else(|| Error::new(format!("expected per = tensor, channel or block(32), found '{other}'"))),
        }
    }
}

impl Serialize for Per {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Per {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Per, D::Error> {
        String::deserialize(d)?.parse().map_err(|e: Error| serde::de::Error::custom(e.message()))
    }
}

/// Roundings by name.
mod rounding {
    use super::*;

    pub fn serialize<S: Serializer>(rounding: &Option<Rounding>, s: S) -> Result<S::Ok, S::Error> {
        match rounding {
            Some(rounding) => s.collect_str(rounding),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Rounding>, D::Error> {
        let name = String::deserialize(d)?;
        let rounding = name.parse().map_err(|e| serde::de::Error::custom(format!("{e}, found '{name}'")));
        rounding.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_ir::request::Sharing;

    #[test]
    fn the_upper_wish_wins_and_the_lower_fills() {
        let spec = Spec::bits(4).over(&Spec::bits(8).signed());
        assert_eq!((spec.bits, spec.signed, spec.per), (Some(4), Some(true), None));
        let request = Spec::bits(4).per_block(32).request(Kind::Weight, 0, 1);
        assert_eq!(request.to_string(), "weight i4 symmetric narrow block(1,32) max half-even");
        let request = Spec::default().unsigned().request(Kind::Weight, 0, 1);
        assert!(!request.narrow && request.sharing == Sharing::Channel(0));
    }

    #[test]
    fn impossible_wishes_are_refused() {
        for (spec, kind, why) in [
            (Spec::bits(17), Kind::Input, "2..=16"),
            (Spec::bits(1), Kind::Weight, "2..=16"),
            (Spec::bits(33), Kind::Activation, "2..=32"),
            (Spec::default().per_block(0), Kind::Weight, "block(0)"),
            (Spec::default().per_block(usize::MAX), Kind::Weight, "expected blocks of 1..=2147483647"),
            (Spec::default().per_channel(), Kind::Activation, "one scale a tensor"),
            (Spec::default().unsigned().narrow(), Kind::Weight, "signed = false has none"),
        ] {
            let error = spec.check(kind).unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn blocks_have_a_text_form() {
        for (text, per) in [("tensor", Per::Tensor), ("channel", Per::Channel), ("block(64)", Per::Block(64))] {
            assert_eq!((text.parse::<Per>().unwrap(), per.to_string().as_str()), (per, text));
        }
        assert!("block()".parse::<Per>().is_err() && "blok(3)".parse::<Per>().is_err());
    }
}
