//! What a model says about itself: who made it, and string properties that travel with the file.

use std::collections::BTreeMap;

/// Model metadata. Keys under `lowbit.` are ours; all others are kept as found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The program that wrote the file.
    pub producer: String,
    /// Free text about the model.
    pub doc: String,
    /// String properties, sorted by key so that files are the same bytes every time.
    pub properties: BTreeMap<String, String>,
}

/// Key of the image preprocessing a model expects, as JSON.
pub const PREPROCESS: &str = "lowbit.preprocess";
/// Key of the class names in label order, as a JSON array.
pub const LABELS: &str = "lowbit.labels";
/// Key of the reasons for which rules left nodes float, as JSON: for each node's name a sentence.
pub const DECLINED: &str = "lowbit.declined";
/// Key of who made the choices of placeholders that wait for calibration, as JSON: for each node's name an object that
/// says of a choice which key of the configuration made it, where that is not the kind's own.
pub const ASKED: &str = "lowbit.asked";
/// Key of where the parameters of quantized values come from, as JSON: for each value's name what was asked, by whom, and
/// what was seen.
pub const CHOSEN: &str = "lowbit.chosen";
/// Key of the factors that channels of values were multiplied by, as JSON: for each value's name a list with a number k
/// for each channel, whose factor is 2^(k / 8).
pub const EQUALIZATION: &str = "lowbit.equalization";
