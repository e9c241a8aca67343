//! Calibration that ends before its end, and goes on.

mod common;

use common::{Random, graph};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::text::{Constants, print_with};
use lowbit_ir::{Engine, Graph, Outputs, Result, Run, Tensor, ValueId};
use lowbit_quantize::calibrate::{file, is_checkpoint};
use lowbit_quantize::{Checkpoint, Config, Options, Quantized, Samples, Shard, gather, quantize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const NETWORK: &str = r#"
graph "network" {
  input %x: f32[1x3x6x6]
  const %w1: f32[4x3x3x3] = random
  const %w2: f32[4x4x3x3] = random
  %c1 = Conv(%x, %w1) {pads [1, 1, 1, 1]}
  %r1 = Relu(%c1)
  %c2 = Conv(%r1, %w2) {pads [1, 1, 1, 1]}
  %y = Add(%c2, %r1)
  output %y
}
"#;

/// Several interpreters side by side.
struct Beside(usize);

impl Engine for Beside {
    fn name(&self) -> String {
        "beside".into()
    }

    fn load(&self, g: &Graph, taps: &[ValueId]) -> Result<Box<dyn Run>> {
        Interpreter::default().load(g, taps)
    }

    fn load_side_by_side(&self, g: &Graph, taps: &[ValueId], _: &[Tensor]) -> Result<Vec<Box<dyn Run>>> {
        struct Slow(Box<dyn Run>);
        impl Run for Slow {
            fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs> {
                // Whoever comes first is not always the same.
                std::thread::sleep(std::time::Duration::from_micros((inputs[0].bytes()[0] as u64) * 4));
                self.0.run(inputs)
            }
        }
        (0..self.0).map(|_| Ok(Box::new(Slow(self.load(g, taps)?)) as Box<dyn Run>)).collect()
    }
}

/// Samples with a preprocessing.
struct Named<'a>(&'a Vec<Vec<Tensor>>, &'static str);

impl Samples for Named<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn properties(&self) -> BTreeMap<String, String> {
        [("how".to_string(), self.1.to_string())].into()
    }

    fn sample(&self, i: usize) -> Result<Vec<Tensor>> {
        self.0.sample(i)
    }
}

type Kept = Arc<Mutex<Option<Vec<u8>>>>;

/// A checkpoint in memory, whose calibration is stopped at the look of this number.
fn checkpoint(kept: &Kept, looks: usize) -> Checkpoint {
    let (load, save, left) = (kept.clone(), kept.clone(), AtomicUsize::new(looks));
    Checkpoint {
        name: "memory".into(),
        load: Arc::new(move || Ok(load.lock().unwrap().clone())),
        save: Arc::new(move |bytes| {
            *save.lock().unwrap() = Some(bytes.to_vec());
            Ok(())
        }),
        stop: Arc::new(move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()),
    }
}

fn options(text: &str, checkpoint: Option<Checkpoint>) -> Options {
    Options { config: Config::from_toml(text).unwrap(), checkpoint, ..Options::default() }
}

const CHOICES: [&str; 3] = ["", "input.observer = 'moving_average'", "input.per = 'channel'\nsamples = 20"];

/// Runs until nobody stops it any more, stopped at its second look every time; how often it was stopped.
fn in_pieces<T>(kept: &Kept, mut run: impl FnMut(Checkpoint) -> Result<T>) -> (T, usize) {
    for stopped in 0.. {
        match run(checkpoint(kept, 1)) {
            Ok(done) => return (done, stopped),
            Err(e) => {
                let e = e.to_string();
                assert!(e.contains("the calibration was stopped after") && e.contains("goes on from there"), "{e}");
                assert!(is_checkpoint(kept.lock().unwrap().as_ref().unwrap()));
            }
        }
    }
    unreachable!("it ends some day");
}

#[test]
fn statistics_in_pieces_are_the_same_bytes() {
    let g = graph(NETWORK);
    let samples = Random(3).samples(&g, 40);
    for text in CHOICES {
        for engine in [&Interpreter::default() as &dyn Engine, &Beside(3)] {
            let run = |c| gather(g.clone(), &options(text, c), engine, &samples, &mut ()).map(Option::unwrap);
            let bytes = |shard: &Shard| file::write(shard).unwrap();
            let whole = run(None).unwrap();
            let (pieces, stopped) = in_pieces(&Kept::default(), |c| run(Some(c)));
            assert!(stopped >= 3, "{text}: {stopped}");
            assert_eq!(bytes(&pieces), bytes(&whole), "{text}");
        }
    }
}

#[test]
fn a_model_quantized_in_pieces_is_the_same() {
    let g = graph(NETWORK);
    let samples = Random(3).samples(&g, 40);
    for text in CHOICES {
        let engine = Beside(2);
        let run = |c| quantize(g.clone(), &options(text, c), &engine, &samples, &mut ()).map(Option::unwrap);
        let told =
            |q: &Quantized| ([&q.qdq, &q.integer].map(|g| print_with(g, Constants::Elided)), format!("{:?}", q.report));
        let (pieces, stopped) = in_pieces(&Kept::default(), |c| run(Some(c)));
        assert!(stopped >= 3, "{text}: {stopped}");
        assert_eq!(told(&pieces), told(&run(None).unwrap()), "{text}");
    }
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let g = graph(NETWORK);
    let samples = Random(3).samples(&g, 40);
    let kept = Kept::default();
    let run = |g: &Graph, text: &str, samples: &Vec<Vec<Tensor>>, how| {
        let checkpoint = checkpoint(&kept, 3);
        gather(g.clone(), &options(text, Some(checkpoint)), &Interpreter::default(), &Named(samples, how), &mut ())
    };
    let stopped = run(&g, "", &samples, "resize").unwrap_err().to_string();
    assert!(stopped.contains("of 40 samples, which are kept"), "{stopped}");
    let before = kept.lock().unwrap().clone();
    let refused = |g: &Graph, text: &str, samples: &Vec<Vec<Tensor>>, how, said: &str| {
        let e = run(g, text, samples, how).unwrap_err().to_string();
        assert!(e.contains(said) && e.contains("going on from memory") && e.contains("begin anew"), "{said}: {e}");
        assert_eq!(*kept.lock().unwrap(), before, "what is refused stays");
    };
    let weights = graph(&NETWORK.replace("const %w1", "const %w0: f32[1] = random\n  const %w1"));
    refused(&weights, "", &samples, "resize", "the same model with other weights");
    refused(&graph(&NETWORK.replace("%c1", "%c9")), "", &samples, "resize", "another model");
    refused(&g, "samples = 30", &samples, "resize", "samples = 30");
    refused(&g, "input.observer = 'minmax'", &samples, "resize", "observer");
    refused(&g, "", &samples, "crop", "samples whose how is crop, found resize");
    refused(&g, "", &samples[..39].to_vec(), "resize", "a checkpoint of 39 samples, found one of 40");
    let mut changed = samples.clone();
    changed[1] = changed[2].clone();
    let e = run(&g, "", &changed, "resize").unwrap_err().to_string();
    assert!(e.contains("expected sample 1 as it was when it was run before"), "{e}");
    // Damage is no beginning.
    for at in [3, 9, 40, before.as_ref().unwrap().len() - 1] {
        let mut bytes = before.clone().unwrap();
        bytes[at] ^= 1;
        *kept.lock().unwrap() = Some(bytes);
        assert!(run(&g, "", &samples, "resize").is_err(), "{at}");
    }
    *kept.lock().unwrap() = before;
    assert!(run(&g, "", &samples, "resize").unwrap_err().to_string().contains("was stopped after"));
}
