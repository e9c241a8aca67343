//! Work that consists of many parts, shared by threads.

use lowbit_ir::{Result, catching};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

/// What `make` makes of each of these, in their order, on so many threads; of several errors that of the first.
pub(crate) fn map<T: Sync, R: Send>(
    threads: usize,
    all: &[T],
    make: &(dyn Fn(&T) -> Result<R> + Sync),
) -> Result<Vec<R>> {
    if threads.min(all.len()) <= 1 {
        return all.iter().map(make).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(i) else { return made };
            made.push((i, catching("the work of a thread", || make(one))));
        }
    };
    let mut made: Vec<(usize, Result<R>)> = std::thread::scope(|scope| {
        // A thread that the system refuses is not missed: the others take what is left.
        let start = |_| Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads.min(all.len())).filter_map(start).collect();
        let own = work();
        own.into_iter().chain(others.into_iter().flat_map(|thread| thread.join().unwrap_or_default())).collect()
    });
    made.sort_by_key(|(i, _)| *i);
    made.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_ir::Error;

    #[test]
    fn results_are_in_order_on_any_number_of_threads() {
        let numbers: Vec<usize> = (0..100).collect();
        for threads in [0, 1, 2, 7, 200] {
            let doubled = map(threads, &numbers, &|n| Ok(2 * n)).unwrap();
            assert_eq!(doubled, numbers.iter().map(|n| 2 * n).collect::<Vec<_>>());
            let wrong = |n: &usize| if *n % 30 == 29 { Err(Error::new(format!("found {n}"))) } else { Ok(()) };
            assert_eq!(map(threads, &numbers, &wrong).unwrap_err().to_string(), "found 29");
        }
    }
}
