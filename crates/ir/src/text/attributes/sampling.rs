//! The attributes of operators that sample images.

use super::{Given, Named, flag, float, list, token, word_of};
use crate::Op;
use crate::op::{
    Coordinates, Crop, GridMode, GridPadding, GridSample, Nearest, NonMaxSuppression, Resize, ResizeMode, RoiAlign,
    RoiMode,
};
use crate::text::number::{f32_of, f32_text, int_of};
use crate::text::scan::Scanned;

const NEAREST: [(&str, Nearest); 4] = [
    ("round_prefer_floor", Nearest::RoundPreferFloor),
    ("round_prefer_ceil", Nearest::RoundPreferCeil),
    ("floor", Nearest::Floor),
    ("ceil", Nearest::Ceil),
];

/// The words of [`Coordinates`]; what a crop is of stands beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Word {
    HalfPixel,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    HalfPixelSymmetric,
    Crop,
}

const COORDINATES: [(&str, Word); 6] = [
    ("half_pixel", Word::HalfPixel),
    ("pytorch_half_pixel", Word::PytorchHalfPixel),
    ("align_corners", Word::AlignCorners),
    ("asymmetric", Word::Asymmetric),
    ("half_pixel_symmetric", Word::HalfPixelSymmetric),
    ("crop", Word::Crop),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

const MODES: [(&str, Mode); 3] = [("nearest", Mode::Nearest), ("linear", Mode::Linear), ("cubic", Mode::Cubic)];

fn floats(name: &'static str, xs: &[f32]) -> Named {
    list(name, xs.iter().map(|x| f32_text(*x)))
}

pub fn resize_attributes(r: &Resize) -> Vec<Named> {
    let mut attrs = Vec::new();
    attrs.extend((r.sizes.is_none() || !r.scales.is_empty()).then(|| floats("scales", &r.scales)));
    attrs.extend(r.sizes.as_ref().map(|s| list("sizes", s)));
    match r.mode {
        ResizeMode::Linear => attrs.push(token("mode", "linear")),
        ResizeMode::Nearest(n) => attrs.extend([token("mode", "nearest"), token("nearest", word_of(&NEAREST, &n))]),
        ResizeMode::Cubic { a } => attrs.extend([token("mode", "cubic"), float("a", a)]),
    }
    let word = match r.coordinates {
        Coordinates::HalfPixel => Word::HalfPixel,
        Coordinates::PytorchHalfPixel => Word::PytorchHalfPixel,
        Coordinates::AlignCorners => Word::AlignCorners,
        Coordinates::Asymmetric => Word::Asymmetric,
        Coordinates::HalfPixelSymmetric => Word::HalfPixelSymmetric,
        Coordinates::Crop(_) => Word::Crop,
    };
    attrs.push(token("coordinates", word_of(&COORDINATES, &word)));
    if let Coordinates::Crop(c) = &r.coordinates {
        attrs.extend([floats("begins", &c.begins), floats("ends", &c.ends), float("outside", c.outside)]);
    }
    attrs.extend(flag("antialias", r.antialias).into_iter().chain(flag("exclude_outside", r.exclude_outside)));
    attrs
}

pub fn resize(a: &mut Given<'_>) -> Scanned<Op> {
    let scales = a.many("scales", f32_of)?.unwrap_or_default();
    let sizes = a.many("sizes", int_of)?;
    let mode = match a.word("mode", &MODES)?.unwrap_or(Mode::Nearest) {
        Mode::Nearest => ResizeMode::Nearest(a.word("nearest", &NEAREST)?.unwrap_or(Nearest::RoundPreferFloor)),
        Mode::Linear => ResizeMode::Linear,
        Mode::Cubic => ResizeMode::Cubic { a: a.float("a", -0.75)? },
    };
    let coordinates = match a.word("coordinates", &COORDINATES)?.unwrap_or(Word::HalfPixel) {
        Word::HalfPixel => Coordinates::HalfPixel,
        Word::PytorchHalfPixel => Coordinates::PytorchHalfPixel,
        Word::AlignCorners => Coordinates::AlignCorners,
        Word::Asymmetric => Coordinates::Asymmetric,
        Word::HalfPixelSymmetric => Coordinates::HalfPixelSymmetric,
        Word::Crop => {
            let (begins, ends) = (a.many("begins", f32_of)?, a.many("ends", f32_of)?);
            Coordinates::Crop(Crop {
                begins: a.required("begins", begins)?,
                ends: a.required("ends", ends)?,
                outside: a.float("outside", 0.0)?,
            })
        }
    };
    let (antialias, exclude_outside) = (a.flag("antialias")?, a.flag("exclude_outside")?);
    Ok(Op::Resize(Resize { scales, sizes, mode, coordinates, antialias, exclude_outside }))
}

const GRID_MODES: [(&str, GridMode); 3] =
    [("linear", GridMode::Linear), ("nearest", GridMode::Nearest), ("cubic", GridMode::Cubic)];

const GRID_PADDINGS: [(&str, GridPadding); 3] =
    [("zeros", GridPadding::Zeros), ("border", GridPadding::Border), ("reflection", GridPadding::Reflection)];

const ROI_MODES: [(&str, RoiMode); 2] = [("avg", RoiMode::Avg), ("max", RoiMode::Max)];

pub fn grid_attributes(g: &GridSample) -> Vec<Named> {
    let words = [token("mode", word_of(&GRID_MODES, &g.mode)), token("padding", word_of(&GRID_PADDINGS, &g.padding))];
    words.into_iter().chain(flag("align_corners", g.align_corners)).collect()
}

pub fn grid(a: &mut Given<'_>) -> Scanned<Op> {
    Ok(Op::GridSample(GridSample {
        mode: a.word("mode", &GRID_MODES)?.unwrap_or_default(),
        padding: a.word("padding", &GRID_PADDINGS)?.unwrap_or_default(),
        align_corners: a.flag("align_corners")?,
    }))
}

pub fn roi_attributes(r: &RoiAlign) -> Vec<Named> {
    let attrs = [
        token("mode", word_of(&ROI_MODES, &r.mode)),
        token("height", r.height),
        token("width", r.width),
        token("sampling", r.sampling),
        float("scale", r.scale),
    ];
    attrs.into_iter().chain(flag("half_pixel", r.half_pixel)).collect()
}

pub fn roi(a: &mut Given<'_>) -> Scanned<Op> {
    Ok(Op::RoiAlign(RoiAlign {
        mode: a.word("mode", &ROI_MODES)?.unwrap_or_default(),
        height: a.int("height")?.unwrap_or(1),
        width: a.int("width")?.unwrap_or(1),
        sampling: a.int("sampling")?.unwrap_or(0),
        scale: a.float("scale", 1.0)?,
        half_pixel: a.flag("half_pixel")?,
    }))
}

pub fn suppression_attributes(n: &NonMaxSuppression) -> Vec<Named> {
    let score = n.score.map(|score| float("score", score));
    let attrs = [token("most", n.most), float("iou", n.iou)];
    attrs.into_iter().chain(score).chain(flag("center", n.center)).collect()
}

pub fn suppression(a: &mut Given<'_>) -> Scanned<Op> {
    let most = a.int("most")?;
    Ok(Op::NonMaxSuppression(NonMaxSuppression {
        most: a.required("most", most)?,
        iou: a.float("iou", 0.0)?,
        score: a.one("score", f32_of)?,
        center: a.flag("center")?,
    }))
}
