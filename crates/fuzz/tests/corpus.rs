//! The corpus, and a bounded number of changes of it, through every target: what continuous integration sees of fuzzing.
//!
//! `LOWBIT_FUZZ` is how many changed inputs each target gets, `LOWBIT_SEED` where they start, `LOWBIT_FUZZ_TARGET` the
//! only target. `UPDATE=1` writes the seeds of the corpus again.

use lowbit_fuzz::choices::Numbers;
use lowbit_fuzz::{TARGETS, Target, replay, seeds};
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

/// So long no input takes that is as short as those here, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().map_or(usual, |n| n.parse().unwrap_or_else(|_| panic!("{name} is a number, not '{n}'")))
}

/// Runs one input; a panic is told with the bytes that cause it.
fn run(target: &Target, what: &str, bytes: &[u8]) -> bool {
    let began = Instant::now();
    let accepted = catch_unwind(|| (target.run)(bytes)).unwrap_or_else(|_| {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        panic!("{} breaks on {what}: {hex}", target.name)
    });
    assert!(began.elapsed() < PATIENCE, "{} takes {:?} for {what}", target.name, began.elapsed());
    accepted
}

#[test]
fn every_target_takes_its_corpus_and_changes_of_it() {
    let (count, seed) = (number("LOWBIT_FUZZ", 250), number("LOWBIT_SEED", 1));
    let only = std::env::var("LOWBIT_FUZZ_TARGET").ok();
    let chosen: Vec<&Target> = TARGETS.iter().filter(|t| only.as_ref().is_none_or(|only| only == t.name)).collect();
    assert!(!chosen.is_empty(), "no target is named {only:?}");
    for target in chosen {
        let began = Instant::now();
        let corpus = replay::read(target.name).unwrap_or_else(|e| panic!("the corpus of {}: {e}", target.name));
        let taken = corpus.iter().filter(|(name, bytes)| run(target, name, bytes)).count();
        // A corpus that is refused whole tests nothing but the refusal.
        assert!(taken * 10 >= corpus.len() && taken > 0, "{}: {taken} of {} are accepted", target.name, corpus.len());
        let mut accepted = 0;
        for case in seed..seed + count {
            let mut numbers = Numbers((case as u64) << 32);
            let (_, bytes) = numbers.pick(&corpus);
            let (_, other) = numbers.pick(&corpus);
            let bytes = replay::changed(&bytes, &other, &mut numbers);
            accepted += usize::from(run(target, &format!("case {case}"), &bytes));
        }
        println!(
            "{}: {taken} of {} in the corpus and {accepted} of {count} changes are accepted, in {:.1} s",
            target.name,
            corpus.len(),
            began.elapsed().as_secs_f64()
        );
    }
}

#[test]
fn the_seeds_are_in_the_corpus() {
    for target in TARGETS {
        let folder = replay::folder(target.name);
        let seeds = seeds::corpus(target.name).unwrap_or_else(|e| panic!("the seeds of {}: {e}", target.name));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            seeds.iter().for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes).unwrap());
        }
        let corpus = replay::read(target.name).unwrap_or_else(|e| panic!("the corpus of {}: {e}", target.name));
        assert!(!corpus.is_empty(), "{} has no corpus", target.name);
        for (name, bytes) in seeds {
            let kept =
                corpus.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{} lacks {name}", target.name));
            assert!(kept.1 == bytes, "{name} of {} is not what is made now: UPDATE=1 writes it", target.name);
        }
    }
}
