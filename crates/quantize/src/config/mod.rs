//! The choices of a quantization, with the defaults that measured best.
//!
//! A [`Config`] has a TOML form, is echoed in full with every result, and refuses keys it does not know. What is wanted
//! of tensors is said by kind, as a [`Spec`]: for all nodes, for those of an operator, for layers by name.

mod keys;
mod schema;
mod scope;
mod spec;

pub use lowbit_arithmetic::Rounding;
pub use scope::{Asked, By, Choices, Say, Scopes, Skip, Wish};
pub use spec::{Per, Scale, Spec};

use crate::observe::GLOBAL_SCALE;
use lowbit_arithmetic::Method;
use lowbit_ir::op::Rescale;
use lowbit_ir::{DType, Error, Kind, Result, hardware};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The kinds of tensors, and the names of their keys.
pub const KINDS: [(Kind, &str); 3] =
    [(Kind::Input, name(Kind::Input)), (Kind::Weight, name(Kind::Weight)), (Kind::Activation, name(Kind::Activation))];

/// The name of a kind's keys.
const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Input => "input",
        Kind::Weight => "weight",
        Kind::Activation => "activation",
    }
}

/// Every choice there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many samples calibration looks at, spread evenly over those given; 0 takes all.
    pub samples: usize,
    /// How many of the calibration's samples equalization and the corrections look at; 0 takes all.
    pub refine_samples: usize,
    /// Whether channels that share a scale are multiplied to fill it, where weights can take that back.
    pub equalize: bool,
    /// Corrections after calibration, by name and in order: see [`crate::refine::REFINEMENTS`].
    pub refinements: Vec<String>,

    /// What is quantized of layers, and when the scales of what they read are found.
    pub mode: Mode,
    /// How many convolutions stay float, counted from the input, before any rule is asked.
    pub skip_k_conv: usize,
    /// Whether matrix products with constant weights stay float.
    pub skip_dense: bool,
    /// S of the observer `global_scale`: values of b bits have the scale S / 2^(b-1), with zero in their middle.
    pub global_scale: f32,
    /// Whether values go to memory as narrow as layers read them. Without, what stands between a layer and the next
    /// input stays wide, and sums join wide values.
    pub store_lowbit: bool,
    /// Whether only the calibrated graph is wanted: it computes in floats what integers would give.
    pub simulate_only: bool,

    /// How an integer moves from one scale to another.
    pub requantize: MethodName,
    /// How integers are rounded, as text such as `floor`: by rescaling, and where floats are quantized in their place.
    /// Empty: each value as its own choice says, where a rescaling to the nearest has its method's ties.
    pub rounding: String,
    /// Whether a shift rounds to the nearest; without, it rounds down.
    pub round_for_shift: bool,
    /// Widest accumulator, 16 to 64 bits.
    pub accumulator_bits: u8,
    /// What becomes of a layer whose sums might not fit its accumulator.
    pub accumulator_limit: Limit,
    /// The device whose constraints the integers must keep, by name: see [`hardware::ALL`].
    pub hardware: String,
    /// Whether anything that stays float in the middle is an error.
    pub integer_only: bool,
    /// What enters and leaves the model: floats, or integers of this type.
    pub io: Io,
    /// What leaves the graph: the last layers' wide accumulators as floats, or values as narrow as all others.
    pub output: Output,

    /// What layers read, and in general any value that is written to memory.
    pub input: Spec,
    /// Constants that layers read.
    pub weight: Spec,
    /// The wide values between a layer and the next input.
    pub activation: Spec,

    /// Choices for the nodes of an operator, by its name; texts may also have another spelling of it.
    pub op: BTreeMap<String, Choices>,
    /// Choices for the nodes of a name, in which * stands for any letters and ? for one.
    pub layer: BTreeMap<String, Choices>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            samples: 512,
            refine_samples: 256,
            equalize: true,
            refinements: vec!["bias-correction".into()],
            mode: Mode::Static,
            skip_k_conv: 0,
            skip_dense: false,
            global_scale: 8.0,
            store_lowbit: true,
            simulate_only: false,
            requantize: MethodName::Float32,
            rounding: String::new(),
            round_for_shift: true,
            accumulator_bits: 32,
            accumulator_limit: Limit::Float,
            hardware: "host".into(),
            integer_only: false,
            io: Io::Float,
            output: Output::Wide,
            // The rounding of values that are rescaled may be said for all at once.
            input: Spec { rounding: None, ..Spec::usual(Kind::Input) },
            // Narrow where it is signed; who says nothing of it may make it unsigned.
            weight: Spec { narrow: None, ..Spec::usual(Kind::Weight) },
            activation: Spec { rounding: None, ..Spec::usual(Kind::Activation) },
            op: BTreeMap::new(),
            layer: BTreeMap::new(),
        }
    }
}

/// What is quantized of a layer with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Its weights and what it reads, with scales that calibration finds.
    Static,
    /// The same, but the scale of what it reads is found whenever it runs: signed integers with zero in their middle.
    Dynamic,
    /// Its weights alone; it computes on floats.
    WeightOnly,
}

impl Mode {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Static => "static",
            Mode::Dynamic => "dynamic",
            Mode::WeightOnly => "weight-only",
        }
    }
}

/// What leaves the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// The accumulator of the last layer is dequantized as it is: more exact, and free.
    Wide,
    /// Outputs are quantized like every other value.
    Narrow,
}

/// What becomes of a layer whose sums might not fit the accumulator that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// It stays float, and is listed.
    Float,
    /// It is an error.
    Error,
    /// It gets an accumulator of 64 bits.
    Widen,
}

/// What enters and leaves a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Io {
    /// Floats.
    Float,
    /// Signed bytes.
    Int8,
    /// Unsigned bytes.
    Uint8,
    /// Signed words.
    Int16,
    /// Unsigned words.
    Uint16,
}

impl Io {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Io::Float => "float",
            Io::Int8 => "int8",
            Io::Uint8 => "uint8",
            Io::Int16 => "int16",
            Io::Uint16 => "uint16",
        }
    }

    /// The integers, if it is not floats.
    pub fn dtype(self) -> Option<DType> {
        match self {
            Io::Float => None,
            Io::Int8 => Some(DType::I8),
            Io::Uint8 => Some(DType::U8),
            Io::Int16 => Some(DType::I16),
            Io::Uint16 => Some(DType::U16),
        }
    }
}

/// The name of a requantize method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// One f32 multiplication.
    Float32,
    /// A 31-bit multiplier and a shift.
    Fixed,
    /// A shift; needs power-of-two scales.
    Shift,
}

impl Config {
    /// Reads the TOML form and checks it.
    pub fn from_toml(text: &str) -> Result<Self> {
        Config::default().changed_by(text)
    }

    /// This configuration with the choices of a TOML text in place of its own.
    pub fn changed_by(&self, text: &str) -> Result<Self> {
        let config = keys::merge(self, text).map_err(|e| e.context("reading the configuration"))?;
        config.check()?;
        Ok(config)
    }

    /// This configuration with one choice changed, as `input.bits=4` or `layer."conv*".skip=true`; [`Self::check`] is
    /// left to whoever has changed all they want.
    pub fn set(&self, assignment: &str) -> Result<Self> {
        keys::set(self, assignment)
    }

    /// The paths of the choices that an assignment of [`Self::set`] makes.
    pub fn assigned(assignment: &str) -> Result<Vec<String>> {
        keys::paths(assignment)
    }

    /// Writes the TOML form, every choice included.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.filled()).map_err(|e| Error::new(e.to_string()).context("writing the configuration"))
    }

    /// The paths of the choices that a TOML text makes, with their lines, from 1.
    pub fn lines(text: &str) -> Result<BTreeMap<String, usize>> {
        keys::lines(text)
    }

    /// The JSON schema of the TOML form (draft 2020-12): every key with what it takes, what it says and its default.
    ///
    /// It knows keys and values one by one; what cannot work together, and names that only a model or a program of the
    /// user's knows, [`Config::check`] and the quantization refuse.
    pub fn schema() -> serde_json::Value {
        schema::schema()
    }

    /// Every choice as a key and its value in TOML, such as `input.bits` and `8`.
    pub fn entries(&self) -> Vec<(String, String)> {
        keys::flat(self)
    }

    /// What values a key takes, and what it says, in words; none for a path that is no key.
    pub fn described(path: &str) -> Option<(String, &'static str)> {
        keys::described(path)
    }

    /// The keys of operators (`op.NAME.skip`) and layers, with what is in force where they say nothing.
    pub fn scoped_entries() -> Vec<(String, String)> {
        keys::scoped()
    }

    /// The same choices with nothing left open.
    #[must_use]
    pub fn filled(&self) -> Self {
        let fill = |kind| self.rounded(kind, self.of(kind).clone()).filled(kind);
        let (input, weight, activation) = (fill(Kind::Input), fill(Kind::Weight), fill(Kind::Activation));
        Config { input, weight, activation, ..self.clone() }
    }

    /// What is wanted of a kind wherever nothing more specific is said.
    pub fn of(&self, kind: Kind) -> &Spec {
        match kind {
            Kind::Input => &self.input,
            Kind::Weight => &self.weight,
            Kind::Activation => &self.activation,
        }
    }

    /// Refuses what cannot work, before any data is read.
    pub fn check(&self) -> Result<()> {
        for (kind, name) in KINDS {
            self.of(kind).check(kind).map_err(|e| e.context(format!("checking the choices of {name}")))?;
        }
        for (name, choices) in &self.op {
            choices.check().map_err(|e| e.context(format!("checking the choices of op.{name}")))?;
        }
        for (pattern, choices) in &self.layer {
            choices.check().map_err(|e| e.context(format!("checking the choices of layer.\"{pattern}\"")))?;
        }
        if !(16..=64).contains(&self.accumulator_bits) {
            return Err(Error::new(format!("expected accumulator_bits in 16..=64, found {}", self.accumulator_bits)));
        }
        if !(self.global_scale.is_finite() && self.global_scale > 0.0) {
            return Err(Error::new(format!("expected a positive global_scale, found {}", self.global_scale)));
        }
        if self.simulate_only && self.integer_only {
            return Err(Error::new("simulate_only = true computes in floats, and integer_only = true allows none")
                .hint("one of the two"));
        }
        self.check_device()?;
        self.check_shift()?;
        self.check_rounding()
    }

    /// What rescaling rounds to, if it is said for all of it: by `rounding`, or by `round_for_shift = false`.
    pub(crate) fn rounding_of_all(&self) -> Option<Rounding> {
        match (self.rounding.is_empty(), self.round_for_shift) {
            (true, true) => None,
            (false, _) | (_, false) => self.rescale().ok().map(|r| r.rounding),
        }
    }

    /// A wish that leaves the rounding open, with the one that is said for all rescaling. Weights are never rescaled, and
    /// have their own.
    fn rounded(&self, kind: Kind, spec: Spec) -> Spec {
        match self.rounding_of_all() {
            Some(all) if kind != Kind::Weight && spec.rounding.is_none() => spec.rounding(all),
            Some(_) | None => spec,
        }
    }

    /// A wish that is one of some node's, with all that it leaves open; `by` says whose it is.
    pub(crate) fn completed(&self, kind: Kind, spec: Spec, by: &str) -> Result<Spec> {
        if kind != Kind::Weight
            && let Some((all, other)) = self.rounding_of_all().zip(spec.rounding).filter(|(all, other)| all != other)
        {
            return Err(Error::new(two_roundings(&self.rounding_key(all), by, other)).hint("one of the two"));
        }
        let mut spec = self.rounded(kind, spec).filled(kind);
        if spec.observer.as_deref() == Some(GLOBAL_SCALE) {
            spec.observer = Some(scope::global_scale(self));
        }
        scope::whole_power(&spec, name(kind))?;
        Ok(spec)
    }

    /// Who says how a kind is rounded, if its own key leaves it to what is said for all rescaling.
    pub(crate) fn rounded_by(&self, kind: Kind) -> By {
        match self.rounding_of_all() {
            Some(all) if kind != Kind::Weight && self.of(kind).rounding.is_none() => {
                By::from([("rounding".into(), self.rounding_key(all))])
            }
            Some(_) | None => By::new(),
        }
    }

    /// The choice that says one rounding for all rescaling.
    fn rounding_key(&self, all: Rounding) -> String {
        match self.round_for_shift {
            true => format!("rounding = \"{all}\""),
            false => "round_for_shift = false".to_string(),
        }
    }

    /// One rounding for all rescaling, and another for a value that is rescaled, cannot both be.
    fn check_rounding(&self) -> Result<()> {
        let Some(all) = self.rounding_of_all() else { return Ok(()) };
        let scopes = self.op.iter().map(|(name, c)| (format!("op.{name}."), c));
        let scopes = scopes.chain(self.layer.iter().map(|(name, c)| (format!("layer.\"{name}\"."), c)));
        let kinds = || KINDS.into_iter().filter(|(kind, _)| *kind != Kind::Weight);
        let of_scopes =
            scopes.flat_map(|(at, c)| kinds().map(move |(kind, name)| (format!("{at}{name}"), c.of(kind).rounding)));
        let of_all = kinds().map(|(kind, name)| (name.to_string(), self.of(kind).rounding));
        let mut others = of_all.chain(of_scopes).filter_map(|(name, r)| Some((name, r.filter(|r| *r != all)?)));
        others.next().map_or(Ok(()), |(name, other)| {
            Err(Error::new(two_roundings(&self.rounding_key(all), &name, other)).hint("one of the two"))
        })
    }

    fn check_device(&self) -> Result<()> {
        let device = hardware::find(&self.hardware)?;
        let wide = self.accumulator_limit == Limit::Widen;
        let bits = if wide { 64 } else { u32::from(self.accumulator_bits) };
        if bits > device.accumulator_bits {
            return Err(Error::new(format!(
                "expected accumulator_bits up to {} for the hardware '{}', found {bits}{}",
                device.accumulator_bits,
                device.name,
                if wide { " (accumulator_limit = \"widen\")" } else { "" }
            )));
        }
        let method = self.rescale()?.method;
        if !device.methods.contains(&method) {
            let allowed: Vec<&str> = device.methods.iter().map(|m| m.name()).collect();
            return Err(Error::new(format!(
                "expected requantize = {} for the hardware '{}', found {method}",
                allowed.join(" or "),
                device.name
            )));
        }
        Ok(())
    }

    /// A shift needs powers of two everywhere.
    fn check_shift(&self) -> Result<()> {
        if self.requantize != MethodName::Shift {
            return match self.round_for_shift {
                true => Ok(()),
                false => Err(Error::new("round_for_shift = false says something of requantize = \"shift\" only")),
            };
        }
        let (filled, everywhere) = (self.filled(), Choices::default());
        let ops = self.op.iter().map(|(name, c)| (format!("op.{name}."), c));
        let layers = self.layer.iter().map(|(name, c)| (format!("layer.\"{name}\"."), c));
        let scopes = std::iter::once((String::new(), &everywhere)).chain(ops).chain(layers);
        let keys = scopes.flat_map(|(scope, c)| KINDS.map(|(kind, name)| (scope.clone(), name, kind, c.of(kind))));
        for (scope, name, kind, own) in keys {
            let spec = own.over(filled.of(kind));
            // Wide values are quantized only where they are narrower than an accumulator.
            let quantized = kind != Kind::Activation || spec.bits != Some(32);
            if !quantized || spec.scale != Some(Scale::Float) {
                continue;
            }
            // A scope that changes other choices takes the scale from the kind's own key.
            let (set, by) = match own.scale.is_some() || scope.is_empty() {
                true => (format!("{scope}{name}"), String::new()),
                false => (name.to_string(), format!(", which {scope}{name} leaves as it is")),
            };
            return Err(Error::new(format!(
                "requantize = \"shift\" needs scales that are powers of two, found {set}.scale = \"float\"{by}"
            ))
            .hint(format!("{set}.scale = \"power-of-two\"")));
        }
        Ok(())
    }

    /// How integers move between scales.
    pub fn rescale(&self) -> Result<Rescale> {
        let method = match self.requantize {
            MethodName::Float32 => Method::Float32,
            MethodName::Fixed => Method::Fixed,
            MethodName::Shift => Method::Shift,
        };
        let rounding = match (self.rounding.as_str(), self.round_for_shift) {
            ("", true) => method.default_rounding(),
            ("", false) => Rounding::Floor,
            (name, true) => name.parse().map_err(|e| Error::new(format!("{e}, found '{name}'")))?,
            (name, false) => {
                return Err(Error::new(format!(
                    "round_for_shift = false rounds down, and rounding = \"{name}\" wants something else"
                ))
                .hint("one of the two"));
            }
        };
        Ok(Rescale { method, rounding })
    }
}

fn two_roundings(key: &str, by: &str, other: Rounding) -> String {
    format!("{key} rounds every value that is rescaled, and {by}.rounding = \"{other}\" wants something else")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_comes_back_and_unknown_keys_are_refused() {
        let layer = [("conv*".to_string(), Choices { skip: Some(true), input: Spec::bits(4), ..Choices::default() })];
        let config =
            Config { input: Spec::bits(16), refinements: Vec::new(), layer: layer.into(), ..Config::default() };
        let back = Config::from_toml(&config.to_toml().unwrap()).unwrap();
        assert_eq!(back, config.filled());
        assert_eq!((back.input.bits, back.input.signed), (Some(16), Some(false)));
        assert_eq!(Config::from_toml("").unwrap(), Config::default());
        for (text, nearest) in [
            ("sample = 3", "samples"),
            ("input.bit = 8", "input.bits"),
            ("layer.'a*'.weight.obserfer = 'max'", "layer.\"a*\".weight.observer"),
            ("op.Conv.skipped = true", "op.Conv.skip"),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(&format!("did you mean '{nearest}'?")), "{error}");
        }
    }

    #[test]
    fn one_choice_is_set_by_its_key() {
        let set = |text: &str| Config::default().set(text);
        assert_eq!(set("input.bits=4").unwrap().input.bits, Some(4));
        assert_eq!(set("input.bits = 4").unwrap().filled().input, Spec::bits(4).over(&Spec::usual(Kind::Input)));
        assert_eq!(set("input.observer=percentile(99.9)").unwrap().input.observer.as_deref(), Some("percentile(99.9)"));
        assert_eq!(set("refinements=[]").unwrap().refinements, [""; 0]);
        assert_eq!(set("layer.\"conv1.*\".skip=true").unwrap().layer["conv1.*"].skip, Some(true));
        assert_eq!(set("op.Conv.weight.bits=2").unwrap().op["Conv"].weight, Spec::bits(2));
        for (text, word) in [
            ("input.bits", "key=value"),
            ("input.bit=3", "did you mean 'input.bits'"),
            ("=3", "key=value"),
            ("input=3", "input"),
            ("input.bits=many", "bits"),
        ] {
            let error = set(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn impossible_choices_are_refused() {
        for (text, word) in [
            ("input.bits = 1", "the choices of input"),
            ("weight.bits = 17", "found 17"),
            ("accumulator_bits = 8", "accumulator_bits"),
            ("layer.'x'.weight.bits = 1", "layer.\"x\""),
            ("rounding = 'up'", "half-up"),
            ("requantize = 'shift'", "input.scale = \"power-of-two\""),
            ("global_scale = -1.0", "global_scale"),
            ("round_for_shift = false", "shift"),
            ("simulate_only = true\ninteger_only = true", "one of the two"),
            ("input.narrow = true", "signed = true, or narrow = false"),
            ("weight.signed = false\nweight.narrow = true", "signed = false has none"),
            ("op.Conv.input = { signed = false, narrow = true }", "op.Conv"),
            ("rounding = 'floor'\ninput.rounding = 'half-away'", "rounding = \"floor\" rounds every value"),
            ("rounding = 'floor'\ninput.rounding = 'half-even'", "input.rounding = \"half-even\" wants something else"),
            ("rounding = 'floor'\nlayer.'x'.input.rounding = 'half-even'", "layer.\"x\".input.rounding"),
            ("rounding = 'floor'\n[op.Conv]\nactivation.rounding = 'half-up'", "op.Conv.activation.rounding"),
            ("hardware = 'integer-onyl'\nrequantize = 'fixed'", "did you mean 'integer-only'"),
            ("hardware = 'integer-only'", "expected requantize = fixed or shift"),
            ("hardware = 'integer-only'\nrequantize = 'fixed'\naccumulator_bits = 64", "accumulator_bits up to 32"),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn values_that_a_key_does_not_take_are_told_in_words() {
        for (text, told) in [
            ("requantize = 'fixd'", "requantize takes float32, fixed or shift, found \"fixd\" (did you mean 'fixed'?)"),
            ("io = 'int9'", "io takes float, int8, uint8, int16 or uint16, found \"int9\" (did you mean 'int8'?)"),
            ("samples = 'many'", "samples takes a whole number from 0, found \"many\""),
            ("samples = -3", "samples takes a whole number from 0, found -3"),
            ("samples = 1.5", "samples takes a whole number from 0, found 1.5"),
            ("samples.x = 1", "samples takes a whole number from 0, found { x = 1 }"),
            ("input.bits = 300", "input.bits takes 2 to 16 bits, of activation up to 32, found 300"),
            ("accumulator_bits = 'wide'", "accumulator_bits takes 16 to 64 bits, found \"wide\""),
            ("equalize = 1", "equalize takes true or false, found 1"),
            ("layer.'a*'.skip = 'yes'", "layer.\"a*\".skip takes true or false, found \"yes\""),
            (
                "op.Conv.output = 'narow'",
                "op.Conv.output takes wide or narrow, found \"narow\" (did you mean 'narrow'?)",
            ),
            ("weight.scale = 'power-of-too'", "weight.scale takes float or power-of-two"),
            (
                "weight.per = 'chanel'",
                "weight.per takes tensor, channel or block(32), found \"chanel\" (did you mean 'channel'?)",
            ),
            ("input.rounding = 'half-evn'", "(did you mean 'half-even'?)"),
            ("input.observer = 3", "input.observer takes the name of an observer, found 3"),
            ("refinements = 'bias-correction'", "refinements takes a list of names, such as [\"bias-correction\"]"),
            ("global_scale = 'big'", "global_scale takes a number above 0, found \"big\""),
            ("input = 8", "such as input.bits = 8, found 8"),
            ("weight = 8", "such as weight.bits = 8, found 8"),
            ("op = 8", "op takes choices of operators, such as op.Conv.skip = true, found 8"),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        assert_eq!(Config::from_toml("global_scale = 4\ninput.observer = 'global_scale'").unwrap().global_scale, 4.0);
    }

    #[test]
    fn a_rounding_for_all_rescaling_is_that_of_the_values_too() {
        let config = Config::from_toml("rounding = 'floor'\ninput.rounding = 'floor'").unwrap().filled();
        assert_eq!(config, Config::from_toml("rounding = 'floor'").unwrap().filled());
        let of = |kind| config.of(kind).rounding.unwrap();
        assert_eq!((of(Kind::Input), of(Kind::Activation)), (Rounding::Floor, Rounding::Floor));
        assert_eq!(of(Kind::Weight), Rounding::HalfEven);
        assert_eq!(Config::from_toml(&config.to_toml().unwrap()).unwrap(), config);
    }

    #[test]
    fn a_shift_rounds_or_not() {
        let text = "requantize = 'shift'\ninput.scale = 'power-of-two'\nweight.scale = 'power-of-two'\n";
        let rounding = |more: &str| Config::from_toml(&format!("{text}{more}")).map(|c| c.rescale().unwrap().rounding);
        assert_eq!(rounding("").unwrap(), Rounding::HalfUp);
        assert_eq!(rounding("round_for_shift = false").unwrap(), Rounding::Floor);
        assert!(rounding("round_for_shift = false\nrounding = 'half-even'").is_err());
        assert!(rounding("layer.'a'.input.scale = 'float'").is_err());
        for (more, why) in [
            (
                "op.Conv.activation.bits = 16",
                "found activation.scale = \"float\", which op.Conv.activation leaves as it is",
            ),
            ("op.Conv.activation = { bits = 16, scale = 'float' }", "found op.Conv.activation.scale = \"float\""),
            ("layer.'a'.activation.bits = 12", "which layer.\"a\".activation leaves as it is"),
        ] {
            let error = rounding(more).unwrap_err().to_string();
            assert!(error.contains(why), "{more}: {error}");
        }
        rounding("op.Conv.activation = { bits = 16, scale = 'power-of-two' }").unwrap();
    }
}
