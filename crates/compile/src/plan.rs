//! The memory plan: every buffer gets its place in one arena, and buffers that are never alive together share bytes.
//!
//! While lowering, a place in the arena is a [`virtual_place`]: a buffer's number and an offset into it. Lifetimes are
//! read off the steps' own spans, so no operator can forget to say what it touches.

use crate::lower::Lowered;
use lowbit_ir::{Error, Result};
use lowbit_kernels::SLACK;
use lowbit_runtime::memory::ALIGN;
use lowbit_runtime::program::Span;
use lowbit_runtime::{Place, Step};

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

/// How large the arena is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its bytes.
    pub arena: usize,
    /// The largest buffer's bytes, and the step that first touches it.
    pub largest: Option<(usize, String)>,
}

/// Settles all places of a lowered program and returns what the arena takes.
pub fn plan(lowered: &mut Lowered) -> Result<Plan> {
    for step in &lowered.steps {
        check_spans(step, lowered)?;
    }
    let lives = lifetimes(lowered);
    let name = |step: usize| lowered.steps.get(step).map_or("", |s| &*s.name);
    let (offsets, arena) = offsets(&lowered.buffers, &lives, name)?;
    let alive = lives.iter().zip(&lowered.buffers).filter_map(|(life, size)| Some((*size, (*life)?.0)));
    let largest = alive.max_by_key(|(size, first)| (*size, std::cmp::Reverse(*first)));
    let largest = largest.map(|(size, first)| (size, name(first).to_string()));
    let settle = |place: &mut Place| {
        if let Place::Arena(at) = place {
            *at = offsets[*at >> OFFSET_BITS] + (*at & ((1 << OFFSET_BITS) - 1));
        }
    };
    lowered.steps.iter_mut().flat_map(|s| s.kind.places_mut()).for_each(settle);
    lowered.inputs.iter_mut().chain(&mut lowered.outputs).map(|(_, place)| place).for_each(settle);
    Ok(Plan { arena, largest })
}

/// Refuses a step that reaches beyond a buffer or a constant. The arena alone would not show it: the neighbour's bytes
/// lie within it too.
fn check_spans(step: &Step, lowered: &Lowered) -> Result<()> {
    for span in step.kind.spans() {
        let Span { place, bytes, .. } = span;
        let room = match place {
            Place::Arena(at) => lowered
                .buffers
                .get(at >> OFFSET_BITS)
                .map_or(0, |size| size.saturating_sub(at & ((1 << OFFSET_BITS) - 1))),
            Place::Const(at) => lowered.constants.rest(at),
        };
        if bytes > room {
            return Err(Error::new(format!(
                "expected a step within its buffers, found {bytes} bytes where there are {room}: a defect of the compiler"
            ))
            .at_node(step.name.clone()));
        }
    }
    Ok(())
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
fn offsets<'a>(
    sizes: &[usize],
    lives: &[Option<(usize, usize)>],
    name: impl Fn(usize) -> &'a str,
) -> Result<(Vec<usize>, usize)> {
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
            .ok_or_else(|| {
                Error::new(format!("expected activations of a size that fits, found {} bytes", sizes[b]))
                    .at_node(name(life.0))
                    .hint("a smaller input, or check the sizes and padding of this node")
            })?;
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
    use lowbit_runtime::Kind;

    #[test]
    fn a_step_beyond_its_buffer_is_refused() {
        let copy = |bytes: usize, from: Place| {
            let y = virtual_place(1);
            let kind = Kind::CopyRows { x: from, y, rows: 1, bytes, x_stride: bytes, y_stride: bytes };
            let steps = vec![Step { name: "copy".into(), kind, macs: 0 }];
            Lowered { steps, buffers: vec![64, 64, 64], ..Lowered::default() }
        };
        plan(&mut copy(64, virtual_place(0))).unwrap();
        for (bytes, from) in [(65, virtual_place(0)), (60, virtual_place(0).plus(8)), (8, virtual_place(3))] {
            let error = plan(&mut copy(bytes, from)).unwrap_err().to_string();
            assert!(error.contains("node 'copy': expected a step within its buffers"), "{error}");
        }
        let mut constants = copy(8, Place::Const(0));
        constants.constants.add(&[1; 8]);
        constants.constants.add(&[2; 8]);
        plan(&mut constants).unwrap();
        let mut longer = copy(9, Place::Const(0));
        longer.constants.add(&[1; 8]);
        longer.constants.add(&[2; 8]);
        plan(&mut longer).unwrap_err();
    }

    #[test]
    fn buffers_share_bytes_only_when_apart_in_time() {
        let sizes = [1000, 500, 1000, 200, 64];
        let lives = [Some((0, 1)), Some((1, 2)), Some((2, 3)), Some((0, 3)), None];
        let (offsets, arena) = offsets(&sizes, &lives, |_| "step").unwrap();
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
