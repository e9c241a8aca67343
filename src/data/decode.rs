//! JPEG and PNG bytes to 8-bit pixels, with Pillow's conversions to RGB and to luminance.
//!
//! PNG pixels equal Pillow's to the bit.
//! JPEG leaves the inverse transform and the chroma upsampling to the decoder: pixels lie within 3 levels of
//! libjpeg-turbo's (about 95 % are equal), and are the same on every machine.

use super::room::{Room, Taken};
use lowbit_ir::{Error, Result, bail};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An image of 8-bit samples: rows from top to bottom, channels interleaved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// 1 (luminance) or 3 (red, green, blue).
    pub channels: usize,
    /// `height * width * channels` samples.
    pub pixels: Vec<u8>,
}

/// Most pixels that an image may have, before or after a resize; Pillow refuses at the same number.
pub const MAX_PIXELS: u64 = 178_956_970;

impl Image {
    /// An image over these samples, whose number must fit.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Result<Image> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(channels));
        if !matches!(channels, 1 | 3) || width == 0 || height == 0 || expected != Some(pixels.len()) {
            bail!("expected a {width}x{height} image of 1 or 3 channels, found {channels} and {} bytes", pixels.len());
        }
        Ok(Image { width, height, channels, pixels })
    }

    /// The image in colour; luminance becomes three equal channels.
    pub fn into_rgb(self) -> Image {
        match self.channels {
            1 => Image { channels: 3, pixels: self.pixels.iter().flat_map(|l| [*l; 3]).collect(), ..self },
            _ => self,
        }
    }

    /// The luminance, as Pillow's `convert("L")`: ITU-R 601-2 weights in 16-bit fixed point.
    pub fn into_luminance(self) -> Image {
        let weigh = |r: u8, g: u8, b: u8| {
            ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
        };
        match self.channels {
            1 => self,
            _ => {
                let (colours, _) = self.pixels.as_chunks::<3>();
                Image { channels: 1, pixels: colours.iter().map(|[r, g, b]| weigh(*r, *g, *b)).collect(), ..self }
            }
        }
    }
}

/// The image in these bytes, JPEG or PNG by their signature; file names lie.
pub fn decode(bytes: &[u8]) -> Result<Image> {
    decode_in(bytes, &Room::new(usize::MAX))
}

/// As [`decode`], with memory of this room.
pub(super) fn decode_in(bytes: &[u8], room: &Room) -> Result<Image> {
    match format(bytes)? {
        Format::Png => png(bytes, room),
        // The JPEG decoder holds its invariants with assertions; an image that trips one is an unreadable image.
        Format::Jpeg => catch_unwind(AssertUnwindSafe(|| jpeg(bytes, room)))
            .unwrap_or_else(|_| Err(Error::new("corrupt JPEG image"))),
    }
}

/// Bytes a pixel while an image is decoded: four samples of 16 bits and what becomes of them, or a progressive JPEG's
/// coefficients and three samples.
const DECODING: usize = 12;

/// Takes the memory that decoding an image of these sizes needs.
fn take(room: &Room, width: u32, height: u32) -> Result<Taken<'_>> {
    let bytes = (width as usize).saturating_mul(height as usize).saturating_mul(DECODING);
    room.take(&format!("decoding an image of {width}x{height} pixels"), bytes)
}

/// What images are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Portable network graphics.
    Png,
    /// JPEG.
    Jpeg,
}

/// What an image that starts with these bytes is stored as; the first 8 tell.
pub fn format(start: &[u8]) -> Result<Format> {
    match start {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Format::Png),
        [0xff, 0xd8, ..] => Ok(Format::Jpeg),
        [] => bail!("expected a JPEG or PNG image, found an empty file"),
        _ => bail!(
            "expected a JPEG or PNG image, found a file that starts with '{}'",
            start[..start.len().min(8)].escape_ascii()
        ),
    }
}

/// Refuses sizes that the file's length cannot hold, before anything of that size is allocated.
fn check_size(width: u64, height: u64, most: u64) -> Result<()> {
    let pixels = width.saturating_mul(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        bail!("expected an image of 1 to {MAX_PIXELS} pixels, found {width}x{height}");
    }
    if pixels > most {
        bail!("the header says {width}x{height}, the file is too short for that");
    }
    Ok(())
}

fn png(bytes: &[u8], room: &Room) -> Result<Image> {
    let unreadable = |e: png::DecodingError| Error::new(format!("unreadable PNG image: {e}"));
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(unreadable)?;
    let info = reader.info();
    let (width, height, stored) = (info.width, info.height, info.color_type);
    // Deflate shrinks at most 1032 to 1, and eight pixels can share a byte.
    check_size(width.into(), height.into(), (bytes.len() as u64).saturating_mul(1032 * 8))?;
    let _taken = take(room, width, height)?;
    let size = reader.output_buffer_size().ok_or_else(|| Error::new("PNG image too large"))?;
    let mut data = vec![0; size];
    let frame = reader.next_frame(&mut data).map_err(unreadable)?;
    data.truncate(frame.buffer_size());

    let wide = frame.bit_depth == png::BitDepth::Sixteen;
    let samples: Vec<u8> = match (wide, stored) {
        (false, _) => data,
        // Pillow keeps 16-bit luminance as numbers and clips them, but takes the high byte of 16-bit colours.
        (true, png::ColorType::Grayscale) => {
            data.as_chunks::<2>().0.iter().map(|[high, low]| if *high == 0 { *low } else { 255 }).collect()
        }
        (true, _) => data.as_chunks::<2>().0.iter().map(|[high, _]| *high).collect(),
    };
    // Alpha is dropped, not blended.
    let (channels, pixels) = match frame.color_type {
        png::ColorType::Grayscale => (1, samples),
        png::ColorType::GrayscaleAlpha => (1, samples.as_chunks::<2>().0.iter().map(|[l, _]| *l).collect()),
        png::ColorType::Rgb => (3, samples),
        png::ColorType::Rgba => (3, samples.as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect()),
        png::ColorType::Indexed => bail!("unreadable PNG image: a palette image without palette"),
    };
    Image::new(width as usize, height as usize, channels, pixels)
}

fn jpeg(bytes: &[u8], room: &Room) -> Result<Image> {
    let unreadable = |e: jpeg_decoder::Error| Error::new(format!("unreadable JPEG image: {e}"));
    let mut decoder = jpeg_decoder::Decoder::new(Cursor::new(bytes));
    decoder.read_info().map_err(unreadable)?;
    let info = decoder.info().ok_or_else(|| Error::new("unreadable JPEG image: no frame"))?;
    // Every block of 8x8 samples takes at least a bit.
    check_size(info.width.into(), info.height.into(), (bytes.len() as u64).saturating_mul(8 * 64))?;
    let _taken = take(room, info.width.into(), info.height.into())?;
    if is_adobe_rgb(bytes) {
        decoder.set_color_transform(jpeg_decoder::ColorTransform::RGB);
    }
    let data = decoder.decode().map_err(unreadable)?;
    let (channels, pixels) = match info.pixel_format {
        jpeg_decoder::PixelFormat::L8 => (1, data),
        jpeg_decoder::PixelFormat::RGB24 => (3, data),
        jpeg_decoder::PixelFormat::CMYK32 => (
            3,
            data.as_chunks::<4>().0.iter().flat_map(|[c, m, y, k]| [c, m, y].map(|ink| unprint(*ink, *k))).collect(),
        ),
        jpeg_decoder::PixelFormat::L16 => bail!("16-bit JPEG images are not supported; convert it to PNG"),
    };
    Image::new(info.width.into(), info.height.into(), channels, pixels)
}

/// Whether the file says that its three components are red, green and blue, by Adobe's marker and without JFIF's.
///
/// libjpeg believes that marker before it looks at the components' numbers, the decoder after.
fn is_adobe_rgb(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    let mut adobe_rgb = false;
    while let [0xff, marker, high, low, following @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let content = following.get(..length.saturating_sub(2)).unwrap_or_default();
        match (marker, content) {
            (0xe0, [b'J', b'F', b'I', b'F', 0, ..]) => return false,
            (0xee, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => adobe_rgb = *transform == 0,
            // A frame: the byte after its size is the number of components.
            (0xc0..=0xc2, [_, _, _, _, _, components, ..]) => return adobe_rgb && *components == 3,
            _ => {}
        }
        rest = following.get(content.len()..).unwrap_or_default();
    }
    false
}

/// Light left over by an ink under black, as Pillow's `cmyk2rgb` rounds it.
fn unprint(ink: u8, black: u8) -> u8 {
    let white = 255 - u32::from(black);
    let product = u32::from(ink) * white + 128;
    white.saturating_sub(((product >> 8) + product) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_become_light_as_pillow_has_them() {
        let colour = |[c, m, y, k]: [u8; 4]| [c, m, y].map(|ink| unprint(ink, k));
        assert_eq!(colour([10, 200, 30, 40]), [207, 46, 190]);
        assert_eq!(colour([255, 0, 0, 0]), [0, 255, 255]);
        assert_eq!(colour([0, 0, 0, 255]), [0, 0, 0]);
        assert_eq!(colour([100, 150, 200, 250]), [3, 2, 1]);
    }

    #[test]
    fn luminance_weighs_as_pillow_does() {
        let image = Image::new(3, 1, 3, vec![200, 10, 30, 1, 255, 3, 9, 8, 7]).unwrap();
        assert_eq!(image.into_luminance().pixels, [69, 150, 8]);
    }
}
