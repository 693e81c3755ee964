//! Room 4: steps, pipes and waits to pipelines in an order in which they can run. The only importer of petgraph.
//!
//! Takes for each step which one it reads and which ones it waits for. Gives [`Shape`]: the pipelines in an order that
//! respects every wait and otherwise follows the document, or what stands in the way. Always holds: where there is an
//! order, no pipeline waits for itself, directly or around.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::unionfind::UnionFind;

/// A step, as the graph sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vertex {
    /// The step that it reads.
    pub(crate) reads: Option<usize>,
    /// The steps that it waits for.
    pub(crate) needs: Vec<usize>,
}

/// How the steps lie.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The pipelines, each behind those that it waits for.
    pub(crate) pipelines: Vec<Group>,
    /// The pipeline of each step, by its place in `pipelines`.
    pub(crate) pipeline_of: Vec<usize>,
}

/// Steps that pipes connect.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its steps, each behind the one that it reads.
    pub(crate) steps: Vec<usize>,
    /// The pipelines that it waits for, directly.
    pub(crate) after: Vec<usize>,
}

/// What stands in the way of an order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Knot {
    /// Steps that wait for one another: each reads or needs the next, the last the first.
    Cycle(Vec<usize>),
    /// A step that needs one of its own pipeline.
    Inside {
        /// The step.
        step: usize,
        /// The one that it needs.
        needs: usize,
    },
    /// Pipelines that wait for one another though no step does: pairs of a step and the one that it needs, which is in
    /// the next pair's pipeline.
    Deadlock(Vec<(usize, usize)>),
}

/// Finds the pipelines and their order.
///
/// # Errors
/// All knots.
pub(crate) fn shape(vertices: &[Vertex]) -> Result<Shape, Vec<Knot>> {
    let mut knots = Vec::new();
    let ahead = |step: usize| vertices[step].reads.iter().chain(&vertices[step].needs).copied();
    let cyclic: Vec<Vec<usize>> = strongly_connected(vertices.len(), ahead);
    let mut tangled = BTreeSet::new();
    for group in &cyclic {
        tangled.extend(group.iter().copied());
        knots.push(Knot::Cycle(walk_around(group, ahead)));
    }

    let mut pipes = UnionFind::<usize>::new(vertices.len());
    for (step, vertex) in vertices.iter().enumerate() {
        if let Some(read) = vertex.reads {
            pipes.union(step, read);
        }
    }
    let label = pipes.into_labeling();
    // Pipelines by their first step: the document's order.
    let mut group_of = vec![usize::MAX; vertices.len()];
    let mut members: Vec<Vec<usize>> = Vec::new();
    for step in 0..vertices.len() {
        let group = &mut group_of[label[step]];
        if *group == usize::MAX {
            *group = members.len();
            members.push(Vec::new());
        }
        members[*group].push(step);
    }
    let group_of: Vec<usize> = (0..vertices.len()).map(|step| group_of[label[step]]).collect();

    let mut waits: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); members.len()];
    for (step, vertex) in vertices.iter().enumerate() {
        for need in &vertex.needs {
            if group_of[*need] != group_of[step] {
                waits[group_of[step]].insert(group_of[*need]);
            } else if !(tangled.contains(&step) && tangled.contains(need)) {
                knots.push(Knot::Inside { step, needs: *need });
            }
        }
    }
    for group in strongly_connected(members.len(), |group| waits[group].iter().copied()) {
        if group.iter().any(|group| members[*group].iter().any(|step| tangled.contains(step))) {
            continue;
        }
        let around = walk_around(&group, |group| waits[group].iter().copied());
        let edge = |from: usize, to: usize| {
            let steps = members[from].iter().copied();
            steps
                .flat_map(|step| vertices[step].needs.iter().map(move |need| (step, *need)))
                .find(|(_, need)| group_of[*need] == to)
        };
        let next = around.iter().cycle().skip(1);
        knots.push(Knot::Deadlock(around.iter().zip(next).filter_map(|(from, to)| edge(*from, *to)).collect()));
    }
    if !knots.is_empty() {
        return Err(knots);
    }

    let order = in_order(members.len(), |group| waits[group].iter().copied());
    let mut place = vec![0; members.len()];
    for (at, group) in order.iter().enumerate() {
        place[*group] = at;
    }
    let pipelines = order
        .iter()
        .map(|group| {
            let steps = &members[*group];
            let local = |step: usize| steps.binary_search(&step).ok();
            let inner = in_order(steps.len(), |at| vertices[steps[at]].reads.and_then(local).into_iter());
            let mut after: Vec<usize> = waits[*group].iter().map(|group| place[*group]).collect();
            after.sort_unstable();
            Group { steps: inner.into_iter().map(|at| steps[at]).collect(), after }
        })
        .collect();
    Ok(Shape { pipelines, pipeline_of: group_of.iter().map(|group| place[*group]).collect() })
}

/// For each pipeline, those that must have ended before it starts, directly and around.
#[derive(Debug)]
pub(crate) struct Ancestors(Vec<Vec<u64>>);

impl Ancestors {
    /// True where `ancestor` must have ended before `pipeline` starts.
    pub(crate) fn contains(&self, pipeline: usize, ancestor: usize) -> bool {
        self.0[pipeline][ancestor / 64] >> (ancestor % 64) & 1 == 1
    }
}

impl Shape {
    /// All ancestors. Sets of bits, as a chain of a thousand pipelines has half a million of them.
    pub(crate) fn ancestors(&self) -> Ancestors {
        let words = self.pipelines.len().div_ceil(64);
        let mut all: Vec<Vec<u64>> = Vec::with_capacity(self.pipelines.len());
        for group in &self.pipelines {
            let mut bits = vec![0_u64; words];
            for before in &group.after {
                bits[before / 64] |= 1 << (before % 64);
                // It stands earlier in the order, so its own ancestors are complete.
                bits.iter_mut().zip(&all[*before]).for_each(|(bits, more)| *bits |= more);
            }
            all.push(bits);
        }
        Ancestors(all)
    }
}

/// The groups of nodes that lead back to themselves, each in ascending order, by their first node.
fn strongly_connected<I: Iterator<Item = usize>>(count: usize, ahead: impl Fn(usize) -> I) -> Vec<Vec<usize>> {
    let mut graph = DiGraph::<(), ()>::with_capacity(count, count);
    (0..count).for_each(|_| {
        graph.add_node(());
    });
    let mut to_itself = BTreeSet::new();
    for from in 0..count {
        for to in ahead(from) {
            graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
            if from == to {
                to_itself.insert(from);
            }
        }
    }
    let mut groups: Vec<Vec<usize>> = tarjan_scc(&graph)
        .into_iter()
        .map(|group| {
            let mut group: Vec<usize> = group.into_iter().map(NodeIndex::index).collect();
            group.sort_unstable();
            group
        })
        .filter(|group| group.len() > 1 || to_itself.contains(&group[0]))
        .collect();
    groups.sort_unstable();
    groups
}

/// The shortest way around through the first node of a group.
fn walk_around<I: Iterator<Item = usize>>(group: &[usize], ahead: impl Fn(usize) -> I) -> Vec<usize> {
    let start = group[0];
    let inside: BTreeSet<usize> = group.iter().copied().collect();
    let mut came_from = std::collections::BTreeMap::new();
    let mut pending = std::collections::VecDeque::from([start]);
    while let Some(here) = pending.pop_front() {
        for next in ahead(here).filter(|next| inside.contains(next)) {
            if next == start {
                let mut way = vec![here];
                while let Some(before) = way.last().filter(|last| **last != start).and_then(|last| came_from.get(last))
                {
                    way.push(*before);
                }
                way.reverse();
                return way;
            }
            if let std::collections::btree_map::Entry::Vacant(way) = came_from.entry(next) {
                way.insert(here);
                pending.push_back(next);
            }
        }
    }
    group.to_vec()
}

/// Kahn's order; of all that could be next, the first. What is on a cycle is left out.
fn in_order<I: Iterator<Item = usize>>(count: usize, before: impl Fn(usize) -> I) -> Vec<usize> {
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut open = vec![0_usize; count];
    for (node, open) in open.iter_mut().enumerate() {
        for other in before(node) {
            followers[other].push(node);
            *open += 1;
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..count).filter(|node| open[*node] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for follower in &followers[node] {
            open[*follower] -= 1;
            if open[*follower] == 0 {
                ready.push(Reverse(*follower));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(reads: Option<usize>, needs: &[usize]) -> Vertex {
        Vertex { reads, needs: needs.to_vec() }
    }

    #[test]
    fn pipes_make_pipelines_and_needs_order_them() {
        // 0 needs 3; 1 reads 2; 3 alone; 4 reads 2 and needs 3.
        let vertices =
            [vertex(None, &[3]), vertex(Some(2), &[]), vertex(None, &[]), vertex(None, &[]), vertex(Some(2), &[3])];
        let shape = shape(&vertices).expect("an order");
        let steps: Vec<&[usize]> = shape.pipelines.iter().map(|group| group.steps.as_slice()).collect();
        assert_eq!(steps, [&[3][..], &[0], &[2, 1, 4]]);
        assert_eq!(shape.pipelines[2].after, [0]);
        assert_eq!(shape.pipeline_of, [1, 2, 2, 0, 2]);
        let ancestors = shape.ancestors();
        assert!(
            ancestors.contains(1, 0)
                && ancestors.contains(2, 0)
                && !ancestors.contains(2, 1)
                && !ancestors.contains(0, 0)
        );
    }

    #[test]
    fn knots_are_named() {
        assert_eq!(shape(&[vertex(None, &[0])]), Err(vec![Knot::Cycle(vec![0])]));
        let ring = [vertex(None, &[2]), vertex(None, &[0]), vertex(Some(1), &[])];
        assert_eq!(shape(&ring), Err(vec![Knot::Cycle(vec![0, 2, 1])]));
        let inside = [vertex(None, &[]), vertex(Some(0), &[]), vertex(Some(1), &[0])];
        assert_eq!(shape(&inside), Err(vec![Knot::Inside { step: 2, needs: 0 }]));
        // 0 | 1; 2 needs 0; 1 needs 2.
        let deadlock = [vertex(None, &[]), vertex(Some(0), &[2]), vertex(None, &[0])];
        assert_eq!(shape(&deadlock), Err(vec![Knot::Deadlock(vec![(1, 2), (2, 0)])]));
    }

    #[test]
    fn large_graphs_take_no_time() {
        let chain: Vec<Vertex> = (0..20_000_usize).map(|at| vertex(None, at.checked_sub(1).as_slice())).collect();
        let order = shape(&chain).expect("an order");
        assert!(order.pipelines.len() == 20_000 && order.ancestors().contains(19_999, 0));
        let pipe: Vec<Vertex> = (0..20_000_usize).map(|at| vertex(at.checked_sub(1), &[])).collect();
        assert_eq!(shape(&pipe).expect("an order").pipelines.len(), 1);
    }
}
