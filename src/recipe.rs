//! The recipe of a quantized model: what it was made of and with, so that anybody can make it again and see.
//!
//! It travels in the file's metadata beside the configuration. Nothing of it depends on a machine, on a path or on the
//! time, so that the same model, data and configuration give the same file.

use lowbit_ir::text::{Constants, print_with};
use lowbit_ir::{Def, Error, Graph, Result, Tensor, meta};
use lowbit_quantize::calibrate::file;
use lowbit_quantize::{Samples, Shard};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Key of the recipe, as JSON.
pub const RECIPE: &str = "lowbit.recipe";

/// What a quantized model was made of and with, beside the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The version of lowbit that made it.
    pub lowbit: String,
    /// The float model's digest, see [`digest`].
    pub model: String,
    /// What ranges were found from.
    pub evidence: Evidence,
    /// The functions of the user's that had a say, which no file can hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<String>,
}

/// What ranges were found from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Evidence {
    /// Samples that were run.
    Data {
        /// How many were read.
        samples: usize,
        /// SHA-256 over the digests of what the model took of each, in their order.
        sha256: String,
    },
    /// Statistics of samples that were run before.
    Statistics {
        /// How many samples they are of.
        samples: u64,
        /// SHA-256 of what they hold, in however many runs and whatever order it was gathered.
        sha256: String,
    },
    /// Nothing: all values have the configuration's global scale.
    Nothing,
}

impl Recipe {
    /// The recipe that a file's metadata holds; none of a model of other tools.
    pub fn of(g: &Graph) -> Result<Option<Recipe>> {
        let read = |json: &String| {
            serde_json::from_str(json)
                .map_err(|e| Error::new(format!("expected a recipe in the metadata under {RECIPE}: {e}")))
        };
        g.meta.properties.get(RECIPE).map(read).transpose()
    }

    /// Puts it into the metadata.
    pub(crate) fn put(&self, g: &mut Graph) -> Result<()> {
        let json = serde_json::to_string(self).map_err(|e| Error::new(format!("writing the recipe: {e}")))?;
        g.meta.properties.insert(RECIPE.into(), json);
        Ok(())
    }
}

/// SHA-256 of a graph as it was read: its operators, names, types and constants, and not its own name or metadata, so that
/// a file may be renamed and written again.
pub fn digest(g: &Graph) -> String {
    let mut bare = g.clone();
    (bare.name, bare.meta) = (String::new(), meta::Metadata::default());
    let mut hash = Sha256::new();
    put(&mut hash, print_with(&bare, Constants::Elided).as_bytes());
    for (_, value) in g.values() {
        if let Def::Const(tensor) = &value.def {
            put(&mut hash, value.name.as_bytes());
            put(&mut hash, tensor.bytes());
        }
    }
    hex(&hash.finalize())
}

/// The evidence that statistics are.
pub(crate) fn of_statistics(shard: &Shard) -> Result<Evidence> {
    // In how many runs they were gathered, and in which order, says nothing of what was seen.
    let mut seen = shard.clone();
    seen.runs.clear();
    seen.stats.values.values_mut().for_each(|value| *value = value.without_order());
    let sha256 = digest_of(&file::write(&seen)?);
    Ok(Evidence::Statistics { samples: shard.stats.samples, sha256 })
}

/// A list of samples that remembers what was read of it.
pub(crate) struct Witnessed<'a> {
    samples: &'a dyn Samples,
    read: Mutex<BTreeMap<usize, [u8; 32]>>,
}

impl<'a> Witnessed<'a> {
    pub fn new(samples: &'a dyn Samples) -> Self {
        Witnessed { samples, read: Mutex::default() }
    }

    /// What was read.
    pub fn evidence(self) -> Evidence {
        let read = self.read.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut hash = Sha256::new();
        read.values().for_each(|sample| hash.update(sample));
        Evidence::Data { samples: read.len(), sha256: hex(&hash.finalize()) }
    }
}

impl Samples for Witnessed<'_> {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn properties(&self) -> BTreeMap<String, String> {
        self.samples.properties()
    }

    fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
        let sample = self.samples.sample(i)?;
        let read = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // Several stages read the same samples, which are the same every time.
        let known = read().contains_key(&i);
        if !known {
            let digest = of_sample(&sample);
            read().insert(i, digest);
        }
        Ok(sample)
    }
}

fn of_sample(sample: &[Tensor]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for tensor in sample {
        put(&mut hash, tensor.ty().to_string().as_bytes());
        put(&mut hash, tensor.bytes());
    }
    hash.finalize().into()
}

/// SHA-256 of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// With its length before it, so that no two lists of parts are the same bytes.
fn put(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_what_a_model_computes() {
        let text =
            "graph \"g\" {\n  input %x: f32[1x2]\n  const %c: f32[2] = [1, 2]\n  %y = Add(%x, %c)\n  output %y\n}\n";
        let of = |text: &str| digest(&lowbit_ir::text::parse(text).unwrap());
        assert_eq!((of(&text.replace("\"g\"", "\"other\"")), of(text).len()), (of(text), 64));
        for other in [text.replace("[1, 2]", "[1, 3]"), text.replace("Add", "Mul"), text.replace("%x", "%z")] {
            assert_ne!(of(&other), of(text), "{other}");
        }
    }

    #[test]
    fn what_was_read_is_witnessed_whatever_the_order() {
        let samples: Vec<Vec<Tensor>> = (0..3).map(|i| vec![Tensor::from_f32(&[1], vec![i as f32]).unwrap()]).collect();
        let evidence = |order: &[usize]| {
            let witnessed = Witnessed::new(&samples);
            order.iter().for_each(|i| assert_eq!(witnessed.sample(*i).unwrap(), samples[*i]));
            witnessed.evidence()
        };
        assert_eq!(evidence(&[0, 2]), evidence(&[2, 0, 2]));
        assert_ne!(evidence(&[0, 2]), evidence(&[0, 1]));
        assert!(matches!(evidence(&[0, 2]), Evidence::Data { samples: 2, .. }));
    }
}
