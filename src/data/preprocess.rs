//! From pixels to a model's input: size, crop, channel order, normalization.
//!
//! The order of work is fixed: colour or luminance, resize, crop, then for every sample, in f32 and rounded after each
//! of three operations, `x = (pixel / divisor - mean) / std`.
//! The divisor is 255, and 1 for `raw`, which therefore gives the integers 0..255 exactly.

use super::InputSpec;
use super::decode::{Image, MAX_PIXELS};
use super::resize::{bilinear, center_crop, short_side};
use lowbit_ir::{Error, Result, Tensor, bail};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a model wants its images. The JSON form is what a model stores under `lowbit.preprocess`:
/// `{"resize":256,"crop":224,"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225],"channels":"rgb"}`,
/// with `"divisor":1` where pixels are not divided by 255.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Length of the short side after Pillow's bilinear resize; `None` leaves the size.
    #[serde(default)]
    pub resize: Option<u32>,
    /// Side of the square cut from the centre after the resize; `None` takes the whole image.
    #[serde(default)]
    pub crop: Option<u32>,
    /// Subtracted: one value, or one for each channel in the order in which the model takes them.
    pub mean: Vec<f32>,
    /// Divided by: one value, or one for each channel in the order in which the model takes them.
    pub std: Vec<f32>,
    /// The order in which the model takes colours.
    #[serde(default)]
    pub channels: Channels,
    /// Pixels are divided by this first.
    #[serde(default = "full_range", skip_serializing_if = "is_full_range")]
    pub divisor: f32,
}

/// An order of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// A preprocessing that has a name.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// What `--preprocess` takes.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    resize: Option<u32>,
    crop: Option<u32>,
    mean: &'static [f32],
    std: &'static [f32],
    divisor: f32,
}

/// All presets.
pub static PRESETS: [Preset; 4] = [
    Preset {
        name: "imagenet",
        summary: "short side 256, centre 224, torchvision's mean and std",
        resize: Some(256),
        crop: Some(224),
        mean: &[0.485, 0.456, 0.406],
        std: &[0.229, 0.224, 0.225],
        divisor: 255.0,
    },
    Preset {
        name: "inception",
        summary: "-1..1: mean 0.5, std 0.5",
        resize: None,
        crop: None,
        mean: &[0.5],
        std: &[0.5],
        divisor: 255.0,
    },
    Preset { name: "unit", summary: "0..1", resize: None, crop: None, mean: &[0.0], std: &[1.0], divisor: 255.0 },
    Preset { name: "raw", summary: "0..255", resize: None, crop: None, mean: &[0.0], std: &[1.0], divisor: 1.0 },
];

/// What a user asked for beside a preset or a stored preprocessing; `None` asks for nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides {
    /// `Some(None)` turns the resize off.
    pub resize: Option<Option<u32>>,
    /// `Some(None)` turns the crop off.
    pub crop: Option<Option<u32>>,
    /// Mean of `pixel / 255`, in the order in which the model takes its channels.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of `pixel / 255`, in the same order.
    pub std: Option<Vec<f32>>,
    /// The order of colours.
    pub channels: Option<Channels>,
}

/// What a command line decides on: a preset by name, else what the model stores, else mean and std in full;
/// the overrides upon that. `None` if there is nothing at all to go by; overrides that lack what they override are an
/// error.
pub fn resolve(preset: Option<&str>, stored: Option<&str>, overrides: &Overrides) -> Result<Option<Preprocess>> {
    let base = match (preset, stored, &overrides.mean, &overrides.std) {
        (Some(name), _, _, _) => Preprocess::preset(name)?,
        (None, Some(json), _, _) => Preprocess::from_json(json)?,
        (None, None, Some(_), Some(_)) => Preprocess::preset("unit")?,
        (None, None, Some(_), None) => return Err(incomplete("a std", "a mean")),
        (None, None, None, Some(_)) => return Err(incomplete("a mean", "a std")),
        (None, None, None, None) if *overrides != Overrides::default() => {
            return Err(incomplete("a mean and a std", "a size or an order of colours"));
        }
        (None, None, None, None) => return Ok(None),
    };
    base.with(overrides).map(Some)
}

fn incomplete(missing: &str, given: &str) -> Error {
    Error::new(format!("expected {missing} too, found {given} alone, and the model stores no preprocessing"))
        .hint(format!("--mean and --std both; or --preprocess with one of {}", preset_names()))
}

impl Preprocess {
    /// The preset of this name.
    pub fn preset(name: &str) -> Result<Preprocess> {
        let found = PRESETS.iter().find(|p| p.name == name);
        let p = found.ok_or_else(|| {
            Error::new(format!("expected a preprocessing preset, found '{name}'"))
                .hint(format!("one of {}", preset_names()))
        })?;
        Ok(Preprocess {
            resize: p.resize,
            crop: p.crop,
            mean: p.mean.to_vec(),
            std: p.std.to_vec(),
            channels: Channels::Rgb,
            divisor: p.divisor,
        })
    }

    /// Reads what a model stores.
    pub fn from_json(json: &str) -> Result<Preprocess> {
        let unreadable = |e: serde_json::Error| Error::new(format!("unreadable preprocessing: {e}"));
        let found: Preprocess = serde_json::from_str(json).map_err(unreadable)?;
        found.checked()
    }

    /// The text that a model stores.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::new(e.to_string()))
    }

    /// This with a user's wishes.
    ///
    /// A mean or std given here speaks of `pixel / 255`, so on a `raw` base it makes the divisor 255.
    /// Both are in the order in which the model takes its channels: blue, green, red with [`Channels::Bgr`].
    /// Another order of colours takes along a mean and std that are not given, so each stays with its colour.
    pub fn with(mut self, overrides: &Overrides) -> Result<Preprocess> {
        if (overrides.mean.is_some() || overrides.std.is_some()) && !is_full_range(&self.divisor) {
            let to_full_range = 255.0 / self.divisor;
            self.mean.iter_mut().chain(&mut self.std).for_each(|v| *v /= to_full_range);
            self.divisor = 255.0;
        }
        if let Some(channels) = overrides.channels.filter(|c| *c != self.channels) {
            self.mean.reverse();
            self.std.reverse();
            self.channels = channels;
        }
        self.resize = overrides.resize.unwrap_or(self.resize);
        self.crop = overrides.crop.unwrap_or(self.crop);
        self.mean = overrides.mean.clone().unwrap_or(self.mean);
        self.std = overrides.std.clone().unwrap_or(self.std);
        self.checked()
    }

    fn checked(self) -> Result<Preprocess> {
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if !matches!(values.len(), 1 | 3) || !finite(values) {
                bail!("expected 1 or 3 finite values of {name}, found {values:?}");
            }
        }
        if self.std.contains(&0.0) || self.divisor == 0.0 || !self.divisor.is_finite() {
            bail!("expected a std and divisor other than 0, found {:?} and {}", self.std, self.divisor);
        }
        if self.resize == Some(0) || self.crop == Some(0) {
            return Err(Error::new("expected a resize and crop of at least 1, found 0").hint("'none' turns it off"));
        }
        Ok(self)
    }

    /// The image as a tensor for this input, with batch dimension 1 if the input has one.
    pub fn apply(&self, image: Image, input: &ImageInput) -> Result<Tensor> {
        let image = match input.channels {
            1 => image.into_luminance(),
            _ => image.into_rgb(),
        };
        let before = (image.width, image.height);
        let image = self.resized(image)?;
        let image = match self.crop.map(|side| side as usize) {
            Some(side) => {
                check_pixels(side, side)?;
                center_crop(&image, side, side)
            }
            None => image,
        };
        input.check_size(before, (image.width, image.height))?;
        self.normalized(&image, input)
    }

    fn resized(&self, image: Image) -> Result<Image> {
        let Some(short) = self.resize else { return Ok(image) };
        let (width, height) = short_side(image.width, image.height, short as usize);
        check_pixels(width, height)?;
        Ok(bilinear(&image, width, height))
    }

    fn normalized(&self, image: &Image, input: &ImageInput) -> Result<Tensor> {
        let tables = (0..image.channels).map(|c| self.levels(c, image.channels)).collect::<Result<Vec<_>>>()?;
        let source = |c: usize| match self.channels {
            Channels::Rgb => c,
            Channels::Bgr => image.channels - 1 - c,
        };
        let area = image.width * image.height;
        let mut data = Vec::with_capacity(image.pixels.len());
        match input.layout {
            Layout::ChannelsFirst | Layout::Flat => {
                for (c, table) in tables.iter().enumerate() {
                    let plane = image.pixels.iter().skip(source(c)).step_by(image.channels);
                    data.extend(plane.map(|p| table[usize::from(*p)]));
                }
            }
            Layout::ChannelsLast => {
                for pixel in image.pixels.chunks_exact(image.channels) {
                    data.extend(tables.iter().enumerate().map(|(c, table)| table[usize::from(pixel[source(c)])]));
                }
            }
        }
        let (c, h, w) = (image.channels, image.height, image.width);
        let dims: Vec<usize> = match (input.layout, input.batched) {
            (Layout::ChannelsFirst, true) => vec![1, c, h, w],
            (Layout::ChannelsFirst, false) => vec![c, h, w],
            (Layout::ChannelsLast, true) => vec![1, h, w, c],
            (Layout::ChannelsLast, false) => vec![h, w, c],
            (Layout::Flat, _) => vec![1, c * area],
        };
        Tensor::from_f32(&dims, data)
    }

    /// What each of the 256 levels becomes in channel `c` of `channels`.
    fn levels(&self, c: usize, channels: usize) -> Result<[f32; 256]> {
        let of = |name: &str, values: &[f32]| match values {
            [one] => Ok(*one),
            _ if values.len() == channels => Ok(values[c]),
            _ => Err(Error::new(format!(
                "expected {channels} values of {name} for a model of {channels} channels, found {}",
                values.len()
            ))
            .hint("give one value, as --mean 0.5 --std 0.5, or another preset")),
        };
        let (mean, std) = (of("mean", &self.mean)?, of("std", &self.std)?);
        Ok(std::array::from_fn(|pixel| (pixel as f32 / self.divisor - mean) / std))
    }
}

/// How an input takes images, read from its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInput {
    layout: Layout,
    batched: bool,
    channels: usize,
    height: Option<usize>,
    width: Option<usize>,
    /// Elements, for a flat input.
    elements: Option<usize>,
}

/// Where the channels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// N,C,H,W or C,H,W.
    ChannelsFirst,
    /// N,H,W,C or H,W,C.
    ChannelsLast,
    /// N,K with the elements in the order C,H,W.
    Flat,
}

impl ImageInput {
    /// N,C,H,W unless only the last dimension can be the channels (1 or 3); without N for three dimensions;
    /// N,K for two.
    pub fn new(input: &InputSpec) -> Result<ImageInput> {
        let channels = |d: Option<usize>| d.filter(|d| matches!(d, 1 | 3));
        if let ([Some(n), _] | [Some(n), _, _, _], false) = (&input.shape[..], input.has_batch()) {
            return Err(Error::new(format!(
                "expected an input that takes one image, found {input}, which takes {n} at once"
            ))
            .at_value(&input.name)
            .hint("export the model with an open batch, or give an .npz whose samples have the full shape"));
        }
        let (batched, [a, b, c]) = match input.shape[..] {
            [_, a, b, c] => (true, [a, b, c]),
            [a, b, c] => (false, [a, b, c]),
            [_, elements] => {
                let is_square = |n: usize| n.isqrt() * n.isqrt() == n;
                let colour = elements.is_some_and(|n| !is_square(n) && n % 3 == 0 && is_square(n / 3));
                let channels = if colour { 3 } else { 1 };
                let layout = Layout::Flat;
                return Ok(ImageInput { layout, batched: true, channels, height: None, width: None, elements });
            }
            _ => return Err(not_an_image(input)),
        };
        let (layout, channels, height, width) = match (channels(a), channels(c)) {
            (Some(a), _) => (Layout::ChannelsFirst, a, b, c),
            (None, Some(c)) => (Layout::ChannelsLast, c, a, b),
            (None, None) if a.is_none() => (Layout::ChannelsFirst, 3, b, c),
            (None, None) => return Err(not_an_image(input)),
        };
        Ok(ImageInput { layout, batched, channels, height, width, elements: None })
    }

    /// Compares the size that came out of the preprocessing with the model's.
    fn check_size(&self, before: (usize, usize), after: (usize, usize)) -> Result<()> {
        let (width, height) = after;
        let fits = self.width.is_none_or(|w| w == width)
            && self.height.is_none_or(|h| h == height)
            && self.elements.is_none_or(|n| n == width * height * self.channels);
        if fits {
            return Ok(());
        }
        let side = self.elements.map(|n| (n / self.channels).isqrt());
        let (w, h) = (self.width.or(side).unwrap_or(width), self.height.or(side).unwrap_or(height));
        let found = match before == after {
            true => format!("a {width}x{height} image"),
            false => format!("{width}x{height} (the image has {}x{})", before.0, before.1),
        };
        let hint = match (w == h, before == (w, h), before.0.min(before.1) >= w) {
            (_, true, _) => "--resize none --crop none (the image has that size as it is)".to_owned(),
            (true, _, true) => format!(
                "--resize none --crop {w} (the centre of the image), or --resize {w} --crop {w} (short side to {w} first)"
            ),
            (true, _, false) => format!("--resize {w} --crop {w} (short side to {w}, then the centre)"),
            (false, _, _) => format!("images of {w}x{h} with --resize none --crop none; crops are square"),
        };
        Err(Error::new(format!("expected {w}x{h} (width x height) for the model, found {found}")).hint(hint))
    }
}

fn not_an_image(input: &InputSpec) -> Error {
    Error::new(format!("expected an input that takes images (N,C,H,W or N,H,W,C with 1 or 3 channels), found {input}"))
        .at_value(&input.name)
        .hint("give an .npy or .npz file, or random")
}

fn check_pixels(width: usize, height: usize) -> Result<()> {
    if (width as u64).saturating_mul(height as u64) > MAX_PIXELS || width == 0 || height == 0 {
        bail!("expected a resize and crop to 1 to {MAX_PIXELS} pixels, found {width}x{height}");
    }
    Ok(())
}

/// The presets, as a list for messages.
pub fn preset_names() -> String {
    PRESETS.iter().map(|p| format!("{} ({})", p.name, p.summary)).collect::<Vec<_>>().join(", ")
}

fn full_range() -> f32 {
    255.0
}

fn is_full_range(divisor: &f32) -> bool {
    *divisor == full_range()
}

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Channels::Rgb => "rgb",
            Channels::Bgr => "bgr",
        })
    }
}

impl FromStr for Channels {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "rgb" => Ok(Channels::Rgb),
            "bgr" => Ok(Channels::Bgr),
            other => bail!("expected channels rgb or bgr, found '{other}'"),
        }
    }
}
