//! The memory plan: every buffer gets its place in one arena, and buffers that are never alive together share bytes.
//!
//! While lowering, a place in the arena is a [`virtual_place`]: a buffer's number and an offset into it. Lifetimes are
//! read off the steps' own spans, so no operator can forget to say what it touches.

use crate::lower::Lowered;
use lowbit_ir::{Error, Result};
use lowbit_kernels::SLACK;
use lowbit_runtime::Place;
use lowbit_runtime::memory::ALIGN;

/// Bits of a virtual place that hold the offset.
const OFFSET_BITS: u32 = 40;

/// A place in a buffer that has no address yet.
pub fn virtual_place(buffer: usize) -> Place {
    Place::Arena(buffer << OFFSET_BITS)
}

fn buffer_of(place: Place) -> Option<usize> {
    match place {
        Place::Arena(at) => Some(at >> OFFSET_BITS),
        Place::Const(_) => None,
    }
}

/// Settles all places of a lowered program and returns the arena's size.
pub fn plan(lowered: &mut Lowered) -> Result<usize> {
    let lives = lifetimes(lowered);
    let (offsets, arena) = offsets(&lowered.buffers, &lives)?;
    let settle = |place: &mut Place| {
        if let Place::Arena(at) = place {
            *at = offsets[*at >> OFFSET_BITS] + (*at & ((1 << OFFSET_BITS) - 1));
        }
    };
    lowered.steps.iter_mut().flat_map(|s| s.kind.places_mut()).for_each(settle);
    lowered.inputs.iter_mut().chain(&mut lowered.outputs).map(|(_, place)| place).for_each(settle);
    Ok(arena)
}

/// First and last step that touch each buffer. Inputs live from before the first step, outputs beyond the last.
fn lifetimes(lowered: &Lowered) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; lowered.buffers.len()];
    let mut touch = |place: Place, step: usize| {
        if let Some(life) = buffer_of(place).and_then(|b| lives.get_mut(b)) {
            let (first, last) = life.unwrap_or((step, step));
            *life = Some((first.min(step), last.max(step)));
        }
    };
    lowered.inputs.iter().for_each(|(_, place)| touch(*place, 0));
    for (i, step) in lowered.steps.iter().enumerate() {
        step.kind.spans().iter().for_each(|span| touch(span.place, i));
    }
    lowered.outputs.iter().for_each(|(_, place)| touch(*place, lowered.steps.len()));
    lives
}

/// Largest first, each at the lowest offset where nothing alive at the same time lies.
fn offsets(sizes: &[usize], lives: &[Option<(usize, usize)>]) -> Result<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..sizes.len()).filter(|b| lives[*b].is_some()).collect();
    order.sort_by_key(|b| (std::cmp::Reverse(sizes[*b]), *b));
    let mut offsets = vec![0usize; sizes.len()];
    let mut placed: Vec<(usize, usize, (usize, usize))> = Vec::new();
    let mut arena = 0usize;
    for b in order {
        let Some(life) = lives[b] else { continue };
        let size = sizes[b]
            .checked_add(SLACK)
            .and_then(|n| n.checked_next_multiple_of(ALIGN))
            .filter(|n| *n < 1 << OFFSET_BITS)
            .ok_or_else(|| Error::new(format!("expected activations of a size that fits, found {} bytes", sizes[b])))?;
        let mut at = 0;
        // `placed` is sorted by offset: step over every neighbour in time that is in the way.
        for (from, to, other) in &placed {
            let together = life.0 <= other.1 && other.0 <= life.1;
            if together && *from < at + size && at < *to {
                at = *to;
            }
        }
        offsets[b] = at;
        let i = placed.partition_point(|(from, ..)| *from < at);
        placed.insert(i, (at, at + size, life));
        arena = arena.max(at + size);
    }
    Ok((offsets, arena))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_share_bytes_only_when_apart_in_time() {
        let sizes = [1000, 500, 1000, 200, 64];
        let lives = [Some((0, 1)), Some((1, 2)), Some((2, 3)), Some((0, 3)), None];
        let (offsets, arena) = offsets(&sizes, &lives).unwrap();
        for a in 0..4 {
            for b in 0..a {
                let (la, lb) = (lives[a].unwrap(), lives[b].unwrap());
                let apart = la.1 < lb.0 || lb.1 < la.0;
                let disjoint = offsets[a] + sizes[a] <= offsets[b] || offsets[b] + sizes[b] <= offsets[a];
                assert!(apart || disjoint, "{a} and {b} collide");
            }
        }
        assert_eq!(offsets[0], offsets[2], "the two large ones are never alive together");
        assert!(arena < sizes.iter().sum::<usize>() + 5 * (SLACK + ALIGN));
    }
}
