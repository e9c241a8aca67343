//! Every kernel timed on this machine beside those that could do the same work: whether the choice among them is right.

use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Error, Result};
use lowbit_runtime::Isa;
use lowbit_runtime::isa::cpu_name;
use lowbit_runtime::measure::{Allowed, Contest, Found, GROUPS};
use serde::Serialize;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contests {
    /// The processor's name.
    pub cpu: String,
    /// The instruction set.
    pub isa: &'static str,
    /// Whether each kernel that programs get is the fastest of its contest, or slower by no more than 5 %.
    pub right: bool,
    /// The pieces of work.
    pub contests: Vec<Case>,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    /// What is done.
    pub case: String,
    /// What its amount is counted in: MAC or element.
    pub unit: &'static str,
    /// Time of the kernel that programs get relative to the fastest one's.
    pub ratio: f64,
    /// Whether that is at most 1.05.
    pub right: bool,
    /// The kernels that can do it, oldest first.
    pub kernels: Vec<Timed>,
}

/// A kernel's time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timed {
    /// Its name.
    pub kernel: &'static str,
    /// The least time of the work.
    pub nanoseconds: f64,
    /// Units in a nanosecond, that is, billions a second.
    pub rate: f64,
    /// Whether programs get it.
    pub picked: bool,
}

/// Times the kernels of an instruction set, those in whose contest one's name has the part `only`. `watch` is told how many
/// contests there are, and how many are done.
///
/// # Errors
/// No kernel's name has the part, or there is no memory for what is timed.
pub fn contests(isa: Isa, only: &str, mut watch: impl FnMut(usize, usize)) -> Result<Contests> {
    let allowed = Allowed::of(isa);
    let mut all: Vec<Contest> = Vec::new();
    for (_, make) in GROUPS {
        all.extend(make(&allowed));
    }
    let chosen: Vec<&Contest> = all.iter().filter(|c| c.kernels().any(|name| name.contains(only))).collect();
    if chosen.is_empty() {
        let names = all.iter().flat_map(Contest::kernels);
        return Err(Error::new(format!(
            "no kernel that is timed with {} has '{only}' in its name{}",
            isa.name,
            did_you_mean(only, names)
        ))
        .hint("lowbit list kernels shows all; those of peak::Q8 compete with none, and --isa leaves out newer ones"));
    }
    watch(chosen.len(), 0);
    let run = |(i, contest): (usize, &&Contest)| {
        let case = Case::of(contest.run()?);
        watch(chosen.len(), i + 1);
        Ok(case)
    };
    let contests: Vec<Case> = chosen.iter().enumerate().map(run).collect::<Result<_>>()?;
    Ok(Contests { cpu: cpu_name(), isa: isa.name, right: contests.iter().all(|c| c.right), contests })
}

impl Case {
    fn of(found: Found) -> Case {
        let timed = |row: &lowbit_runtime::measure::Timed| Timed {
            kernel: row.kernel,
            nanoseconds: row.nanoseconds,
            rate: found.work as f64 / row.nanoseconds,
            picked: row.picked,
        };
        Case {
            unit: found.unit.name(),
            ratio: found.ratio().unwrap_or(f64::NAN),
            right: found.is_right(),
            kernels: found.rows.iter().map(timed).collect(),
            case: found.case,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contests_are_chosen_by_a_part_of_a_name() {
        let isa = Isa::named("scalar").unwrap();
        let mut told = Vec::new();
        let found = contests(isa, "u8_table", |of, done| told.push((of, done))).unwrap();
        assert_eq!((told.as_slice(), found.contests.len(), found.right), (&[(1, 0), (1, 1)][..], 1, true));
        let kernels = &found.contests[0].kernels;
        assert!(
            kernels.iter().all(|k| k.kernel == "u8_table__scalar" && k.picked && k.nanoseconds > 0.0),
            "{kernels:?}"
        );
        let e = contests(isa, "u8_tabel__scalar", |_, _| ()).unwrap_err().to_string();
        assert!(e.contains("did you mean 'u8_table__scalar'"), "{e}");
    }
}
