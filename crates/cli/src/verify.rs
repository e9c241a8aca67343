//! `lowbit verify`: the interpreter against every instruction set and number of threads, bit for bit.

use crate::args::{self, ImageArguments, MemoryArguments, ModelArguments, Stored};
use crate::format;
use crate::output::{Outcome, Paper, tell};
use crate::progress::Progress;
use clap::Args;
use lowbit::bench::ReferenceStep;
use lowbit::ir::Customs;
use lowbit::left::Left;
use lowbit::verify::{Verification, verify_within};
use lowbit::{Result, Target, Tensor};
use serde::Serialize;
use std::path::Path;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Data: random, a folder of images or arrays, .npy, .npz, or an idx pair
    #[arg(long, value_name = "DATA", default_value = "random")]
    data: String,

    /// Samples, evenly spread over the data
    #[arg(long, value_name = "N", default_value = "2", value_parser = args::samples)]
    samples: usize,

    #[command(flatten)]
    images: ImageArguments,

    #[command(flatten)]
    memory: MemoryArguments,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Found<'a> {
    model: &'a Path,
    data: &'a str,
    #[serde(flatten)]
    verification: Verification,
    /// What a quantized model would have on integers and stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_float: Option<Vec<Left>>,
    /// What the interpreter runs on this machine's best instruction set for want of a kernel: there it agrees with itself.
    reference_steps: Vec<ReferenceStep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Stored>,
}

pub fn run(arguments: &Arguments, paper: &Paper) -> Result<Outcome> {
    let progress = Progress::new();
    let model = arguments.model.load(&arguments.memory)?;
    let preprocess = arguments.images.resolve(&model, [arguments.data.as_str()])?;
    let max_memory = arguments.memory.max_memory;
    // Noise is as good as data here, and needs no warning: bits are compared, not accuracy.
    let data = args::open_quietly(&arguments.data, &model, preprocess.as_ref(), arguments.memory)?;
    let (graph, left_float) = args::lowered(&model)?;
    let first: Vec<Tensor> = data.sample(0)?.inputs.into_iter().map(|(_, tensor)| tensor).collect();
    let reference_steps = args::reference_steps(&graph, &first, &Target::host().max_memory(max_memory))?;
    let samples = args::spread(&data, arguments.samples, &progress);
    progress.stage("verify", Some(samples.count()));
    let verification = verify_within(&graph, &Customs::default(), max_memory, &samples)?;
    drop(samples);
    drop(progress);
    if let Some(n) = &verification.not_finite {
        tell(&format!("warning: {n}: what follows from it is compared, and hardly what was meant"));
    }
    let config = args::stored_config(&model)?;
    let (model, data) = (arguments.model.path.as_path(), arguments.data.as_str());
    Found { model, data, verification, left_float, reference_steps, config }.outcome(paper)
}

impl Found<'_> {
    /// A difference is a failure that is told like a result.
    fn outcome(&self, paper: &Paper) -> Result<Outcome> {
        Ok(Outcome {
            success: self.verification.identical,
            ..Outcome::new(self.text(paper) + &self.notes(paper), self)?
        })
    }

    /// What of the model the comparison says less about.
    fn notes(&self, paper: &Paper) -> String {
        format::stored(self.config.as_ref())
            + &format::left_float(self.left_float.as_deref())
            + &format::reference_steps(&self.reference_steps, paper)
    }

    fn text(&self, paper: &Paper) -> String {
        let v = &self.verification;
        let compared = format!(
            "{} on {} of {}: interpreter against {}",
            format::counted(v.values, "value"),
            format::counted(v.samples, "sample"),
            self.data,
            v.executors.join(", ")
        );
        match &v.difference {
            None => format!("{}: {compared}\n", paper.bold("identical")),
            Some(d) => format!(
                "{}: {compared}\nfirst difference: value '{}', element {}, sample '{}'\n  interpreter  {}\n  {}  {}\n",
                paper.loud("NOT identical"),
                d.value,
                d.element,
                d.sample,
                d.expected,
                d.executor,
                d.found
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit::verify::Difference;

    #[test]
    fn a_difference_is_told_and_fails() {
        let difference = Difference {
            executor: "scalar x2".into(),
            sample: "random[1]".into(),
            value: "conv1".into(),
            element: 7,
            expected: "3".into(),
            found: "4".into(),
        };
        let executors = vec!["scalar x1".into(), "scalar x2".into()];
        let mut verification = Verification {
            identical: false,
            samples: 2,
            executors,
            values: 9,
            not_finite: None,
            difference: Some(difference),
        };
        let outcome = |verification| {
            let (model, data) = (Path::new("m.onnx"), "random");
            let found =
                Found { model, data, verification, left_float: None, reference_steps: Vec::new(), config: None };
            found.outcome(&Paper::new(true)).unwrap()
        };
        let failed = outcome(verification.clone());
        assert!(!failed.success);
        assert!(failed.text.contains("'conv1', element 7, sample 'random[1]'"), "{}", failed.text);
        assert!(failed.json.contains(r#""identical":false"#) && failed.json.contains(r#""found":"4""#));
        (verification.identical, verification.difference) = (true, None);
        assert!(outcome(verification).success);
    }
}
