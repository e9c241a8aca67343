//! Progress of long work, on standard error and only if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lowbit::Graph;
use lowbit::ir::pass::{Flow, Watch};
use std::time::Duration;

/// A bar, or nothing where nobody looks.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar without a stage yet.
    pub fn new() -> Self {
        Progress(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()))
    }

    /// Starts a stage of `length` steps, if that is known.
    pub fn stage(&self, name: &str, length: Option<usize>) {
        let template = match length {
            Some(_) => "{msg:12} [{bar:40}] {pos}/{len} {elapsed} eta {eta}",
            None => "{spinner} {msg:12} {elapsed}",
        };
        // A template that indicatif cannot read costs its looks only.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.0.reset();
        self.0.set_style(style.progress_chars("=> "));
        self.0.set_message(name.to_string());
        match length {
            Some(n) => self.0.set_length(n as u64),
            None => self.0.unset_length(),
        }
        self.0.enable_steady_tick(Duration::from_millis(200));
    }

    /// One step of the stage is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// A warning, above the bar.
    pub fn warn(&self, text: &str) {
        self.pause(|| crate::output::tell(&format!("warning: {text}")));
    }

    /// Takes the bar away while something else is printed.
    pub fn pause<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Shows the passes and stages of a quantization.
#[derive(Debug)]
pub struct Stages<'a> {
    /// Where.
    pub progress: &'a Progress,
    /// Samples that calibration will look at.
    pub samples: usize,
}

impl Watch for Stages<'_> {
    fn before(&mut self, pass: &str, _g: &Graph) {
        self.progress.stage(pass, (pass == "calibrate").then_some(self.samples));
    }

    fn after(&mut self, _pass: &str, _g: &Graph, _changed: bool) -> Flow {
        Flow::Continue
    }
}
