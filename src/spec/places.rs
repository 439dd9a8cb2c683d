//! Finds the place of each entry in a spec by its path.

use std::collections::HashMap;
use std::sync::Arc;

use super::node::{Node, Value};
use crate::diagnostic::SourceRef;

/// The places of a spec's entries. Cheap to clone. The default contains none.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Option<Arc<SourceNode>>);

#[derive(Debug)]
struct SourceNode {
    source: SourceRef,
    inner: SourceChildren,
}

#[derive(Debug)]
enum SourceChildren {
    Scalar,
    StandIn,
    List(Vec<SourceNode>),
    /// The children by key, each with the place of its key.
    Map(HashMap<String, (SourceRef, SourceNode)>),
}

impl Places {
    /// Extracts the places of a tree and consumes it.
    pub(super) fn of(tree: Node) -> Self {
        Self(Some(Arc::new(SourceNode::of(tree))))
    }

    /// The place of an entry: the key of the deepest part of the path that is in a file. With `value`, the place of the
    /// value if it is a scalar.
    pub(super) fn find(&self, path: &[&str], value: bool) -> Option<SourceRef> {
        let mut place: &SourceNode = self.0.as_deref()?;
        let mut found = &place.source;
        for step in path {
            let Some((key, child)) = place.child(step) else { break };
            found = match key {
                Some(key) if !(value && matches!(child.inner, SourceChildren::Scalar | SourceChildren::StandIn)) => key,
                _ => &child.source,
            };
            place = child;
        }
        Some(found.clone())
    }

    /// The keys of the map at a path; `None` if there is no map.
    pub(super) fn keys(&self, path: &[&str]) -> Option<Vec<&str>> {
        let mut place: &SourceNode = self.0.as_deref()?;
        for step in path {
            place = place.child(step)?.1;
        }
        match &place.inner {
            SourceChildren::Map(entries) => Some(entries.keys().map(String::as_str).collect()),
            SourceChildren::List(_) | SourceChildren::Scalar | SourceChildren::StandIn => None,
        }
    }

    /// Whether a path leads to a stand-in, or to a map or list that has one: the problem there is reported already.
    pub(super) fn is_stand_in(&self, path: &[&str]) -> bool {
        let Some(mut place) = self.0.as_deref() else { return false };
        for step in path {
            let Some((_, child)) = place.child(step) else { break };
            place = child;
        }
        let is_one = |place: &SourceNode| matches!(place.inner, SourceChildren::StandIn);
        match &place.inner {
            SourceChildren::StandIn => true,
            SourceChildren::Scalar => false,
            SourceChildren::List(children) => children.iter().any(is_one),
            SourceChildren::Map(children) => children.values().any(|(_, child)| is_one(child)),
        }
    }

    /// The number of leading steps of a path that exist in a file.
    pub(super) fn depth(&self, path: &[&str]) -> usize {
        let Some(mut place) = self.0.as_deref() else { return 0 };
        for (depth, step) in path.iter().enumerate() {
            let Some((_, child)) = place.child(step) else { return depth };
            place = child;
        }
        path.len()
    }

    /// Whether a place is in an entry or below it.
    pub(super) fn holds(&self, path: &[&str], source: &SourceRef) -> bool {
        let Some(mut place) = self.0.as_deref() else { return false };
        let mut key = None;
        for step in path {
            let Some((found, child)) = place.child(step) else { return false };
            (key, place) = (found, child);
        }
        key == Some(source) || place.holds(source)
    }
}

impl SourceNode {
    fn of(node: Node) -> Self {
        let inner = match node.value {
            Value::Map(entries) => SourceChildren::Map(
                entries.into_iter().map(|(key, child)| (key.text, (key.source, Self::of(child)))).collect(),
            ),
            Value::List(nodes) => SourceChildren::List(nodes.into_iter().map(Self::of).collect()),
            Value::StandIn => SourceChildren::StandIn,
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } => {
                SourceChildren::Scalar
            }
        };
        Self { source: node.source, inner }
    }

    /// The child of a map by its key, or of a list by its index, with the place of the key.
    fn child(&self, step: &str) -> Option<(Option<&SourceRef>, &Self)> {
        match &self.inner {
            SourceChildren::Map(entries) => entries.get(step).map(|(key, child)| (Some(key), child)),
            SourceChildren::List(places) => places.get(step.parse::<usize>().ok()?).map(|child| (None, child)),
            SourceChildren::Scalar | SourceChildren::StandIn => None,
        }
    }

    /// Whether this node or a descendant is at a place.
    fn holds(&self, source: &SourceRef) -> bool {
        self.source == *source
            || match &self.inner {
                SourceChildren::Map(entries) => {
                    entries.values().any(|(key, child)| key == source || child.holds(source))
                }
                SourceChildren::List(places) => places.iter().any(|child| child.holds(source)),
                SourceChildren::Scalar | SourceChildren::StandIn => false,
            }
    }
}
