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

/// Something that one has at a time.
#[derive(Debug, Default)]
pub struct Thing {
    /// What those wait for who have it: functions of several threads may be called by one who has it.
    wanted: Mutex<Vec<Weak<Thing>>>,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Thing {
    /// Whether who has these would wait for himself if he waited for this.
    pub fn would_wait_for(self: &Arc<Thing>, held: &[Arc<Thing>]) -> bool {
        let mut seen: Vec<Arc<Thing>> = vec![self.clone()];
        let mut next = 0;
        while let Some(thing) = seen.get(next).cloned() {
            if held.iter().any(|held| Arc::ptr_eq(held, &thing)) {
                return true;
            }
            let wanted: Vec<Arc<Thing>> = locked(&thing.wanted).iter().filter_map(Weak::upgrade).collect();
            seen.extend(wanted.into_iter().filter(|w| !seen.iter().any(|s| Arc::ptr_eq(s, w))).collect::<Vec<_>>());
            next += 1;
        }
        false
    }
}

/// Who has these waits, as long as it lives.
pub struct Waiting<'a> {
    held: &'a [Arc<Thing>],
    wanted: Weak<Thing>,
}

impl Waiting<'_> {
    /// For this. Whoever waits says so first, and then looks whether he waits for himself: of those who begin at the same
    /// time one at least sees the other.
    pub fn of<'a>(held: &'a [Arc<Thing>], wanted: &Arc<Thing>) -> Waiting<'a> {
        let wanted = Arc::downgrade(wanted);
        held.iter().for_each(|held| locked(&held.wanted).push(wanted.clone()));
        Waiting { held, wanted }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for held in self.held {
            let mut all = locked(&held.wanted);
            if let Some(at) = all.iter().position(|w| w.ptr_eq(&self.wanted)) {
                all.swap_remove(at);
            }
        }
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
