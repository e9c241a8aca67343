//! The choices of a quantization, with the defaults that measured best.
//!
//! A `Config` has a TOML form, is echoed in full with every result, and refuses keys it does not know.

use lowbit_arithmetic::{Method, Rounding};
use lowbit_ir::op::Rescale;
use lowbit_ir::spec::{ScaleForm, Sharing};
use lowbit_ir::{Error, Kind, Result, Spec, hardware};
use serde::{Deserialize, Serialize};

use crate::observe;

/// Every choice there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Config {
    /// How many samples calibration looks at, spread evenly over those given; 0 takes all.
    pub samples: usize,

    /// Width of values in memory, 2..=16 bits.
    pub activation_bits: u8,
    /// Whether values in memory use negative integers.
    pub activation_signed: bool,
    /// Whether the zero point of values in memory is the middle of the range.
    pub activation_symmetric: bool,
    /// Which scales values in memory may have.
    pub activation_scale: Scale,
    /// What finds the range of a value in memory, by name: see [`observe::OBSERVERS`].
    pub activation_observer: String,

    /// Width of weights, 2..=16 bits. They are signed and symmetric.
    pub weight_bits: u8,
    /// One scale per output channel instead of one for all.
    pub weight_per_channel: bool,
    /// Whether weights leave out their lowest integer (-127..127 for 8 bits).
    pub weight_narrow: bool,
    /// Which scales weights may have.
    pub weight_scale: Scale,
    /// What finds the range of weights, by name: see [`observe::WEIGHT_OBSERVERS`].
    pub weight_observer: String,

    /// Whether channels that share a scale are multiplied to fill it, where weights can take that back.
    pub equalize: bool,

    /// How an integer moves from one scale to another.
    pub requantize: MethodName,
    /// How a rescaled integer is rounded, as text such as `half-even`; empty for the method's own.
    pub rounding: String,
    /// How floats are rounded when they are quantized.
    pub quantize_rounding: String,
    /// Widest accumulator, 32 or 64 bits.
    pub accumulator_bits: u8,
    /// The device whose constraints the integers must keep, by name: see [`hardware::ALL`].
    pub hardware: String,

    /// Corrections after calibration, by name and in order: see [`crate::refine::REFINEMENTS`].
    pub refinements: Vec<String>,
    /// How many of the calibration's samples equalization and the corrections look at; 0 takes all.
    pub refine_samples: usize,

    /// What leaves the graph: the last layers' wide accumulators as floats, or values as narrow as all others.
    pub output: Output,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            samples: 512,
            activation_bits: 8,
            activation_signed: false,
            activation_symmetric: false,
            activation_scale: Scale::Float,
            activation_observer: "mse".into(),
            weight_bits: 8,
            weight_per_channel: true,
            weight_narrow: true,
            weight_scale: Scale::Float,
            weight_observer: "max".into(),
            equalize: true,
            requantize: MethodName::Float32,
            rounding: String::new(),
            quantize_rounding: "half-even".into(),
            accumulator_bits: 32,
            hardware: "host".into(),
            refinements: vec!["bias-correction".into()],
            refine_samples: 256,
            output: Output::Wide,
        }
    }
}

/// Which scales are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Any positive float.
    Float,
    /// Powers of two.
    PowerOfTwo,
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
        let config: Config =
            toml::from_str(text).map_err(|e| Error::new(e.to_string()).context("reading the configuration"))?;
        config.check()?;
        Ok(config)
    }

    /// Writes the TOML form, every choice included.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::new(e.to_string()).context("writing the configuration"))
    }

    /// Refuses what cannot work, before any data is read.
    pub fn check(&self) -> Result<()> {
        let width = |name: &str, bits: u8| match bits {
            2..=16 => Ok(()),
            _ => Err(Error::new(format!("expected {name} in 2..=16, found {bits}"))),
        };
        width("activation_bits", self.activation_bits)?;
        width("weight_bits", self.weight_bits)?;
        if !matches!(self.accumulator_bits, 32 | 64) {
            return Err(Error::new(format!("expected accumulator_bits 32 or 64, found {}", self.accumulator_bits)));
        }
        let device = hardware::find(&self.hardware)?;
        if u32::from(self.accumulator_bits) > device.accumulator_bits {
            return Err(Error::new(format!(
                "expected accumulator_bits up to {} for the hardware '{}', found {}",
                device.accumulator_bits, device.name, self.accumulator_bits
            )));
        }
        observe::find(&self.activation_observer)?;
        observe::find_for_weights(&self.weight_observer)?;
        crate::refine::check_names(&self.refinements)?;
        let method = self.rescale()?.method;
        if !device.methods.contains(&method) {
            let allowed: Vec<&str> = device.methods.iter().map(|m| m.name()).collect();
            return Err(Error::new(format!(
                "expected requantize = {} for the hardware '{}', found {method}",
                allowed.join(" or "),
                device.name
            )));
        }
        self.rounding_of_quantize()?;
        if self.requantize == MethodName::Shift
            && (self.activation_scale, self.weight_scale) != (Scale::PowerOfTwo, Scale::PowerOfTwo)
        {
            return Err(Error::new("requantize = \"shift\" needs scales that are powers of two")
                .hint("set activation_scale and weight_scale to \"power-of-two\""));
        }
        Ok(())
    }

    /// What is asked of a value in memory.
    pub fn input_spec(&self) -> Result<Spec> {
        Ok(Spec {
            kind: Kind::Input,
            bits: self.activation_bits,
            signed: self.activation_signed,
            symmetric: self.activation_symmetric,
            narrow: false,
            sharing: Sharing::Tensor,
            scale: self.activation_scale.form(),
            rounding: self.rounding_of_quantize()?,
            observer: self.activation_observer.as_str().into(),
        })
    }

    /// What is asked of weights whose output channels lie along `axis`.
    pub fn weight_spec(&self, axis: usize) -> Result<Spec> {
        Ok(Spec {
            kind: Kind::Weight,
            bits: self.weight_bits,
            signed: true,
            symmetric: true,
            narrow: self.weight_narrow,
            sharing: if self.weight_per_channel { Sharing::Channel(axis) } else { Sharing::Tensor },
            scale: self.weight_scale.form(),
            rounding: self.rounding_of_quantize()?,
            observer: self.weight_observer.as_str().into(),
        })
    }

    /// How integers move between scales.
    pub fn rescale(&self) -> Result<Rescale> {
        let method = match self.requantize {
            MethodName::Float32 => Method::Float32,
            MethodName::Fixed => Method::Fixed,
            MethodName::Shift => Method::Shift,
        };
        let rounding = match self.rounding.as_str() {
            "" => method.default_rounding(),
            name => rounding(name)?,
        };
        Ok(Rescale { method, rounding })
    }

    /// How floats become integers.
    pub fn rounding_of_quantize(&self) -> Result<Rounding> {
        rounding(&self.quantize_rounding)
    }
}

fn rounding(name: &str) -> Result<Rounding> {
    name.parse().map_err(|e| Error::new(format!("{e}, found '{name}'")))
}

impl Scale {
    fn form(self) -> ScaleForm {
        match self {
            Scale::Float => ScaleForm::Float,
            Scale::PowerOfTwo => ScaleForm::PowerOfTwo,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_comes_back_and_unknown_keys_are_refused() {
        let config = Config { activation_bits: 16, refinements: Vec::new(), ..Config::default() };
        assert_eq!(Config::from_toml(&config.to_toml().unwrap()).unwrap(), config);
        assert_eq!(Config::from_toml("").unwrap(), Config::default());
        assert!(Config::from_toml("activation_bit = 8").unwrap_err().to_string().contains("activation_bit"));
    }

    #[test]
    fn impossible_choices_are_refused() {
        for (text, word) in [
            ("activation_bits = 1", "activation_bits"),
            ("weight_bits = 17", "weight_bits"),
            ("accumulator_bits = 24", "accumulator_bits"),
            ("activation_observer = 'mes'", "mse"),
            ("weight_observer = 'minmax'", "max"),
            ("rounding = 'up'", "half-up"),
            ("requantize = 'shift'", "power-of-two"),
            ("hardware = 'integer-onyl'\nrequantize = 'fixed'", "did you mean 'integer-only'"),
            ("hardware = 'integer-only'", "expected requantize = fixed or shift"),
            ("hardware = 'integer-only'\nrequantize = 'fixed'\naccumulator_bits = 64", "accumulator_bits up to 32"),
            ("refinements = ['bias']", "bias-correction"),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
