//! Orders addresses by dependency; explains cycles.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::{DiGraph, NodeIndex};

/// A dependency graph over anything that has an order; `K` is an address or a step's name.
#[derive(Clone, Debug, Default)]
pub struct Graph<K: Ord + Clone> {
    graph: DiGraph<K, ()>,
    index: BTreeMap<K, NodeIndex>,
}

/// Things that wait for each other in a circle. The first one stands again at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleError<K>(pub Vec<K>);

impl<K: Ord + Clone> Graph<K> {
    /// A graph without edges.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = K>) -> Self {
        let mut built = Self { graph: DiGraph::new(), index: BTreeMap::new() };
        for node in nodes {
            built.node(node);
        }
        built
    }

    fn node(&mut self, key: K) -> NodeIndex {
        if let Some(found) = self.index.get(&key) {
            *found
        } else {
            let added = self.graph.add_node(key.clone());
            self.index.insert(key, added);
            added
        }
    }

    /// Says that `first` comes before `then`. Names that are not nodes are left out.
    pub fn edge(&mut self, first: &K, then: &K) {
        if let (Some(a), Some(b)) = (self.index.get(first), self.index.get(then)) {
            self.graph.update_edge(*a, *b, ());
        }
    }

    /// What a node waits for directly, in order.
    #[must_use]
    pub fn before(&self, key: &K) -> Vec<K> {
        let Some(at) = self.index.get(key) else { return Vec::new() };
        let mut found: Vec<K> = self
            .graph
            .neighbors_directed(*at, petgraph::Direction::Incoming)
            .filter_map(|n| self.graph.node_weight(n).cloned())
            .collect();
        found.sort();
        found
    }

    /// All nodes such that each comes after what it waits for; among the free ones the smallest first.
    ///
    /// # Errors
    /// A circle, if there is one.
    pub fn order(&self) -> Result<Vec<K>, CycleError<K>> {
        let mut waiting: BTreeMap<NodeIndex, usize> = BTreeMap::new();
        let mut free: BTreeSet<(K, NodeIndex)> = BTreeSet::new();
        for (key, node) in &self.index {
            let n = self.graph.neighbors_directed(*node, petgraph::Direction::Incoming).count();
            if n == 0 {
                free.insert((key.clone(), *node));
            } else {
                waiting.insert(*node, n);
            }
        }
        let mut order = Vec::with_capacity(self.index.len());
        while let Some((key, node)) = free.pop_first() {
            order.push(key);
            for next in self.graph.neighbors(node) {
                if let Some(n) = waiting.get_mut(&next) {
                    *n -= 1;
                    if *n == 0 {
                        waiting.remove(&next);
                        if let Some(key) = self.graph.node_weight(next) {
                            free.insert((key.clone(), next));
                        }
                    }
                }
            }
        }
        if waiting.is_empty() { Ok(order) } else { Err(self.cycle()) }
    }

    /// A shortest circle through the smallest node that is in one.
    fn cycle(&self) -> CycleError<K> {
        let mut looped: Vec<NodeIndex> = petgraph::algo::tarjan_scc(&self.graph)
            .into_iter()
            .filter(|c| c.len() > 1 || c.first().is_some_and(|n| self.graph.contains_edge(*n, *n)))
            .flatten()
            .collect();
        looped.sort_by_key(|n| self.graph.node_weight(*n).cloned());
        let Some(start) = looped.first().copied() else { return CycleError(Vec::new()) };
        let mut came_from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
        let mut queue = std::collections::VecDeque::from([start]);
        'search: while let Some(node) = queue.pop_front() {
            for next in self.graph.neighbors(node) {
                if next == start {
                    came_from.insert(start, node);
                    break 'search;
                }
                if next != start && !came_from.contains_key(&next) {
                    came_from.insert(next, node);
                    queue.push_back(next);
                }
            }
        }
        let mut path = vec![start];
        let mut at = start;
        while let Some(previous) = came_from.get(&at).copied() {
            path.push(previous);
            if previous == start {
                break;
            }
            at = previous;
        }
        path.reverse();
        CycleError(path.into_iter().filter_map(|n| self.graph.node_weight(n).cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &str) -> Graph<char> {
        let mut graph = Graph::new(edges.chars().filter(|c| c.is_alphabetic()));
        for edge in edges.split(' ') {
            let ends: Vec<char> = edge.chars().collect();
            graph.edge(&ends[0], &ends[1]);
        }
        graph
    }

    #[test]
    fn order_follows_edges_and_then_names() {
        assert_eq!(graph("ba ca dc").order().map(String::from_iter), Ok("bdca".to_owned()));
        assert_eq!(graph("ba ca dc").before(&'a'), ['b', 'c']);
    }

    #[test]
    fn a_cycle_is_told_with_its_path() {
        assert_eq!(graph("ab bc cd db").order(), Err(CycleError(vec!['b', 'c', 'd', 'b'])));
        assert_eq!(graph("aa ab").order(), Err(CycleError(vec!['a', 'a'])));
    }
}
