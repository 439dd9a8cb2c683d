//! Recovers a lost state from ownership tags, including resources that are no longer in the spec.

use std::collections::BTreeSet;

use super::Engine;
use super::pipeline::{Compiled, Known, Resolved};
use crate::address::Address;
use crate::desired::Desired;
use crate::diff::{self, Recovered};
use crate::spec::Spec;
use crate::state::State;

impl Engine<'_> {
    /// Finds the resources that the project owns, whether the spec still names them or not. `adopted` lists those that
    /// existed before the project, which tags do not show.
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
