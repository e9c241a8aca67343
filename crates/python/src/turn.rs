//! What one has at a time, such as a session that runs or a sequence of samples, and who waits for whom.
//!
//! A function of the user's that is called by who has one may want another, or the same. Each knows what those who have it
//! wait for, so that nobody begins to wait who would wait for himself.

use crate::callbacks::Work;
use lowbit::{Error, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often who waits looks whether it still makes sense.
const LOOK: Duration = Duration::from_millis(50);

/// An interrupted function has so long to end, until nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// More that wait for one another are not followed.
const FOLLOWED: usize = 1000;

/// Something that one has at a time.
#[derive(Debug, Default)]
pub struct Thing {
    /// What who has it waits for, if for anything.
    wanted: Mutex<Weak<Thing>>,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Thing {
    /// Whether who has these would wait for himself if he waited for this.
    pub fn would_wait_for(self: &Arc<Thing>, held: &[Arc<Thing>]) -> bool {
        let mut at = Some(self.clone());
        for _ in 0..FOLLOWED {
            let Some(thing) = at else { return false };
            if held.iter().any(|held| Arc::ptr_eq(held, &thing)) {
                return true;
            }
            at = locked(&thing.wanted).upgrade();
        }
        false
    }
}

/// Who has these waits, as long as it lives.
pub struct Waiting<'a> {
    held: &'a [Arc<Thing>],
}

impl Waiting<'_> {
    /// For this. Whoever waits says so first, and then looks whether he waits for himself: of those who begin at the same
    /// time one at least sees the other.
    pub fn of<'a>(held: &'a [Arc<Thing>], wanted: &Arc<Thing>) -> Waiting<'a> {
        held.iter().for_each(|held| *locked(&held.wanted) = Arc::downgrade(wanted));
        Waiting { held }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.held.iter().for_each(|held| *locked(&held.wanted) = Weak::new());
    }
}

/// Turns that works take.
#[derive(Debug, Default)]
pub struct Turns {
    /// What it is to who waits for whom.
    pub thing: Arc<Thing>,
    taken: Mutex<Option<Arc<Work>>>,
    freed: Condvar,
}

/// A turn, as long as it lives.
pub struct Turn<'a> {
    of: &'a Turns,
}

impl Turns {
    /// The turn of a work, as soon as it is free. Nobody waits for a function that was interrupted and does not end, and no
    /// work that was interrupted waits.
    pub fn take(&self, work: &Arc<Work>, held: &[Arc<Thing>]) -> Result<Turn<'_>> {
        let _waiting = Waiting::of(held, &self.thing);
        let mut taken = locked(&self.taken);
        loop {
            let Some(has) = &*taken else {
                *taken = Some(work.clone());
                return Ok(Turn { of: self });
            };
            if has.interrupted_for().is_some_and(|time| time > PATIENCE) {
                return Err(Error::new("a function that was interrupted reads them still"));
            }
            if work.interrupted_for().is_some() {
                return Err(Error::new("the work was interrupted"));
            }
            if self.thing.would_wait_for(held) {
                return Err(Error::new("who reads them waits, by functions of yours, for who waits here"));
            }
            taken = self.freed.wait_timeout(taken, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *locked(&self.of.taken) = None;
        self.of.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_himself() {
        let [a, b, c]: [Arc<Thing>; 3] = Default::default();
        let of = |thing: &Arc<Thing>| vec![thing.clone()];
        assert!(a.would_wait_for(&of(&a)));
        assert!(!b.would_wait_for(&of(&a)));
        let (has_a, has_b, has_c) = (of(&a), of(&b), of(&c));
        let a_waits = Waiting::of(&has_a, &b);
        assert!(!c.would_wait_for(&has_b));
        let _b_waits = Waiting::of(&has_b, &c);
        assert!(a.would_wait_for(&has_c));
        drop(a_waits);
        assert!(!a.would_wait_for(&has_c));
    }

    #[test]
    fn who_has_a_turn_is_waited_for_unless_he_was_interrupted() {
        let (turns, first, second) = (Turns::default(), Arc::<Work>::default(), Arc::<Work>::default());
        let turn = turns.take(&first, &[]).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| turns.take(&second, &[]).map(drop));
            drop(turn);
            waits.join().unwrap().unwrap();
        });
        let _turn = turns.take(&first, &[]).unwrap();
        first.interrupted();
        assert!(turns.take(&second, &[]).is_err());
        second.interrupted();
        assert!(turns.take(&second, &[]).is_err());
    }
}
