//! Pillow's bilinear resize and torchvision's geometry, to the bit.
//!
//! [`bilinear`] is `Image.resize(size, BILINEAR)`: a triangle filter that widens when it shrinks an image (so it is
//! antialiased), one pass for the columns and one for the rows, both on 8-bit samples with fixed-point coefficients.
//! The coefficients are computed in f64 in Pillow's order of operations, so no platform's libm takes part.

use super::decode::Image;

/// Bits behind the binary point of a coefficient: 32 less 8 for the sample and 2 for the sign and overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// The image at `width` x `height` (both at least 1), as Pillow's bilinear filter gives it.
pub fn bilinear(image: &Image, width: usize, height: usize) -> Image {
    match vertical_first(image, width, height) {
        true => horizontal_pass(&vertical_pass(image, height), width),
        false => vertical_pass(&horizontal_pass(image, width), height),
    }
}

/// The order of the passes matters, for the samples between them are rounded.
///
/// Pillow 13 drops rows first where that drops more than twice as many rows as columns go.
/// Earlier releases always begin with the columns; when the proportions are kept, as they are by [`short_side`], only
/// images more than twice as high as wide tell the difference, by a level.
fn vertical_first(image: &Image, width: usize, height: usize) -> bool {
    let rows = image.height.saturating_sub(height);
    let columns = image.width.saturating_sub(width);
    rows > 2 * columns
}

/// torchvision's size for `Resize(short)`: the short side becomes `short`, the long side keeps the proportion and is
/// rounded down.
pub fn short_side(width: usize, height: usize, short: usize) -> (usize, usize) {
    // Python computes int(short * long / short_side) in floating point; below 2^52 that is integer division.
    let scaled = |long: usize, of: usize| (short as u64 * long as u64 / of.max(1) as u64) as usize;
    match width <= height {
        true => (short, scaled(height, width)),
        false => (scaled(width, height), short),
    }
}

/// torchvision's `CenterCrop`: the middle `width` x `height`, with zeros around an image that is smaller.
pub fn center_crop(image: &Image, width: usize, height: usize) -> Image {
    let left = crop_offset(image.width, width);
    let top = crop_offset(image.height, height);
    let channels = image.channels;
    let mut pixels = vec![0; width * height * channels];
    let from_x = left.max(0) as usize;
    let to_x = (-left).max(0) as usize;
    let columns = (image.width - from_x).min(width - to_x) * channels;
    for y in 0..height {
        let source = y as isize + top;
        if !(0..image.height as isize).contains(&source) {
            continue;
        }
        let from = (source as usize * image.width + from_x) * channels;
        let to = (y * width + to_x) * channels;
        pixels[to..to + columns].copy_from_slice(&image.pixels[from..from + columns]);
    }
    Image { width, height, channels, pixels }
}

/// Where the crop begins in the image; negative if the image is padded.
fn crop_offset(size: usize, crop: usize) -> isize {
    match size < crop {
        // torchvision puts the odd row or column of padding behind the image.
        true => -(((crop - size) / 2) as isize),
        // Python's round: halves go to the even neighbour.
        false => {
            let margin = (size - crop) as isize;
            let half = margin / 2;
            half + (margin % 2) * (half % 2)
        }
    }
}

/// The source samples that make one output sample, and their weights.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

/// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`.
fn windows(source: usize, target: usize) -> Vec<Window> {
    let scale = source as f64 / target as f64;
    let filter_scale = scale.max(1.0);
    let support = filter_scale; // The triangle reaches one (scaled) sample to either side.
    let per_sample = 1.0 / filter_scale;
    let window = |i: usize| {
        let center = (i as f64 + 0.5) * scale;
        // These casts truncate as C's do; a negative number becomes 0, which is Pillow's clamp.
        let start = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(source);
        let weights: Vec<f64> = (start..end).map(|x| triangle((x as f64 - center + 0.5) * per_sample)).collect();
        let sum: f64 = weights.iter().fold(0.0, |sum, w| sum + w);
        let fixed = |w: &f64| {
            let normal = if sum != 0.0 { w / sum } else { *w };
            (0.5 + normal * f64::from(1u32 << PRECISION_BITS)) as i32
        };
        Window { start, weights: weights.iter().map(fixed).collect() }
    };
    (0..target).map(window).collect()
}

fn triangle(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 { 1.0 - x } else { 0.0 }
}

fn horizontal_pass(image: &Image, width: usize) -> Image {
    if width == image.width {
        return image.clone();
    }
    let windows = windows(image.width, width);
    let channels = image.channels;
    let mut pixels = Vec::with_capacity(width * image.height * channels);
    for row in image.pixels.chunks_exact(image.width * channels) {
        for window in &windows {
            for c in 0..channels {
                let samples = row.iter().skip(window.start * channels + c).step_by(channels);
                pixels.push(weighted(samples, &window.weights));
            }
        }
    }
    Image { width, pixels, ..*image }
}

fn vertical_pass(image: &Image, height: usize) -> Image {
    if height == image.height {
        return image.clone();
    }
    let stride = image.width * image.channels;
    let mut pixels = Vec::with_capacity(stride * height);
    for window in windows(image.height, height) {
        for x in 0..stride {
            let samples = image.pixels.iter().skip(window.start * stride + x).step_by(stride);
            pixels.push(weighted(samples, &window.weights));
        }
    }
    Image { height, pixels, ..*image }
}

/// The weighted sum, rounded half up and clipped. The weights sum to one, so 32 bits hold it.
fn weighted<'a>(samples: impl Iterator<Item = &'a u8>, weights: &[i32]) -> u8 {
    let half = 1i32 << (PRECISION_BITS - 1);
    let sum = samples.zip(weights).fold(half, |sum, (s, w)| sum + i32::from(*s) * w);
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}
