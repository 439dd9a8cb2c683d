//! Orders nodes by dependency and finds cycles.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

/// A dependency graph over the indices of a list. Where dependencies do not decide, the order of the list applies.
#[derive(Clone, Debug, Default)]
pub struct Graph(DiGraph<(), ()>);

/// The indices of the nodes in a cycle. The first one is repeated at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleError(pub Vec<usize>);

impl Graph {
    /// A graph with this many nodes and no edges.
    #[must_use]
    pub fn new(things: usize) -> Self {
        let mut graph = DiGraph::with_capacity(things, things);
        for _ in 0..things {
            graph.add_node(());
        }
        Self(graph)
    }

    /// Adds an edge: `first` comes before `then`. Indices outside the list are ignored.
    pub fn edge(&mut self, first: usize, then: usize) {
        let things = self.0.node_count();
        if first < things && then < things {
            self.0.add_edge(NodeIndex::new(first), NodeIndex::new(then), ());
        }
    }

    /// The direct dependencies of a node, in order.
    #[must_use]
    pub fn before(&self, place: usize) -> Vec<usize> {
        let found = self.0.neighbors_directed(NodeIndex::new(place), Direction::Incoming);
        let mut found: Vec<usize> = found.map(NodeIndex::index).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// All nodes, each after its dependencies. Of the nodes that are ready, the first in the list comes first.
    ///
    /// # Errors
    /// A cycle, if there is one.
    pub fn order(&self) -> Result<Vec<usize>, CycleError> {
        let waits = |node| self.0.neighbors_directed(node, Direction::Incoming).count();
        let mut waiting: Vec<usize> = self.0.node_indices().map(waits).collect();
        let free = waiting.iter().enumerate().filter(|(_, waits)| **waits == 0);
        let mut free: BinaryHeap<Reverse<usize>> = free.map(|(place, _)| Reverse(place)).collect();
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(Reverse(place)) = free.pop() {
            order.push(place);
            for next in self.0.neighbors(NodeIndex::new(place)).map(NodeIndex::index) {
                if let Some(waits) = waiting.get_mut(next) {
                    *waits -= 1;
                    if *waits == 0 {
                        free.push(Reverse(next));
                    }
                }
            }
        }
        if order.len() == waiting.len() { Ok(order) } else { Err(self.cycle()) }
    }

    /// A shortest cycle through the first node that is in one.
    fn cycle(&self) -> CycleError {
        let looped = petgraph::algo::tarjan_scc(&self.0)
            .into_iter()
            .filter(|c| c.len() > 1 || c.first().is_some_and(|n| self.0.contains_edge(*n, *n)));
        let Some(start) = looped.flatten().min() else { return CycleError(Vec::new()) };
        let mut came_from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        'search: while let Some(node) = queue.pop_front() {
            let mut followers: Vec<NodeIndex> = self.0.neighbors(node).collect();
            followers.sort_unstable();
            for next in followers {
                if next == start {
                    came_from.insert(start, node);
                    break 'search;
                }
                came_from.entry(next).or_insert_with(|| {
                    queue.push_back(next);
                    node
                });
            }
        }
        let mut path = vec![start.index()];
        let mut at = start;
        while let Some(previous) = came_from.get(&at).copied() {
            path.push(previous.index());
            if previous == start {
                break;
            }
            at = previous;
        }
        path.reverse();
        CycleError(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The graph with an edge for each pair of letters: `ab` means that a comes before b.
    fn graph(edges: &str) -> Graph {
        let place = |letter: char| letter as usize - 'a' as usize;
        let last = edges.chars().filter(|c| c.is_alphabetic()).map(place).max();
        let mut graph = Graph::new(last.map_or(0, |last| last + 1));
        for edge in edges.split(' ') {
            let ends: Vec<char> = edge.chars().collect();
            graph.edge(place(ends[0]), place(ends[1]));
        }
        graph
    }

    fn letters(places: Vec<usize>) -> String {
        places.into_iter().map(|place| char::from(b'a' + u8::try_from(place).unwrap())).collect()
    }

    #[test]
    fn order_follows_edges_and_then_the_list() {
        assert_eq!(graph("ba ca dc").order().map(letters), Ok("bdca".to_owned()));
        assert_eq!(letters(graph("ba ca dc ba").before(0)), "bc");
        assert_eq!(graph("ba ca dc ba").order().map(letters), Ok("bdca".to_owned()));
    }

    #[test]
    fn cycle_is_reported_with_its_path() {
        let circle = |edges| letters(graph(edges).order().unwrap_err().0);
        assert_eq!(circle("ab bc cd db"), "bcdb");
        assert_eq!(circle("aa ab"), "aa");
    }

    #[test]
    fn edge_to_an_index_beyond_the_list_is_ignored() {
        let mut graph = Graph::new(1);
        graph.edge(0, 1);
        assert_eq!(graph.order(), Ok(vec![0]));
    }
}
