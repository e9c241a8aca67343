//! Statistics that travel: shards merge to the same bytes, and what does not fit is refused with a reason.

mod common;

use common::{Random, graph, only_integers, run_pipeline};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Graph, Result, Tensor};
use lowbit_quantize::calibrate::file::{self, VERSION};
use lowbit_quantize::{Config, Options, Quantized, Samples, Shard, gather, quantize_with_stats};
use proptest::prelude::*;
use std::collections::BTreeMap;

const MODEL: &str = r#"
graph "model" {
  input %x: f32[Nx3x6x6]
  const %w1: f32[4x3x3x3] = random
  const %b1: f32[4] = random
  const %w2: f32[4x4x3x3] = random
  const %w3: f32[5x4] = random
  %c1 = Conv(%x, %w1, %b1) {pads [1, 1, 1, 1]}
  %r1 = Relu(%c1)
  %c2 = Conv(%r1, %w2) {pads [1, 1, 1, 1]}
  %a = Add(%c2, %r1)
  %p = GlobalAvgPool(%a)
  %f = Flatten(%p)
  %y = MatMul(%f, %w3) {trans_b}
  output %y
}
"#;

fn options(text: &str) -> Options {
    Options { config: Config::from_toml(text).unwrap(), ..Options::default() }
}

fn samples(seed: u64, count: usize) -> Vec<Vec<Tensor>> {
    let mut random = Random(seed);
    (0..count).map(|i| vec![random.tensor(&[1, 3, 6, 6], 1.0 + i as f32)]).collect()
}

fn shard_of(g: &Graph, options: &Options, samples: &dyn Samples) -> Shard {
    gather(g.clone(), options, &Interpreter::default(), samples, &mut ()).unwrap().unwrap()
}

fn from_stats(g: &Graph, options: &Options, shard: &Shard) -> Result<Quantized> {
    Ok(quantize_with_stats(g.clone(), options, shard, &mut ())?.expect("nobody stopped it"))
}

fn merged(shards: &[&Shard]) -> Shard {
    let mut all = shards[0].clone();
    shards[1..].iter().for_each(|s| all.merge(s).unwrap());
    all
}

#[test]
fn shards_merge_to_the_bytes_of_the_whole_in_any_order() {
    let g = graph(MODEL);
    let data = samples(1, 9);
    for text in ["", "input.per = 'channel'"] {
        let options = options(text);
        let shards: Vec<Shard> =
            [&data[..2], &data[2..3], &data[3..]].map(|part| shard_of(&g, &options, &part.to_vec())).into();
        let [a, b, c] = &shards[..] else { unreachable!() };
        let mut whole = shard_of(&g, &options, &data);
        // One run knows the order of its samples, and several do not.
        for seen in whole.stats.values.values_mut() {
            assert!(seen.moving.is_some());
            *seen = seen.without_order();
        }
        // Nor is the whole the sum of these runs, though it is the same in all else.
        whole.runs = shards.iter().flat_map(|s| s.runs.clone()).collect();
        assert_eq!(whole.runs.len(), 3);
        let bytes = file::write(&whole).unwrap();
        for order in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            assert!(file::write(&merged(&order)).unwrap() == bytes, "{text}");
        }
        // Nor does it matter how they are bracketed, or that a part went through a file.
        let right = merged(&[&file::read(&file::write(&merged(&[b, c])).unwrap()).unwrap(), a]);
        assert!(file::write(&right).unwrap() == bytes);
    }
}

#[test]
fn statistics_quantize_as_their_samples_do() {
    let g = graph(MODEL);
    let data = samples(2, 6);
    for text in ["", "input.observer = 'moving_average'", "input.per = 'channel'", "input.observer = 'entropy'"] {
        let shard = shard_of(&g, &options(text), &data);
        let read = file::read(&file::write(&shard).unwrap()).unwrap();
        assert_eq!(read, shard);
        let found = from_stats(&g, &options(text), &read).unwrap();
        let plain = options(&format!("equalize = false\nrefinements = []\n{text}"));
        let expected = run_pipeline(&g, &plain, &data).unwrap();
        assert_eq!(found.qdq, expected.qdq, "{text}");
        assert_eq!(found.report.config, Config { samples: 6, ..plain.config.filled() });
        assert_eq!(found.report.layers, expected.report.layers);
        let skipped: Vec<&str> = found.report.skipped.iter().map(|s| s.stage.as_str()).collect();
        assert_eq!(skipped, ["equalize", "bias-correction"]);
        assert!(from_stats(&g, &plain, &read).unwrap().report.skipped.is_empty());
        assert_eq!(expected.report.skipped, []);
    }
}

#[test]
fn one_run_serves_all_observers_and_widths() {
    let g = graph(MODEL);
    let shard = shard_of(&g, &Options::default(), &samples(3, 5));
    for text in [
        "input.observer = 'minmax'",
        "input.observer = 'percentile(99.9)'",
        "input.bits = 4\nweight.bits = 4",
        "input.signed = true\ninput.symmetric = true",
        "requantize = 'fixed'\nweight.scale = 'power-of-two'",
        "io = 'int8'",
        "output = 'narrow'",
        "activation.bits = 16",
        "store_lowbit = false\nactivation.bits = 20",
        "layer.c1.output = 'narrow'",
        "layer.c1.input.bits = 16",
        "input.observer = 'global_scale'",
    ] {
        let q = from_stats(&g, &options(text), &shard).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(q.report.integer_macs_percent == 100.0 && only_integers(&q.integer), "{text}");
    }
}

#[test]
fn what_shares_its_integers_is_observed_apart() {
    // Usually the operands take the parameters of what joins them; where layers are narrowed they have their own.
    let joined = r#"
graph "joined" {
  input %x: f32[Nx3x6x6]
  const %w1: f32[4x3x3x3] = random
  const %w2: f32[4x3x3x3] = random
  const %w3: f32[5x8x1x1] = random
  %c1 = Conv(%x, %w1) {pads [1, 1, 1, 1]}
  %c2 = Conv(%x, %w2) {pads [1, 1, 1, 1]}
  %r1 = Relu(%c1)
  %r2 = Relu(%c2)
  %j = Concat(%r1, %r2) {axis 1}
  %m = MaxPool(%j) {kernel [2, 2]}
  %y = Conv(%m, %w3)
  output %y
}
"#;
    let g = graph(joined);
    let shard = shard_of(&g, &Options::default(), &samples(3, 5));
    for text in ["", "activation.bits = 16", "op.MaxPool.skip = true", "store_lowbit = false"] {
        from_stats(&g, &options(text), &shard).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}

#[test]
fn what_is_moved_on_its_way_out_is_observed() {
    let tail = r#"
graph "tail" {
  input %x: f32[Nx3x6x6]
  const %w: f32[5x3x1x1] = random
  %c = Conv(%x, %w)
  %p = GlobalAvgPool(%c)
  %s = Softmax(%p) {axis 1}
  %f = Flatten(%s) {axis 1}
  output %f
}
"#;
    let g = graph(tail);
    let shard = shard_of(&g, &Options::default(), &samples(3, 4));
    for text in ["output = 'narrow'", "io = 'int8'", "layer.f.output = 'narrow'"] {
        from_stats(&g, &options(text), &shard).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}

#[test]
fn an_average_of_several_runs_is_refused() {
    let g = graph(MODEL);
    let options = options("input.observer = 'moving_average'");
    let both = merged(&[&shard_of(&g, &options, &samples(1, 2)), &shard_of(&g, &options, &samples(2, 2))]);
    let error = from_stats(&g, &options, &both).unwrap_err().to_string();
    assert!(error.contains("merged statistics have none") && error.contains("value '"), "{error}");
}

/// Samples that say how they were preprocessed.
struct Told(Vec<Vec<Tensor>>, &'static str);

impl Samples for Told {
    fn len(&self) -> usize {
        Samples::len(&self.0)
    }
    fn properties(&self) -> BTreeMap<String, String> {
        [("lowbit.preprocess".into(), self.1.into())].into()
    }
    fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
        self.0.sample(i)
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let g = graph(MODEL);
    let all = Options::default();
    let shard = shard_of(&g, &all, &samples(1, 2));
    let refused = |e: Result<Quantized>| e.unwrap_err().to_string();
    let weights = graph(&MODEL.replace("const %b1: f32[4] = random", "const %b1: f32[4] = [1, 2, 3, 4]"));
    let error = refused(from_stats(&weights, &all, &shard));
    assert!(error.contains("the same model with other weights") && error.contains("calibrate this model"), "{error}");
    let other = graph(&MODEL.replace("%r1", "%r2"));
    assert!(refused(from_stats(&other, &all, &shard)).contains("another model"));
    // A configuration that quantizes less was asked about less.
    let few = shard_of(&g, &options("skip_k_conv = 1"), &samples(1, 2));
    assert!(few.stats.values.len() < shard.stats.values.len());
    let error = refused(from_stats(&g, &all, &few));
    assert!(error.contains("observes more than there are") && error.contains("value '"), "{error}");
    from_stats(&g, &options("skip_k_conv = 1"), &shard).unwrap();
    let error = refused(from_stats(&g, &options("input.per = 'channel'"), &shard));
    assert!(error.contains("axis 1 of this value, found the whole tensor"), "{error}");
    assert!(error.contains("lowbit calibrate --set input.per=channel"), "{error}");

    let merge = |a: &Shard, b: &Shard| a.clone().merge(b).unwrap_err().to_string();
    assert!(merge(&shard, &shard_of(&weights, &all, &samples(1, 2))).contains("other weights"));
    assert!(merge(&shard, &few).contains("found the whole tensor here and nothing there"));
    let told = |how| shard_of(&g, &all, &Told(samples(1, 2), how));
    for other in [&shard, &told("{}")] {
        let error = merge(&told("{1}"), other);
        assert!(error.contains("lowbit.preprocess is {1}") && error.contains("same preprocessing"), "{error}");
    }
    shard_of(&g, &all, &Told(samples(7, 2), "{1}")).merge(&told("{1}")).unwrap();
}

#[test]
fn no_run_counts_twice() {
    let g = graph(MODEL);
    let [a, b, same] = [1, 2, 1].map(|seed| shard_of(&g, &Options::default(), &samples(seed, 2)));
    assert_eq!((a.runs.len(), &a.runs), (1, &same.runs));
    let both = merged(&[&a, &b]);
    let through_a_file = file::read(&file::write(&both).unwrap()).unwrap();
    for (sum, one) in [(&a, &same), (&both, &a), (&b, &both), (&through_a_file, &same)] {
        let error = sum.clone().merge(one).unwrap_err().to_string();
        assert!(error.contains("one that both have"), "{error}");
    }
}

/// With the checksum that these bytes should have.
fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    content.extend(crc32fast::hash(&content).to_le_bytes());
    content
}

fn small() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| {
        let g = graph(MODEL);
        let told = Told(samples(1, 1), "{}");
        file::write(&shard_of(&g, &options("input.per = 'channel'"), &told)).unwrap()
    })
}

#[test]
fn files_that_are_none_are_refused_with_the_reason() {
    let good = small();
    file::read(good).unwrap();
    let refused = |bytes: &[u8]| file::read(bytes).unwrap_err().to_string();
    assert!(refused(b"\x08\x07 an ONNX file, say").contains("found something else"));
    assert!(refused(b"").contains("cut off"));
    let newer = [&good[..8], &(VERSION + 1).to_le_bytes(), &good[12..]].concat();
    let error = refused(&newer);
    assert!(error.contains("version 2, found version 3") && error.contains("version of lowbit"), "{error}");
    for end in 0..good.len() {
        refused(&good[..end]);
    }
    let mut damaged = good.to_vec();
    damaged[good.len() / 2] ^= 1;
    assert!(refused(&damaged).contains("checksum"));
    // The checksum of a file that was made so on purpose says nothing.
    let content = &good[..good.len() - 4];
    assert!(refused(&sealed([content, &[0]].concat())).contains("1 bytes more"));
    assert!(refused(&sealed([&good[..28], &[0xff; 9], &[1]].concat())).contains("a number of samples"));
    assert!(refused(&sealed([&good[..28], &[1], &[0xff; 8], &[0x7f]].concat())).contains("no more things than"));
}

#[test]
fn few_bytes_do_not_fill_the_memory() {
    let mut content = small()[..28].to_vec();
    content.extend([1, 0, 0, 1, 1, b'x', 1, 1]);
    // A histogram whose greatest value has the last of its bins, in a few bytes.
    let seen = |out: &mut Vec<u8>| {
        out.push(0);
        out.extend(0f32.to_le_bytes());
        out.extend(2f32.next_down().to_le_bytes());
        out.extend([0, 1, 0xff, 0x1f, 1, 0]);
    };
    seen(&mut content);
    let channels = 70_000u32;
    content.extend([channels & 0x7f | 0x80, channels >> 7 & 0x7f | 0x80, channels >> 14].map(|b| b as u8));
    (0..channels).for_each(|_| seen(&mut content));
    let error = file::read(&sealed(content)).unwrap_err().to_string();
    assert!(error.contains("bins in a file of statistics") && error.contains("value 'x'"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// What is read is what would be written: a file has one form.
    #[test]
    fn damage_is_an_error_or_another_file(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(), cuts: bool) {
        let mut content = small()[..small().len() - 4].to_vec();
        for (at, byte) in changes {
            let i = at.index(content.len() - 12) + 12;
            content[i] = byte;
        }
        if cuts {
            content.truncate(12 + cut.index(content.len() - 12));
        }
        let bytes = sealed(content);
        if let Ok(shard) = file::read(&bytes) {
            let read = file::read(&file::write(&shard).unwrap()).unwrap();
            prop_assert_eq!(read, shard);
        }
    }
}
