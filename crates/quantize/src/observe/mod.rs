//! Observers: from what was seen of a tensor to the range its integers cover.
//!
//! Values in memory are seen as [`Seen`], weights as they are. An observer is a function; the tables list them, and a
//! user's own is anything that implements [`Observer`]. A name may carry a parameter: `percentile(99.9)`.

mod entropy;
mod global_scale;
mod histogram;
mod max;
mod minmax;
mod moving_average;
mod mse;
mod percentile;
mod power2;
mod scale;
mod whole;

pub use histogram::{BINS, Histogram, check_finite};
pub(crate) use histogram::{Ends, Parts, ends};
pub use moving_average::Moving;
pub use scale::{Affine, Bounds, Fit, Range, choose, fit, largest};

use crate::config::{Config, KINDS};
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Error, Kind, Request, Result, catching};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of the observer that takes one range for all values, which looks at no samples.
pub const GLOBAL_SCALE: &str = global_scale::OBSERVER.name;

const NO_CHANNELS: &[Vec<f32>] = &[];

/// What is known of the values of a tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// How many values fell where.
    pub histogram: Histogram,
    /// The ranges of samples, averaged in their order; none once statistics were merged, which have no order.
    pub moving: Option<Moving>,
    /// The same of every channel, where somebody asks for a scale a channel.
    pub channels: Vec<Seen>,
}

impl Seen {
    /// Of nothing.
    pub fn new() -> Self {
        Seen { histogram: Histogram::default(), moving: Some(Moving::default()), channels: Vec::new() }
    }

    /// Counts the values of a sample; NaN and infinities are errors.
    pub fn add(&mut self, data: &[f32]) -> Result<()> {
        self.add_with_channels(data, NO_CHANNELS)
    }

    /// Adds what other samples showed: the order does not matter, so averages that depend on it are forgotten.
    pub fn merge(&mut self, other: &Seen) {
        self.histogram.merge(&other.histogram);
        self.moving = None;
        if self.channels.len() == other.channels.len() {
            self.channels.iter_mut().zip(&other.channels).for_each(|(a, b)| a.merge(b));
        } else {
            // Of channels that one of them did not look at, nothing is known of all.
            self.channels.clear();
        }
    }

    /// The same without the averages that depend on the order of the samples.
    #[must_use]
    pub fn without_order(&self) -> Seen {
        let channels = self.channels.iter().map(Seen::without_order).collect();
        Seen { histogram: self.histogram.clone(), moving: None, channels }
    }

    /// Counts the values of a sample, also of each of these parts of it.
    pub fn add_with_channels(&mut self, data: &[f32], channels: &[impl Borrow<[f32]>]) -> Result<()> {
        let ends = self.count(data, channels, &|_| Ok(()))?;
        self.average(&ends);
        Ok(())
    }

    /// The part of [`Seen::add_with_channels`] that has no order, and what [`Seen::average`] needs for the other; asks on
    /// the way whether there may be so many bins: there are thousands a channel.
    pub(crate) fn count(
        &mut self,
        data: &[f32],
        channels: &[impl Borrow<[f32]>],
        ask: &dyn Fn(usize) -> Result<()>,
    ) -> Result<Vec<Ends>> {
        let mut ends = vec![self.histogram.count_in(data)?];
        self.channels.resize_with(self.channels.len().max(channels.len()), Seen::new);
        let mut bins = self.bins();
        ask(bins)?;
        for (seen, part) in self.channels.iter_mut().zip(channels) {
            bins -= seen.histogram.kept();
            ends.push(seen.histogram.count_in(part.borrow())?);
            bins += seen.histogram.kept();
            ask(bins)?;
        }
        Ok(ends)
    }

    /// Adds the ends of a sample to the averages: its own and those of its channels.
    pub(crate) fn average(&mut self, ends: &[Ends]) {
        let channels = self.channels.iter_mut().map(|channel| &mut channel.moving);
        let all = std::iter::once(&mut self.moving).chain(channels);
        all.zip(ends).filter_map(|(moving, ends)| Some((moving.as_mut()?, ends))).for_each(|(m, ends)| m.add(*ends));
    }

    /// Bins that are kept, of the channels too.
    pub(crate) fn bins(&self) -> usize {
        self.histogram.kept() + self.channels.iter().map(|c| c.histogram.kept()).sum::<usize>()
    }
}

/// A number that a name may carry in brackets.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// What it is.
    pub meaning: &'static str,
    /// What it is where the name carries none.
    pub usual: f64,
    /// Least and greatest, both of them too much.
    pub between: (f64, f64),
}

/// A row of the table of observers: it finds the range of a value in memory.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The name that configurations use.
    pub name: &'static str,
    /// One sentence about it.
    pub summary: &'static str,
    /// What its name may carry.
    pub parameter: Option<Parameter>,
    /// Whether what is known of a value besides what was seen, such as the limits of a Clip, cuts the range too.
    pub known: bool,
    /// Whether it looks at what was seen, so that there must have been samples.
    pub needs_samples: bool,
    /// The range for integers as the request asks, given the parameter.
    pub range: fn(&Seen, &Request, f64) -> Result<Range>,
}

/// A row of the table of weight observers: it finds the range of the weights that share a scale.
#[derive(Debug, Clone, Copy)]
pub struct WeightRow {
    /// The name that configurations use.
    pub name: &'static str,
    /// One sentence about it.
    pub summary: &'static str,
    /// The range for integers as the request asks.
    pub range: fn(&[f32], &Request) -> Range,
}

/// The observers of values in memory.
pub static OBSERVERS: &[Row] = &[
    minmax::OBSERVER,
    mse::OBSERVER,
    percentile::OBSERVER,
    entropy::OBSERVER,
    moving_average::OBSERVER,
    global_scale::OBSERVER,
    whole::OBSERVER,
];

/// The observers of weights.
pub static WEIGHT_OBSERVERS: &[WeightRow] = &[max::OBSERVER, mse::WEIGHT_OBSERVER, power2::OBSERVER];

/// An observer of the user's.
pub trait Observer: Send + Sync {
    /// The name that configurations use.
    fn name(&self) -> &str;

    /// The range of a value in memory, for integers as the request asks.
    fn range(&self, seen: &Seen, request: &Request) -> Result<Range>;

    /// Whether what is known of a value besides what was seen, such as the limits of a Clip, cuts the range too.
    fn known(&self) -> bool {
        true
    }

    /// Whether it looks at what was seen; one that does not can also be asked where there are no samples.
    fn needs_samples(&self) -> bool {
        true
    }

    /// The range of weights that share a scale.
    fn range_of_weights(&self, weights: &[f32], request: &Request) -> Result<Range> {
        let mut seen = Seen::new();
        seen.add(weights)?;
        self.range(&seen, request)
    }
}

/// The observers there are: those of the tables, and the user's.
#[derive(Clone, Default)]
pub struct Observers {
    own: Vec<Arc<dyn Observer>>,
}

/// An observer with its parameter.
#[derive(Clone)]
pub enum Found {
    /// Of the table.
    Row(&'static Row, f64),
    /// Of the table of weight observers.
    Weights(&'static WeightRow),
    /// The user's.
    Own(Arc<dyn Observer>),
}

impl Observers {
    /// Those of the tables.
    pub fn standard() -> Self {
        Observers::default()
    }

    /// One of the user's more; it is taken before one of the same name in the tables.
    #[must_use]
    pub fn with(mut self, observer: impl Observer + 'static) -> Self {
        self.own.push(Arc::new(observer));
        self
    }

    /// The observer of values in memory of this name.
    pub fn find(&self, name: &str) -> Result<Found> {
        if let Some(own) = self.own(name) {
            return Ok(own);
        }
        let (base, parameter) = parts(name)?;
        if self.own(base).is_some() {
            return Err(Error::new(format!("the observer '{base}' has no parameter, found '{name}'")));
        }
        let row = OBSERVERS.iter().find(|o| o.name == base);
        let row = row.ok_or_else(|| self.unknown(base, OBSERVERS.iter().map(|o| o.name).collect()))?;
        Ok(Found::Row(row, argument(row, name, parameter)?))
    }

    /// The weight observer of this name.
    pub fn find_for_weights(&self, name: &str) -> Result<Found> {
        if let Some(own) = self.own(name) {
            return Ok(own);
        }
        let row = WEIGHT_OBSERVERS.iter().find(|o| o.name == name);
        row.map(Found::Weights).ok_or_else(|| self.unknown(name, WEIGHT_OBSERVERS.iter().map(|o| o.name).collect()))
    }

    /// Those of the user's, by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.own.iter().map(|own| own.name())
    }

    /// Refuses a configuration that names an observer which does not exist.
    pub fn check(&self, config: &Config) -> Result<()> {
        self.named(config).map(|_| ())
    }

    /// Refuses a configuration in which an observer of values looks at samples, where there are none.
    pub fn check_without_samples(&self, config: &Config) -> Result<()> {
        for (key, name, found) in self.named(config)? {
            if found.needs_samples() {
                return Err(Error::new(format!("{key} = \"{name}\" looks at samples, and there are none"))
                    .hint(format!("{key} = \"{GLOBAL_SCALE}\", or calibration data")));
            }
        }
        Ok(())
    }

    /// The observers of values that a configuration names, with the keys that do; weights must name theirs right too.
    fn named<'c>(&self, config: &'c Config) -> Result<Vec<(String, &'c str, Found)>> {
        let all = KINDS.map(|(kind, key)| (kind, key.to_string(), config.of(kind)));
        let of_ops = config.op.iter().map(|(name, c)| (format!("op.{name}"), c));
        let of_layers = config.layer.iter().map(|(name, c)| (format!("layer.\"{name}\""), c));
        let scoped = of_ops.chain(of_layers);
        let scoped = scoped.flat_map(|(at, c)| KINDS.map(|(kind, key)| (kind, format!("{at}.{key}"), c.of(kind))));
        let mut named = Vec::new();
        for (kind, at, spec) in all.into_iter().chain(scoped) {
            let Some(name) = &spec.observer else { continue };
            let found = if kind == Kind::Weight { self.find_for_weights(name) } else { self.find(name) };
            let found = found.map_err(|e| e.context(format!("checking {at}.observer")))?;
            // What weights are is known without samples.
            if kind != Kind::Weight {
                named.push((format!("{at}.observer"), name.as_str(), found));
            }
        }
        Ok(named)
    }

    fn own(&self, name: &str) -> Option<Found> {
        self.own.iter().rev().find(|o| o.name() == name).cloned().map(Found::Own)
    }

    fn unknown<'a>(&'a self, name: &str, mut known: Vec<&'a str>) -> Error {
        known.extend(self.own.iter().map(|o| o.name()));
        Error::new(format!("no observer is named '{name}'{}", did_you_mean(name, known.iter().copied())))
            .hint(format!("one of {}", known.join(", ")))
    }
}

impl Found {
    /// The range of a value in memory.
    pub fn range(&self, seen: &Seen, request: &Request) -> Result<Range> {
        match self {
            Found::Row(row, parameter) => (row.range)(seen, request, *parameter),
            Found::Weights(row) => Err(Error::new(format!("'{}' observes weights", row.name))),
            Found::Own(own) => told(&**own, || own.range(seen, request)),
        }
    }

    /// Whether what is known of a value besides what was seen cuts the range too.
    pub fn known(&self) -> bool {
        match self {
            Found::Row(row, _) => row.known,
            Found::Weights(_) => true,
            Found::Own(own) => own.known(),
        }
    }

    /// Whether it looks at what samples showed.
    pub fn needs_samples(&self) -> bool {
        match self {
            Found::Row(row, _) => row.needs_samples,
            Found::Weights(_) => false,
            Found::Own(own) => own.needs_samples(),
        }
    }

    /// The range of weights that share a scale.
    pub fn range_of_weights(&self, weights: &[f32], request: &Request) -> Result<Range> {
        match self {
            Found::Row(row, _) => Err(Error::new(format!("'{}' observes values in memory", row.name))),
            Found::Weights(row) => Ok((row.range)(weights, request)),
            Found::Own(own) => told(&**own, || own.range_of_weights(weights, request)),
        }
    }
}

/// What an observer of the user's says, if it is a range; whatever else it says or does is an error with its name.
fn told(own: &dyn Observer, range: impl FnOnce() -> Result<Range>) -> Result<Range> {
    let found = catching("the observer", range).and_then(|range| {
        let Range { low, high } = range;
        match low.is_finite() && high.is_finite() && low <= high {
            true => Ok(range),
            false => Err(Error::new(format!("expected a finite range, the lower end first, found {low} to {high}"))),
        }
    });
    found.map_err(|e| e.context(format!("asking the observer '{}'", own.name())))
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.own.iter().map(|o| o.name())).finish()
    }
}

/// `percentile(99.9)` as `percentile` and `99.9`.
fn parts(name: &str) -> Result<(&str, Option<&str>)> {
    match name.split_once('(') {
        None => Ok((name, None)),
        Some((base, rest)) => match rest.strip_suffix(')') {
            Some(parameter) => Ok((base, Some(parameter))),
            None => Err(Error::new(format!("expected an observer such as percentile(99.9), found '{name}'"))),
        },
    }
}

fn argument(row: &Row, name: &str, given: Option<&str>) -> Result<f64> {
    match (row.parameter, given) {
        (None, None) => Ok(0.0),
        (None, Some(_)) => Err(Error::new(format!("the observer '{}' has no parameter, found '{name}'", row.name))),
        (Some(p), None) => Ok(p.usual),
        (Some(p), Some(text)) => {
            let (least, greatest) = p.between;
            text.trim().parse::<f64>().ok().filter(|x| *x > least && *x < greatest).ok_or_else(|| {
                let range = match greatest.is_finite() {
                    true => format!("between {least} and {greatest}"),
                    false => format!("above {least}"),
                };
                Error::new(format!("expected {} {range}, found '{name}'", p.meaning))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;

    #[test]
    fn names_carry_parameters() {
        let observers = Observers::standard();
        let parameter = |name: &str| match observers.find(name) {
            Ok(Found::Row(_, parameter)) => Ok(parameter),
            Ok(_) => Err("of another kind".to_string()),
            Err(e) => Err(e.to_string()),
        };
        assert_eq!(parameter("percentile"), Ok(99.999));
        assert_eq!(parameter("percentile(99.9)"), Ok(99.9));
        for (name, why) in [
            ("percentile(101)", "between 0 and 100"),
            ("percentile(99.9", "such as percentile(99.9)"),
            ("mse(3)", "has no parameter"),
            ("global_scale(-1)", "above 0"),
            ("percentil(99)", "did you mean 'percentile'?"),
        ] {
            let error = parameter(name).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
    }

    #[test]
    fn a_configuration_that_names_no_observer_is_refused() {
        for (text, why) in [
            ("input.observer = 'mes'", "did you mean 'mse'?"),
            ("weight.observer = 'minmax'", "checking weight.observer"),
            ("layer.'x*'.weight.observer = 'mx'", "did you mean 'max'?"),
            ("op.Conv.input.observer = 'kl'", "checking op.Conv.input.observer"),
        ] {
            let config = Config::from_toml(text).unwrap();
            let error = Observers::standard().check(&config).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn an_observer_of_the_users_is_found_by_name() {
        struct Unit;
        impl Observer for Unit {
            fn name(&self) -> &str {
                "unit"
            }
            fn range(&self, _: &Seen, _: &Request) -> Result<Range> {
                Ok(Range { low: -1.0, high: 1.0 })
            }
        }
        let observers = Observers::standard().with(Unit);
        let request = Spec::default().request(Kind::Input, 0, 0);
        let unit = Range { low: -1.0, high: 1.0 };
        assert_eq!(observers.find("unit").unwrap().range(&Seen::new(), &request).unwrap(), unit);
        assert_eq!(observers.find_for_weights("unit").unwrap().range_of_weights(&[7.0], &request).unwrap(), unit);
        assert!(observers.find("unt").err().unwrap().to_string().contains("did you mean 'unit'?"));
        assert!(Observers::standard().find("unit").is_err());
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_observers_name() {
        struct Says(fn() -> Result<Range>);
        impl Observer for Says {
            fn name(&self) -> &str {
                "says"
            }
            fn range(&self, _: &Seen, _: &Request) -> Result<Range> {
                (self.0)()
            }
        }
        let request = Spec::default().request(Kind::Input, 0, 0);
        type Case = (fn() -> Result<Range>, &'static str);
        let cases: [Case; 6] = [
            (|| Ok(Range { low: f32::NAN, high: 1.0 }), "found NaN to 1"),
            (|| Ok(Range { low: 0.0, high: f32::NAN }), "found 0 to NaN"),
            (|| Ok(Range { low: f32::NEG_INFINITY, high: 1.0 }), "found -inf to 1"),
            (|| Ok(Range { low: 2.0, high: 1.0 }), "found 2 to 1"),
            (|| Err(Error::new("it saw too little")), "it saw too little"),
            (|| panic!("out of {}", "luck"), "the observer panicked: out of luck"),
        ];
        for (says, why) in cases {
            let found = Observers::standard().with(Says(says)).find("says").unwrap();
            for range in [found.range(&Seen::new(), &request), found.range_of_weights(&[1.0], &request)] {
                let error = range.unwrap_err().to_string();
                assert!(error.contains(why) && error.contains("asking the observer 'says'"), "{error}");
            }
        }
    }

    #[test]
    fn merged_statistics_have_no_order() {
        let of = |data: &[f32]| {
            let mut seen = Seen::new();
            seen.add(data).unwrap();
            seen
        };
        let (a, b) = (of(&[1.0, 2.0]), of(&[-3.0]));
        let merge = |a: &Seen, b: &Seen| {
            let mut merged = a.clone();
            merged.merge(b);
            merged
        };
        assert_eq!(merge(&a, &b), merge(&b, &a));
        let request = Spec::default().request(Kind::Input, 0, 0);
        let range = |seen: &Seen| Observers::standard().find("moving_average").unwrap().range(seen, &request);
        assert!(range(&a).is_ok());
        assert!(range(&merge(&a, &b)).unwrap_err().to_string().contains("order"));
    }
}
