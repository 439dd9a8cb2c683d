//! Recovers a lost state from the ownership tags of what the spec names, and finds what left the spec before that.

use std::collections::BTreeSet;

use super::Engine;
use super::pipeline::{Compiled, Known, Resolved};
use crate::address::Address;
use crate::desired::Desired;
use crate::diff::{self, Recovered};
use crate::spec::Spec;
use crate::state::State;

impl Engine<'_> {
    /// Finds what is ours of what a spec names, and of what it does not name any more. `adopted` existed before it was
    /// managed, which tags do not tell.
    pub async fn recover(
        &self,
        spec: &Spec,
        compiled: &Compiled<Resolved>,
        known: &Known,
        adopted: &BTreeSet<Address>,
    ) -> Recovered {
        let (desired, state, kinds) = (&compiled.desired, &known.state, self.kinds());
        let nothing = || State::new(&state.project, state.lineage.clone());
        let snapshot = self.observe(desired, &nothing()).await;
        let mut found = diff::recover(desired, &snapshot, state, adopted, &kinds);
        let (tagged, unlisted) = self.tagged(spec).await;
        let orphans = diff::orphans(spec, desired, state, &tagged, &kinds);
        let as_if_known = State { resources: orphans.objects.clone(), ..nothing() };
        let snapshot = self.observe(&Desired::default(), &as_if_known).await;
        found.unlisted = unlisted;
        found.add_orphans(orphans, &snapshot, state, adopted, &kinds);
        found
    }
}
