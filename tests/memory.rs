//! The engine on an in-memory cloud.

#[path = "support/memory.rs"]
mod memory;
#[path = "support/run.rs"]
mod run;
#[path = "support/specs.rs"]
mod specs;

mod properties {
    use std::collections::{BTreeMap, BTreeSet};

    use bailiwick::access;
    use bailiwick::desired::Desired;
    use bailiwick::document::Document;
    use bailiwick::event::Outcome;
    use bailiwick::live::WriteError;
    use bailiwick::report::wire;
    use bailiwick::spec::Spec;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::memory::{Cloud, Cut, Id};
    use crate::run::{Project, name_of, spec, spec_of, steps};
    use crate::specs::{Chance, PROJECT, drafts, two_files, yaml};

    /// Runs a case with time that passes only when everybody waits.
    fn run(case: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(case);
    }

    fn cases(cases: u32) -> ProptestConfig {
        ProptestConfig { failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::with_cases(cases) }
    }

    fn project(seed: u64, prepared: &[&Spec]) -> Project {
        let cloud = Cloud::with_delays(seed);
        for spec in prepared {
            cloud.prepare(spec);
        }
        let mut project = Project::new(PROJECT, cloud);
        project.limits.steps = 1 + usize::try_from(seed % 8).unwrap();
        project
    }

    /// Everything that the spec asks for, compiled for a world.
    fn desired(project: &Project, spec: &Spec) -> Desired {
        let kinds = bailiwick::provider::kinds();
        let facts = project.cloud.facts(spec);
        let kinds = kinds.iter().map(AsRef::as_ref);
        let (desired, problems) = bailiwick::desired::build(spec, &facts, &access::lower(spec), kinds);
        assert_eq!(problems, []);
        desired
    }

    /// What of the world is claimed by what a spec asks for, by address.
    fn claimed(project: &Project, spec: &Spec) -> BTreeMap<String, Value> {
        let register = project.cloud.register();
        let session = bailiwick::session::Session::new(spec, bailiwick::session::Environment::default());
        let engine =
            bailiwick::engine::Engine { register: &register, session: &session, limits: project.limits, sink: &|_| {} };
        let desired = desired(project, spec);
        let state = bailiwick::state::State::new(PROJECT, bailiwick::state::Lineage::default());
        let snapshot = futures_util::FutureExt::now_or_never(engine.observe(&desired, &state));
        let snapshot = snapshot.expect("a world without delays answers at once");
        desired
            .resources
            .iter()
            .map(|(address, resource)| {
                let kind = engine.kind(address.kind().as_str()).unwrap();
                let shown = match snapshot.at(address) {
                    bailiwick::snapshot::Seen::Present { body, .. } => {
                        kind.claimed(&body, Some(&resource.wish.body), None).0
                    }
                    other => json!(format!("{other:?}")),
                };
                (address.to_string(), shown)
            })
            .collect()
    }

    proptest! {
        #![proptest_config(cases(48))]

        #[test]
        fn after_an_apply_there_is_nothing_to_do(draft in drafts(), seed in 1u64..1000) {
            let spec = spec(&draft.text());
            run(async {
                let project = project(seed, &[&spec]);
                let applied = project.apply_all(&spec).await;
                project.assert_order(&applied.plan);
                project.assert_settled(&spec).await;
            });
        }
    }
}

/// Cases by name.
mod cases {
    use crate::memory::Cloud;
    use crate::run::{Project, spec};

    /// One account, one bucket with more to say about it, nobody who reads it.
    fn bucket(more: &str) -> String {
        format!(
            "version: 1\nproject: p\naccounts: {{ a: {{ id: \"111111111111\", region: us-west-2 }} }}\n\
             buckets: {{ b: {{ account: a, name: acme-b, on_destroy: delete{more} }} }}\n"
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_bucket_has_the_empty_policy_that_an_exclusive_one_shall_have() {
        let spec = spec(&bucket(", policy: exclusive"));
        let project = Project::new("p", Cloud::new());
        project.apply_all(&spec).await;
        project.assert_settled(&spec).await;
        project.destroy(&spec).await;
        assert_eq!(project.cloud.world().ids().count(), 0);
    }
}
