//! Memory that threads share: who needs some waits until others have given theirs back.

use lowbit_ir::{Result, memory};
use std::sync::{Condvar, Mutex, PoisonError};

/// So many bytes for all threads together.
#[derive(Debug)]
pub struct Room {
    all: usize,
    free: Mutex<usize>,
    given_back: Condvar,
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub struct Taken<'a> {
    room: &'a Room,
    bytes: usize,
}

impl Room {
    pub fn new(all: usize) -> Room {
        Room { all, free: Mutex::new(all), given_back: Condvar::new() }
    }

    /// What there is for all.
    pub fn all(&self) -> usize {
        self.all
    }

    /// Takes memory for this, and waits for it if others have it; more than there is for all is an error.
    pub fn take(&self, what: &str, bytes: usize) -> Result<Taken<'_>> {
        memory::check(what, bytes, self.all)?;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < bytes {
            free = self.given_back.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Ok(Taken { room: self, bytes })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.room.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.room.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_wait_for_each_other() {
        let (room, most) = (Room::new(100), Mutex::new((0, 0)));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let taken = room.take("this", 40).unwrap();
                        {
                            let mut most = most.lock().unwrap();
                            most.0 += 1;
                            most.1 = most.1.max(most.0);
                        }
                        std::thread::yield_now();
                        most.lock().unwrap().0 -= 1;
                        drop(taken);
                    }
                });
            }
        });
        assert!(most.lock().unwrap().1 <= 2);
        let e = room.take("a large picture", 101).unwrap_err().to_string();
        assert!(e.contains("at most 100 B") && e.contains("a large picture"), "{e}");
    }
}
