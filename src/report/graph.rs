//! A layered picture of a graph: who is read stands above who reads.
//!
//! Layers are the longest paths from the top. An edge that crosses layers gets a place in each of them, shared by all
//! edges of one writer, so that it goes round boxes and not through them. The order within a layer is found by sweeps
//! that put everybody at the middle of their neighbours, keeping the order with the fewest crossings; the coordinates are
//! the least squares of the same wish under that order. It is the same picture on every machine.

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
    /// The middles of the boxes, in the order of the nodes.
    pub boxes: Vec<(f64, f64)>,
    /// The edges as points from the writer's lower side to the reader's upper side, in the order of the edges.
    pub edges: Vec<Vec<(f64, f64)>>,
}

/// The sizes of what is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// Width of a box.
    pub width: f64,
    /// Height of a box.
    pub height: f64,
    /// Room between boxes side by side.
    pub beside: f64,
    /// Room between layers.
    pub below: f64,
    /// Room around all.
    pub margin: f64,
}

/// Sweeps over the layers, down and up.
const SWEEPS: usize = 12;

/// Places for edges between layers, in all; where more would be needed, edges go straight.
const MOST_PLACES: usize = 60_000;

/// Width of an edge's place.
const THIN: f64 = 10.0;

/// What an edge's place weighs beside a box: edges give way, so that chains of boxes are straight.
const LIGHT: f64 = 0.02;

/// Something with a place in a layer: a node, or an edge on its way.
struct Place {
    layer: usize,
    node: bool,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Lays out `count` nodes; edges go from a node to a later one.
pub fn layout(count: usize, edges: &[(usize, usize)], sizes: Sizes) -> Picture {
    let layers_of = layers(count, edges);
    let (places, ways) = places(count, edges, &layers_of);
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); layers_of.iter().max().map_or(0, |l| l + 1)];
    places.iter().enumerate().for_each(|(at, place)| layers[place.layer].push(at));
    order(&places, &mut layers);
    let x = columns(&places, &layers, sizes);
    let step = sizes.height + sizes.below;
    let y = |at: usize| sizes.margin + sizes.height / 2.0 + places[at].layer as f64 * step;
    let half = |at: usize| if places[at].node { sizes.width } else { THIN } / 2.0;
    let all = 0..places.len();
    let least = all.clone().map(|at| x[at] - half(at)).fold(f64::INFINITY, f64::min);
    let greatest = all.map(|at| x[at] + half(at)).fold(f64::NEG_INFINITY, f64::max);
    let (least, greatest) = if least.is_finite() { (least, greatest) } else { (0.0, 0.0) };
    let point = |at: usize| (x[at] - least + sizes.margin, y(at));
    let way = |way: &Vec<usize>| {
        let last = way.len().saturating_sub(1);
        let shifted = |(i, at): (usize, &usize)| {
            let (x, y) = point(*at);
            match i {
                0 => (x, y + sizes.height / 2.0),
                i if i == last => (x, y - sizes.height / 2.0),
                _ => (x, y),
            }
        };
        way.iter().enumerate().map(shifted).collect()
    };
    Picture {
        width: greatest - least + 2.0 * sizes.margin,
        height: (layers.len() as f64 * step - sizes.below).max(0.0) + 2.0 * sizes.margin,
        boxes: (0..count).map(point).collect(),
        edges: ways.iter().map(way).collect(),
    }
}

/// The layer of every node: behind all that it reads; what reads nothing stands just above who reads it first.
fn layers(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let (mut layer, mut reads, mut first) = (vec![0; count], vec![false; count], vec![usize::MAX; count]);
    let mut sorted = edges.to_vec();
    sorted.sort_unstable();
    for (from, to) in &sorted {
        layer[*to] = layer[*to].max(layer[*from] + 1);
        reads[*to] = true;
    }
    sorted.iter().for_each(|(from, to)| first[*from] = first[*from].min(layer[*to]));
    for at in 0..count {
        if !reads[at] && first[at] != usize::MAX {
            layer[at] = first[at] - 1;
        }
    }
    layer
}

/// Nodes and the places of edges between them; and for every edge the places on its way.
fn places(count: usize, edges: &[(usize, usize)], layer: &[usize]) -> (Vec<Place>, Vec<Vec<usize>>) {
    let of = |layer: usize, node: bool| Place { layer, node, above: Vec::new(), below: Vec::new() };
    let mut places: Vec<Place> = layer.iter().map(|l| of(*l, true)).collect();
    let mut furthest = vec![0; count];
    edges.iter().for_each(|(from, to)| furthest[*from] = furthest[*from].max(layer[*to]));
    let needed: usize = (0..count).map(|at| furthest[at].saturating_sub(layer[at] + 1)).sum();
    // The places of a writer, from the layer below it on.
    let mut lanes: Vec<Vec<usize>> = vec![Vec::new(); count];
    if needed <= MOST_PLACES {
        for at in 0..count {
            for below in layer[at] + 1..furthest[at] {
                let before = lanes[at].last().copied().unwrap_or(at);
                let place = places.len();
                places.push(of(below, false));
                places[place].above.push(before);
                places[before].below.push(place);
                lanes[at].push(place);
            }
        }
    }
    let mut ways = Vec::with_capacity(edges.len());
    for (from, to) in edges {
        let crossed = layer[*to].saturating_sub(layer[*from] + 1);
        let lane = lanes[*from].iter().take(crossed).copied();
        let way: Vec<usize> = std::iter::once(*from).chain(lane).chain([*to]).collect();
        let before = way[way.len() - 2];
        // What goes straight over layers has no neighbour in the next one.
        if places[before].layer + 1 == places[*to].layer {
            places[before].below.push(*to);
            places[*to].above.push(before);
        }
        ways.push(way);
    }
    (places, ways)
}

/// Puts everybody near the middle of their neighbours, above and below in turn, and keeps the best order.
fn order(places: &[Place], layers: &mut [Vec<usize>]) {
    let mut rank = vec![0usize; places.len()];
    let number = |layer: &[usize], rank: &mut [usize]| layer.iter().enumerate().for_each(|(i, at)| rank[*at] = i);
    layers.iter().for_each(|layer| number(layer, &mut rank));
    let mut best = (crossings(places, layers, &rank), layers.to_vec());
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let turns: Vec<usize> = if down { (1..layers.len()).collect() } else { (0..layers.len()).rev().collect() };
        for turn in turns {
            let middle = |at: usize| {
                let beside = if down { &places[at].above } else { &places[at].below };
                match beside.len() {
                    0 => rank[at] as f64,
                    n => beside.iter().map(|b| rank[*b] as f64).sum::<f64>() / n as f64,
                }
            };
            let mut keyed: Vec<(f64, usize)> = layers[turn].iter().map(|at| (middle(*at), *at)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            layers[turn] = keyed.into_iter().map(|(_, at)| at).collect();
            number(&layers[turn], &mut rank);
        }
        let found = crossings(places, layers, &rank);
        if found < best.0 {
            best = (found, layers.to_vec());
        }
        if best.0 == 0 {
            break;
        }
    }
    layers.clone_from_slice(&best.1);
}

/// How many pairs of edges cross between neighbouring layers.
fn crossings(places: &[Place], layers: &[Vec<usize>], rank: &[usize]) -> u64 {
    let mut all = 0;
    for pair in layers.windows(2) {
        // Ends below, in the order of the ends above: every pair in the wrong order crosses.
        let mut counted = vec![0u64; pair[1].len() + 1];
        let mut seen = 0;
        for at in &pair[0] {
            let mut ends: Vec<usize> = places[*at].below.iter().map(|b| rank[*b]).collect();
            ends.sort_unstable();
            let up_to = |counted: &[u64], end: usize| {
                let mut sum = 0;
                let mut i = end + 1;
                while i > 0 {
                    sum += counted[i];
                    i &= i - 1;
                }
                sum
            };
            all += ends.iter().map(|end| seen - up_to(&counted, *end)).sum::<u64>();
            for end in ends {
                seen += 1;
                let mut i = end + 1;
                while i < counted.len() {
                    counted[i] += 1;
                    i += i & i.wrapping_neg();
                }
            }
        }
    }
    all
}

/// The middles: as near to those of the neighbours as the order and the widths allow.
fn columns(places: &[Place], layers: &[Vec<usize>], sizes: Sizes) -> Vec<f64> {
    let half = |at: usize| if places[at].node { sizes.width } else { THIN } / 2.0;
    let apart = |a: usize, b: usize| half(a) + half(b) + sizes.beside;
    let mut x = vec![0.0; places.len()];
    for layer in layers {
        let mut at_x = 0.0;
        for (i, at) in layer.iter().enumerate() {
            at_x += if i == 0 { 0.0 } else { apart(layer[i - 1], *at) };
            x[*at] = at_x;
        }
        let middle = at_x / 2.0;
        layer.iter().for_each(|at| x[*at] -= middle);
    }
    // The last one goes down: who has one above is right below it, if there is room.
    for sweep in 0..SWEEPS + 1 {
        let down = sweep % 2 == 0;
        let turns: Vec<usize> = if down { (0..layers.len()).collect() } else { (0..layers.len()).rev().collect() };
        let weight = |at: usize| if places[at].node { 1.0 } else { LIGHT };
        for turn in turns {
            let layer = &layers[turn];
            let wish = |at: &usize| {
                let near = if down { &places[*at].above } else { &places[*at].below };
                let (sum, n) = near.iter().fold((0.0, 0.0), |(sum, n), b| (sum + weight(*b) * x[*b], n + weight(*b)));
                if n > 0.0 { (sum / n, weight(*at)) } else { (x[*at], LIGHT) }
            };
            let wishes: Vec<(f64, f64)> = layer.iter().map(wish).collect();
            let gaps: Vec<f64> = layer.windows(2).map(|pair| apart(pair[0], pair[1])).collect();
            for (at, found) in layer.iter().zip(nearest(&wishes, &gaps)) {
                x[*at] = found;
            }
        }
    }
    x.iter().map(|x| x.round()).collect()
}

/// The numbers nearest to wishes (with their weights) of which each is at least a gap above the one before: the least
/// squares, by pooling neighbours that would come too near.
fn nearest(wishes: &[(f64, f64)], gaps: &[f64]) -> Vec<f64> {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(wishes.len());
    // Weighted sums, weights and how many they are of.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (i, (wish, weight)) in wishes.iter().enumerate() {
        offset += if i == 0 { 0.0 } else { gaps[i - 1] };
        offsets.push(offset);
        let mut pool = ((wish - offset) * weight, *weight, 1);
        while let Some(before) = pools.last().filter(|before| before.0 / before.1 >= pool.0 / pool.1) {
            pool = (before.0 + pool.0, before.1 + pool.1, before.2 + pool.2);
            pools.pop();
        }
        pools.push(pool);
    }
    let all = pools.iter().flat_map(|(sum, weight, n)| std::iter::repeat_n(sum / weight, *n));
    all.zip(offsets).map(|(x, offset)| x + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { width: 100.0, height: 40.0, beside: 20.0, below: 30.0, margin: 10.0 };

    /// No two boxes touch, every edge goes down from box to box, and all lies within the picture.
    fn check(count: usize, edges: &[(usize, usize)]) -> Picture {
        let picture = layout(count, edges, SIZES);
        let boxes = &picture.boxes;
        assert_eq!((boxes.len(), picture.edges.len()), (count, edges.len()));
        for (i, a) in boxes.iter().enumerate() {
            for b in &boxes[..i] {
                let clear = (a.0 - b.0).abs() >= SIZES.width || (a.1 - b.1).abs() >= SIZES.height;
                assert!(clear, "{a:?} and {b:?} overlap");
            }
            assert!(a.0 >= SIZES.width / 2.0 && a.0 <= picture.width - SIZES.width / 2.0, "{a:?}");
            assert!(a.1 >= SIZES.height / 2.0 && a.1 <= picture.height - SIZES.height / 2.0, "{a:?}");
        }
        for ((from, to), way) in edges.iter().zip(&picture.edges) {
            assert_eq!(way.first(), Some(&(boxes[*from].0, boxes[*from].1 + SIZES.height / 2.0)));
            assert_eq!(way.last(), Some(&(boxes[*to].0, boxes[*to].1 - SIZES.height / 2.0)));
            assert!(way.windows(2).all(|pair| pair[1].1 > pair[0].1), "{way:?}");
        }
        picture
    }

    #[test]
    fn a_chain_is_straight() {
        let edges: Vec<(usize, usize)> = (1..600).map(|i| (i - 1, i)).collect();
        let picture = check(600, &edges);
        assert!(picture.boxes.iter().all(|b| b.0 == picture.boxes[0].0));
        assert_eq!(picture.width, SIZES.width + 2.0 * SIZES.margin);
    }

    #[test]
    fn an_edge_over_layers_goes_round_the_boxes() {
        let picture = check(4, &[(0, 1), (1, 2), (2, 3), (0, 3)]);
        let around = &picture.edges[3];
        assert_eq!(around.len(), 4);
        for (point, node) in around[1..3].iter().zip([1, 2]) {
            assert!((point.0 - picture.boxes[node].0).abs() >= SIZES.width / 2.0, "{around:?}");
        }
    }

    #[test]
    fn branches_that_need_not_cross_do_not() {
        // Two chains from one, given in an order that crosses.
        let edges = [(0, 1), (0, 2), (2, 3), (1, 4), (3, 5), (4, 5)];
        let layer = layers(6, &edges);
        let (places, _) = places(6, &edges, &layer);
        let mut by_layer = vec![vec![0], vec![1, 2], vec![3, 4], vec![5]];
        order(&places, &mut by_layer);
        let mut rank = vec![0; 6];
        by_layer.iter().for_each(|l| l.iter().enumerate().for_each(|(i, at)| rank[*at] = i));
        assert_eq!(crossings(&places, &by_layer, &rank), 0);
        check(6, &edges);
    }

    #[test]
    fn graphs_of_any_form_are_laid_out() {
        check(0, &[]);
        check(1, &[]);
        check(5, &[]);
        check(3, &[(0, 2), (1, 2)]);
        let dense: Vec<(usize, usize)> = (0..60).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        check(60, &dense);
        let wide: Vec<(usize, usize)> = (1..200).flat_map(|i| [(0, i), (i, 200)]).collect();
        check(201, &wide);
        let mut seed = 7u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        let mut edges: Vec<(usize, usize)> = (1..400).flat_map(|b| [(random(b), b), (random(b), b)]).collect();
        edges.sort_unstable();
        edges.dedup();
        assert_eq!(check(400, &edges), check(400, &edges));
    }

    #[test]
    fn wishes_that_fit_are_met_and_others_share_the_loss() {
        assert_eq!(nearest(&[(0.0, 1.0), (50.0, 1.0)], &[10.0]), [0.0, 50.0]);
        assert_eq!(nearest(&[(5.0, 1.0), (5.0, 1.0)], &[10.0]), [0.0, 10.0]);
    }
}
