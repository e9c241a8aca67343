//! Every row of the kernel tables timed on this machine, beside the rows that could do the same work.
//!
//! A [`Contest`] is one piece of work, such as a layer, with every row that this CPU runs and that can do it: of one table,
//! or of several where the compiler chooses between tables. The row that a program would get is marked, and should be the
//! fastest: [`Found::is_right`].
//!
//! Rows take turns, and of many short trials the least time counts, so that other work on the machine disturbs little.
//! Buffers are small enough to stay in the caches: it is the row that is timed, not the memory. They are made when a contest
//! is run, so that a contest that nobody runs costs no more than its name.
//!
//! One file for each kind of work; [`GROUPS`] lists them.

mod bytes;
mod copies;
mod floats;
mod layers;
mod wide;

use crate::isa::{Isa, detect};
use crate::memory::Aligned;
use lowbit_arithmetic::{AddRescale, Rescale, Rounding};
use lowbit_ir::Result;
use lowbit_kernels::requant::{AddParams, Requant, Scales};
use lowbit_kernels::{Features, Row, SLACK, pick};
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The kinds of work: a name and what lists the contests.
pub static GROUPS: &[(&str, Make)] = &[
    ("layers", layers::contests),
    ("wide layers", wide::contests),
    ("floats", floats::contests),
    ("bytes", bytes::contests),
    ("copies", copies::contests),
];

/// Names the contests of a group.
type Make = fn(&Allowed) -> Vec<Contest>;

/// How much slower than the fastest row the picked one may be.
pub const TOLERANCE: f64 = 1.05;

/// A trial takes about so long: short, so that some are not disturbed.
const TRIAL: Duration = Duration::from_micros(20);
/// How long a row is timed, unless it is slow.
const EFFORT: Duration = Duration::from_millis(8);
/// Trials that a slow row has all the same.
const LEAST_TRIALS: usize = 4;
/// How often the effort is made again where the pick is not the fastest: on a busy machine that may be chance.
const APPEALS: usize = 12;

/// Which rows may run.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    features: Features,
}

impl Allowed {
    /// Those of an instruction set, as far as this CPU has it.
    pub fn of(isa: Isa) -> Allowed {
        Allowed { features: Features(isa.features.0 & detect().0) }
    }
}

/// What work is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Multiply-accumulates.
    Macs,
    /// Elements.
    Elements,
}

impl Unit {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Macs => "MAC",
            Unit::Elements => "element",
        }
    }
}

/// A piece of work and the rows that can do it.
pub struct Contest {
    /// What is done.
    pub case: String,
    /// How much.
    pub work: usize,
    /// Of what.
    pub unit: Unit,
    entries: Vec<Entry>,
}

/// A row, and what makes its work.
struct Entry {
    kernel: &'static str,
    picked: bool,
    make: Box<dyn Fn() -> Result<Call>>,
}

/// Does the work once.
type Call = Box<dyn Fn()>;

/// Times of a contest.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What was done.
    pub case: String,
    /// How much.
    pub work: usize,
    /// Of what.
    pub unit: Unit,
    /// The rows, oldest first.
    pub rows: Vec<Timed>,
}

/// A row's time.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// The row.
    pub kernel: &'static str,
    /// The least time of the work.
    pub nanoseconds: f64,
    /// Whether a program would get this row.
    pub picked: bool,
}

impl Contest {
    /// The rows of a table that may run; the last one that suits is picked.
    fn of<R: Row>(
        allowed: &Allowed,
        case: String,
        (work, unit): (usize, Unit),
        table: &'static [R],
        suits: impl Fn(&R) -> bool,
        make: impl Fn(&'static R) -> Result<Call> + 'static,
    ) -> Contest {
        let picked = pick(table, allowed.features, suits).map(Row::name);
        let mut contest = Contest { case, work, unit, entries: Vec::new() };
        contest.enter(allowed, table, |_| true, make);
        contest.mark(picked);
        contest
    }

    /// Adds the rows of a table that may run and fit.
    fn enter<R: Row>(
        &mut self,
        allowed: &Allowed,
        table: &'static [R],
        fits: impl Fn(&R) -> bool,
        make: impl Fn(&'static R) -> Result<Call> + 'static,
    ) {
        let make = Rc::new(make);
        for row in table.iter().filter(|row| allowed.features.has(row.needs()) && fits(row)) {
            let make = make.clone();
            self.entries.push(Entry { kernel: row.name(), picked: false, make: Box::new(move || make(row)) });
        }
    }

    /// Marks the row that a program would get.
    fn mark(&mut self, picked: Option<&str>) {
        self.entries.iter_mut().for_each(|e| e.picked = Some(e.kernel) == picked);
    }

    /// The rows.
    pub fn kernels(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|e| e.kernel)
    }

    /// Times them.
    ///
    /// # Errors
    /// There is no memory for what they read and write.
    pub fn run(&self) -> Result<Found> {
        let calls = self.calls()?;
        let mut clocks: Vec<Clock> = self.entries.iter().map(|_| Clock::default()).collect();
        let mut found = self.round(&calls, &mut clocks);
        for _ in 0..APPEALS {
            if found.is_right() {
                break;
            }
            clocks.iter_mut().for_each(Clock::again);
            found = self.round(&calls, &mut clocks);
        }
        Ok(found)
    }

    /// The work of every row, with buffers of its own.
    fn calls(&self) -> Result<Vec<Call>> {
        self.entries.iter().map(|entry| (entry.make)()).collect()
    }

    fn round(&self, calls: &[Call], clocks: &mut [Clock]) -> Found {
        while clocks.iter().any(|c| !c.is_done()) {
            for (clock, call) in clocks.iter_mut().zip(calls).filter(|(c, _)| !c.is_done()) {
                clock.trial(call);
            }
        }
        let timed = |(entry, clock): (&Entry, &Clock)| Timed {
            kernel: entry.kernel,
            nanoseconds: clock.least,
            picked: entry.picked,
        };
        let rows = self.entries.iter().zip(clocks.iter()).map(timed).collect();
        Found { case: self.case.clone(), work: self.work, unit: self.unit, rows }
    }
}

/// A row's trials.
struct Clock {
    repeat: u32,
    trials: usize,
    spent: Duration,
    /// Nanoseconds of the work, at least.
    least: f64,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { repeat: 1, trials: 0, spent: Duration::ZERO, least: f64::INFINITY }
    }
}

impl Clock {
    fn is_done(&self) -> bool {
        self.spent >= EFFORT && self.trials >= LEAST_TRIALS
    }

    fn again(&mut self) {
        (self.trials, self.spent) = (0, Duration::ZERO);
    }

    fn trial(&mut self, call: &Call) {
        let start = Instant::now();
        for _ in 0..self.repeat {
            call();
        }
        let took = start.elapsed();
        self.spent += took;
        if took < TRIAL && self.repeat < 1 << 20 {
            self.repeat *= 2;
        } else {
            self.trials += 1;
            self.least = self.least.min(took.as_secs_f64() * 1e9 / f64::from(self.repeat));
        }
    }
}

impl Found {
    /// The time of the picked row relative to the fastest's; none where no row is picked.
    pub fn ratio(&self) -> Option<f64> {
        let picked = self.rows.iter().find(|row| row.picked)?;
        let best = self.rows.iter().map(|row| row.nanoseconds).fold(f64::INFINITY, f64::min);
        Some(picked.nanoseconds / best)
    }

    /// Whether the picked row is the fastest, or nearly so.
    pub fn is_right(&self) -> bool {
        self.ratio().is_some_and(|ratio| ratio <= TOLERANCE)
    }
}

/// Numbers as kernels want them: aligned, and readable beyond their end.
struct Numbers<T>(Aligned, PhantomData<T>);

impl<T: Copy> Numbers<T> {
    fn of(n: usize, value: impl Fn(usize) -> T) -> Result<Self> {
        let mut bytes = Aligned::zeroed(n.saturating_add(SLACK).saturating_mul(size_of::<T>()))?;
        let first: *mut T = bytes.as_mut_ptr().cast();
        for i in 0..n {
            // SAFETY: there is room for more than `n` elements, from a multiple of 64 bytes on.
            unsafe { first.add(i).write(value(i)) };
        }
        Ok(Numbers(bytes, PhantomData))
    }

    /// The first.
    fn ptr(&self) -> *const T {
        self.0.as_ptr().cast()
    }

    /// The first, to be written by a row: nothing else looks at them.
    fn out(&self) -> *mut T {
        self.0.as_ptr().cast_mut().cast()
    }
}

/// Bytes of all sizes.
fn bytes(n: usize) -> Result<Numbers<u8>> {
    Numbers::of(n, |i| (i * 37 % 251) as u8)
}

/// Floats of all sizes that the functions are used for.
fn floats(n: usize) -> Result<Numbers<f32>> {
    Numbers::of(n, |i| (i * 37 % 2003) as f32 * 0.003 - 3.0)
}

/// How accumulators become what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Float32,
    Fixed,
    Shift,
}

impl Method {
    const fn name(self) -> &'static str {
        match self {
            Method::Float32 => "float32",
            Method::Fixed => "fixed",
            Method::Shift => "shift",
        }
    }
}

/// Multipliers of so many channels.
struct Multipliers {
    method: Method,
    float: Numbers<f32>,
    fixed: Numbers<i32>,
    shift: Numbers<i32>,
}

impl Multipliers {
    fn of(method: Method, channels: usize) -> Result<Self> {
        Ok(Multipliers {
            method,
            float: Numbers::of(channels, |i| 0.01 + i as f32 * 1e-5)?,
            fixed: Numbers::of(channels, |i| (1 << 30) + 12345 * i as i32)?,
            shift: Numbers::of(channels, |_| if method == Method::Shift { 8 } else { 38 })?,
        })
    }

    fn requant(&self, hi: i32) -> Requant {
        let scales = match self.method {
            Method::Float32 => Scales::Float32(self.float.ptr()),
            Method::Fixed => Scales::Fixed(self.fixed.ptr(), self.shift.ptr()),
            Method::Shift => Scales::Shift(self.shift.ptr()),
        };
        Requant { scales, rounding: scales.rounding(), zero_point: 3, lo: 0, hi }
    }
}

/// One multiplier.
const RESCALE: Rescale = Rescale::Float32 { m: 0.01 };

/// A sum of two bytes.
const SUM: AddParams = AddParams {
    rescale: AddRescale::Float32 { m1: 0.7, m2: 0.4 },
    rounding: Rounding::HalfEven,
    z1: 3,
    z2: 4,
    zero_point: 5,
    lo: 0,
    hi: 255,
};

/// A sum of two bytes by the method.
const fn sum(method: Method) -> AddParams {
    match method {
        Method::Float32 => SUM,
        Method::Fixed | Method::Shift => AddParams {
            rescale: AddRescale::Fixed { m1: 3 << 29, m2: 1 << 30, shift: 31 },
            rounding: Rounding::HalfUp,
            ..SUM
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_that_may_run_is_timed_and_one_of_each_contest_is_picked() {
        for isa in Isa::available() {
            let allowed = Allowed::of(isa);
            let contests: Vec<Contest> = GROUPS.iter().flat_map(|(_, make)| make(&allowed)).collect();
            for contest in &contests {
                let calls = contest.calls().unwrap();
                assert_eq!(calls.len(), contest.entries.len(), "{}: {}", isa.name, contest.case);
                let picked = contest.entries.iter().filter(|e| e.picked).count();
                assert_eq!(picked, 1, "{}: {}", isa.name, contest.case);
            }
            let timed: BTreeSet<&str> = contests.iter().flat_map(Contest::kernels).collect();
            let all =
                lowbit_kernels::all().filter(|(table, _, needs)| *table != "peak::Q8" && allowed.features.has(*needs));
            let missing: Vec<&str> = all.map(|(_, name, _)| name).filter(|name| !timed.contains(name)).collect();
            assert!(missing.is_empty(), "{}: {missing:?}", isa.name);
        }
    }

    #[test]
    fn a_slow_pick_is_found() {
        let pause = |micros| -> Call { Box::new(move || std::thread::sleep(Duration::from_micros(micros))) };
        let entry = |kernel, picked, micros| Entry { kernel, picked, make: Box::new(move || Ok(pause(micros))) };
        let contest = |entries| Contest { case: "rest".into(), work: 1, unit: Unit::Elements, entries };
        let found = contest(vec![entry("short", false, 50), entry("long", true, 2000)]).run().unwrap();
        assert!(!found.is_right() && found.ratio().unwrap() > 2.0, "{found:?}");
        let found = contest(vec![entry("short", true, 50), entry("long", false, 2000)]).run().unwrap();
        assert!(found.is_right() && found.ratio() == Some(1.0), "{found:?}");
        assert_eq!(contest(vec![entry("short", false, 50)]).run().unwrap().ratio(), None);
    }

    #[test]
    fn the_work_of_a_row_is_made_when_it_is_timed_and_not_before() {
        let made = Rc::new(Cell::new(0));
        let count = made.clone();
        let allowed = Allowed::of(Isa::named("scalar").unwrap());
        let table = lowbit_kernels::elementwise::TABLE8;
        let work = (1, Unit::Elements);
        let contest = Contest::of(
            &allowed,
            "rest".into(),
            work,
            table,
            |_| true,
            move |_| {
                count.set(count.get() + 1);
                Ok(Box::new(|| std::thread::sleep(Duration::from_micros(50))))
            },
        );
        assert_eq!((contest.kernels().count(), made.get()), (1, 0));
        contest.run().unwrap();
        assert_eq!(made.get(), 1);
        let refused = |_: &_| Err(lowbit_ir::Error::new("no memory"));
        let contest = Contest::of(&allowed, "rest".into(), work, table, |_| true, refused);
        assert!(contest.run().unwrap_err().to_string().contains("no memory"));
    }
}
