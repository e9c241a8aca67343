//! Progress of long work, on standard error and only if that is a terminal.

use crate::interrupt::Interrupt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lowbit::Graph;
use lowbit::ir::pass::{Flow, Watch};
use std::sync::{Mutex, MutexGuard};
use std::thread::Builder;
use std::time::Duration;

/// A bar a stage, or nothing where nobody looks.
#[derive(Debug)]
pub struct Progress {
    /// What is drawn on.
    target: fn() -> ProgressDrawTarget,
    /// The stage's.
    bar: Mutex<ProgressBar>,
}

impl Progress {
    /// Nothing to be seen yet.
    pub fn new() -> Self {
        Progress::on(ProgressDrawTarget::stderr)
    }

    fn on(target: fn() -> ProgressDrawTarget) -> Self {
        Progress { target, bar: Mutex::new(ProgressBar::hidden()) }
    }

    /// Starts a stage of `length` steps, if that is known.
    pub fn stage(&self, name: &str, length: Option<usize>) {
        let template = match length {
            Some(_) => "{msg:12} [{bar:40}] {pos}/{len} {elapsed} eta {eta}",
            None => "{spinner} {msg:12} {elapsed}",
        };
        // A template that indicatif cannot read costs its looks only.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Each change of a bar may draw it, so a stage gets one of its own, which is seen when it is complete.
        let bar = ProgressBar::with_draw_target(length.map(|n| n as u64), ProgressDrawTarget::hidden())
            .with_style(style.progress_chars("=> "))
            .with_message(name.to_string());
        let mut shown = self.bar();
        shown.finish_and_clear();
        bar.set_draw_target((self.target)());
        // Where nobody looks a thread is for nothing; and its start panics where the system has no more threads to give.
        if !bar.is_hidden() && Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok()) {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        *shown = bar;
    }

    fn bar(&self) -> MutexGuard<'_, ProgressBar> {
        self.bar.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// One step of the stage is done.
    pub fn step(&self) {
        self.bar().inc(1);
    }

    /// A warning, above the bar.
    pub fn warn(&self, text: &str) {
        self.pause(|| crate::output::tell(&format!("warning: {text}")));
    }

    /// Takes the bar away while something else is printed.
    pub fn pause<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar().suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar().finish_and_clear();
    }
}

/// Shows the passes and stages of a quantization.
#[derive(Debug)]
pub struct Stages<'a> {
    /// Where.
    pub progress: &'a Progress,
    /// Samples that calibration will look at, if it looks at any.
    pub samples: Option<usize>,
    /// Whoever interrupts calibration, which ends by itself where it keeps what it has seen.
    pub interrupt: &'a Interrupt,
}

impl Watch for Stages<'_> {
    fn before(&mut self, pass: &str, _g: &Graph) {
        self.interrupt.looks(pass == "calibrate");
        self.progress.stage(pass, self.samples.filter(|_| pass == "calibrate"));
    }

    fn after(&mut self, _pass: &str, _g: &Graph, _changed: bool) -> Flow {
        self.interrupt.looks(false);
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;

    static WRITTEN: Mutex<String> = Mutex::new(String::new());

    /// A terminal that keeps all that was ever on it.
    #[derive(Debug)]
    struct Keeper;

    impl TermLike for Keeper {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, s: &str) -> io::Result<()> {
            self.write_str(s)
        }
        fn write_str(&self, s: &str) -> io::Result<()> {
            WRITTEN.lock().unwrap().push_str(s);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_bar_is_seen_before_its_length_is_known() {
        let progress = Progress::on(|| ProgressDrawTarget::term_like(Box::new(Keeper)));
        progress.pause(|| ());
        for (name, length) in [("prepare", None), ("calibrate", Some(3)), ("evaluate", Some(5))] {
            progress.stage(name, length);
            std::thread::sleep(Duration::from_millis(60));
            (0..length.unwrap_or(0)).for_each(|_| progress.step());
            std::thread::sleep(Duration::from_millis(60));
        }
        drop(progress);
        let written = WRITTEN.lock().unwrap().clone();
        assert!(
            !written.contains("/0") && !written.contains("calibrate    [                                        ] 0/5"),
            "{written}"
        );
        for part in ["prepare", "calibrate    [", "0/3", "evaluate     [", "0/5"] {
            assert!(written.contains(part), "{part}: {written}");
        }
    }
}
