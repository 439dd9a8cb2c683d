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
    use bailiwick::event::Outcome;
    use bailiwick::live::WriteError;
    use bailiwick::report::wire;
    use bailiwick::spec::Spec;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use serde_json::{Value, json};

    use crate::memory::{Cloud, Cut, Id};
    use crate::run::{Project, name_of, spec, spec_of, steps};
    use crate::specs::{Chance, PROJECT, drafts, two_files, yaml};

    /// Runs a case with time that passes only when everybody waits.
    fn run<T>(case: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(case)
    }

    fn cases(cases: u32) -> ProptestConfig {
        // The same cases in every run; PROPTEST_RNG_SEED and PROPTEST_CASES try others.
        let rng_seed = match ProptestConfig::default().rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            chosen @ RngSeed::Fixed(_) => chosen,
        };
        let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases);
        ProptestConfig {
            failure_persistence: None,
            max_shrink_iters: 400,
            rng_seed,
            ..ProptestConfig::with_cases(cases)
        }
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
    async fn claimed(project: &Project, spec: &Spec) -> BTreeMap<String, Value> {
        let register = project.cloud.register();
        let session = bailiwick::session::Session::new(spec, bailiwick::session::Environment::default());
        let engine =
            bailiwick::engine::Engine { register: &register, session: &session, limits: project.limits, sink: &|_| {} };
        let desired = desired(project, spec);
        let state = bailiwick::state::State::new(PROJECT, bailiwick::state::Lineage::default());
        let snapshot = engine.observe(&desired, &state).await;
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
        #![proptest_config(cases(40))]

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

        #[test]
        fn destroy_leaves_nothing_of_ours_and_all_that_is_foreign(
            draft in drafts(), existing in any::<u64>(), seed in 1u64..1000,
        ) {
            let spec = spec(&draft.text());
            run(async {
                let project = project(seed, &[&spec]);
                let found = already_there(&project, &spec, existing);
                let before = project.cloud.world().dump();
                project.apply_all(&spec).await;
                let planted = plant(&project);
                let planned = project.plan(&spec).await.unwrap();
                prop_assert_eq!(steps(&planned.plan), Vec::<String>::new(), "what is foreign is no business of ours");
                let destroyed = project.destroy(&spec).await;
                project.assert_order(&destroyed.plan);
                let world = project.cloud.world();
                prop_assert_eq!(world.marked(), BTreeSet::new());
                prop_assert!(destroyed.state.resources.is_empty());
                let after = world.dump();
                for (id, body) in &before {
                    prop_assert!(after.contains_key(id), "{id} is gone, and was {body}");
                }
                for id in &found {
                    let body = world.show(id);
                    prop_assert!(body.to_string().contains("theirs"), "{id} lost what is foreign: {body}");
                }
                for (id, what) in &planted {
                    if let Some(body) = after.get(&id.to_string()) {
                        prop_assert!(body.to_string().contains(what), "{id} lost {what}: {body}");
                    }
                }
                // What else is left holds data, or is the policy of such a thing.
                for id in after.keys().filter(|id| !before.contains_key(*id)) {
                    let holds_data = ["aws.s3.bucket", "aws.kms.key"].iter().any(|kind| id.starts_with(kind));
                    prop_assert!(holds_data, "{id} is left");
                }
                Ok(())
            })?;
        }

        #[test]
        fn the_same_spec_gives_the_same_plan_however_it_is_written(
            before in drafts(), draft in drafts(), seed in 1u64..u64::MAX,
        ) {
            let tree = draft.value();
            let mut chance = Chance(seed);
            let one = spec(&draft.text());
            let other = spec(&yaml(&tree, &mut chance));
            let [left, right] = two_files(&tree, &mut chance);
            let divided = spec_of(&[("left.yaml", &left), ("right.yaml", &right)]);
            let turned = spec_of(&[("right.yaml", &right), ("left.yaml", &left)]);
            let before = spec(&before.text());
            run(async {
                let project = project(1, &[&before, &one]);
                project.apply_all(&before).await;
                let expected = plan_json(&project, &one).await?;
                for spec in [&other, &divided, &turned] {
                    prop_assert_eq!(spec.digest(), one.digest());
                    prop_assert_eq!(&plan_json(&project, spec).await?, &expected);
                }
                Ok(())
            })?;
        }

        #[test]
        fn a_failed_step_skips_what_waits_for_it_and_the_next_apply_does_the_rest(
            draft in drafts(), which in any::<prop::sample::Index>(), certain: bool, seed in 1u64..1000,
        ) {
            let spec = spec(&draft.text());
            run(async {
                let project = project(seed, &[&spec]);
                let planned = project.plan(&spec).await.unwrap();
                prop_assume!(!planned.plan.is_empty());
                let failing = &planned.plan.steps[which.index(planned.plan.steps.len())];
                let address = failing.name.address.to_string();
                let (what, why) = ("write it".to_owned(), "it is Tuesday".to_owned());
                project.cloud.fail_write(
                    &address,
                    if certain { WriteError::Denied { what, why } } else { WriteError::Failed { what, why } },
                );
                // What waits for it, step by step.
                let mut behind = BTreeSet::from([failing.name.clone()]);
                for step in &planned.plan.steps {
                    if step.waits_for.iter().any(|w| behind.contains(w)) {
                        behind.insert(step.name.clone());
                    }
                }
                let behind: BTreeSet<String> = behind.iter().map(name_of).collect();
                let applied = project.apply(&spec).await;
                project.assert_order(&applied.plan);
                let undone = applied.undone();
                prop_assert_eq!(undone.keys().cloned().collect::<BTreeSet<_>>(), behind.clone());
                for (name, outcome) in &undone {
                    let skipped = matches!(outcome, Outcome::Skipped { because } if because.to_string() == address);
                    prop_assert!(skipped || *name == address, "{name}: {outcome:?}");
                }
                project.cloud.mend();
                let rest = project.apply_all(&spec).await;
                prop_assert_eq!(rest.plan.steps.iter().map(|s| name_of(&s.name)).collect::<BTreeSet<_>>(), behind);
                project.assert_order(&rest.plan);
                project.assert_settled(&spec).await;
                Ok(())
            })?;
        }

        #[test]
        fn after_a_kill_the_next_run_goes_on(
            first in drafts(), second in drafts(), at in 1usize..12, after_call: bool, seed in 1u64..1000,
        ) {
            let (first, second) = (spec(&first.text()), spec(&second.text()));
            run(async {
                let project = project(seed, &[&first, &second]);
                for spec in [&first, &second] {
                    let cut = if after_call { Cut::AfterCall } else { Cut::BeforeCall };
                    let killed = project.cloud.kill_at(at, cut);
                    if project.apply_until_killed(spec, &killed).await {
                        prop_assert!(project.backend.journalled() > 0);
                    }
                    project.cloud.mend();
                    project.heard();
                    let applied = project.apply_all(spec).await;
                    project.assert_order(&applied.plan);
                    project.assert_settled(spec).await;
                }
                project.destroy(&second).await;
                prop_assert_eq!(project.cloud.world().marked(), BTreeSet::new());
                Ok(())
            })?;
        }

        #[test]
        fn after_a_stop_the_next_run_goes_on(
            first in drafts(), second in drafts(), at in 0usize..12, seed in 1u64..1000,
        ) {
            let (first, second) = (spec(&first.text()), spec(&second.text()));
            run(async {
                let project = project(seed, &[&first, &second]);
                for spec in [&first, &second] {
                    let stop = project.cloud.stop_after(at);
                    let applied = project.apply_until(spec, stop).await;
                    project.assert_order(&applied.plan);
                    let undone: BTreeSet<String> = applied.undone().keys().map(|name| address_of(name)).collect();
                    for (name, outcome) in applied.undone() {
                        prop_assert_eq!(outcome, &Outcome::Interrupted, "{}", name);
                    }
                    project.cloud.mend();
                    let rest = project.apply_all(spec).await;
                    let rest_of: BTreeSet<String> = rest.plan.steps.iter().map(|s| s.name.address.to_string()).collect();
                    prop_assert_eq!(rest_of, undone);
                    project.assert_order(&rest.plan);
                    project.assert_settled(spec).await;
                }
                Ok(())
            })?;
        }

        #[test]
        fn going_from_one_spec_to_another_gives_the_world_of_the_other(
            first in drafts(), second in drafts(), seed in 1u64..1000,
        ) {
            let (first, second) = (spec(&first.text()), spec(&second.text()));
            run(async {
                let project_of = |seed| project(seed, &[&first, &second]);
                let changed = project_of(seed);
                changed.apply_all(&first).await;
                changed.heard();
                let applied = changed.apply_all(&second).await;
                changed.assert_order(&applied.plan);
                changed.assert_settled(&second).await;
                let scratch = project_of(1);
                scratch.apply_all(&second).await;
                prop_assert_eq!(claimed(&changed, &second).await, claimed(&scratch, &second).await);
                let (changed, scratch) = (changed.cloud.world(), scratch.cloud.world());
                prop_assert_eq!(changed.marked(), scratch.marked());
                let (changed, scratch) = (changed.dump(), scratch.dump());
                for id in scratch.keys() {
                    prop_assert!(changed.contains_key(id), "{id} is missing");
                }
                for id in changed.keys().filter(|id| !scratch.contains_key(*id)) {
                    let holds_data = ["aws.s3.bucket", "aws.kms.key"].iter().any(|kind| id.starts_with(kind));
                    prop_assert!(holds_data, "{id} is left over");
                }
                Ok(())
            })?;
        }
    }

    /// What a step's name is about, whichever half of a replacement it is.
    fn address_of(step: &str) -> String {
        step.split('#').next().unwrap_or_default().to_owned()
    }

    /// The published plan without the places in the files.
    async fn plan_json(project: &Project, spec: &Spec) -> Result<String, TestCaseError> {
        let planned = project.plan(spec).await.map_err(|errors| TestCaseError::fail(errors.join("\n")))?;
        let plan = wire::plan(&planned.plan, &planned.changes(spec), &planned.findings, wire::WireRequests::default());
        let mut json = serde_json::to_value(plan).unwrap();
        for list in ["steps", "findings"] {
            for entry in json[list].as_array_mut().unwrap() {
                entry.as_object_mut().unwrap().remove("source");
            }
        }
        // Findings stand in the order of their places.
        json["findings"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        Ok(json.to_string())
    }

    /// Somebody made some of what the spec asks for before, with settings of their own.
    fn already_there(project: &Project, spec: &Spec, chosen: u64) -> Vec<Id> {
        let desired = desired(project, spec);
        let mut world = project.cloud.world();
        let fields: BTreeMap<&str, &[&str]> = BTreeMap::from([
            ("aws.iam.role", ["path"].as_slice()),
            ("aws.iam.policy", &["path"]),
            ("aws.iam.oidc_provider", &["url"]),
            ("aws.s3.bucket", &["region"]),
            ("aws.kms.key", &[]),
            ("aws.eks.addon", &["cluster", "name"]),
            ("kubernetes.namespace", &[]),
            ("kubernetes.service_account", &[]),
        ]);
        let mut found = Vec::new();
        for (n, (address, resource)) in desired.resources.iter().enumerate() {
            let Some(kept) = fields.get(address.kind().as_str()) else { continue };
            // A role that is released keeps its boundary, which then cannot be deleted.
            let bound = resource.wish.body.0.get("permissions_boundary").is_some();
            if bound || chosen >> (n % 64) & 1 == 0 {
                continue;
            }
            let mut body = json!({ "tags": { "made-by": "theirs" } });
            if address.kind().as_str().starts_with("kubernetes.") {
                body = json!({ "labels": { "made-by": "theirs" } });
            }
            for field in *kept {
                body[*field] = resource.wish.body.0[*field].clone();
            }
            if address.kind().as_str() == "aws.iam.policy" {
                body["document"] = json!({"Version": "2012-10-17", "Statement": []});
            }
            let id = Id::new(address.kind().as_str(), &resource.wish.scope, &resource.wish.physical_id);
            // What the spec relies on was made before.
            if world.ids().any(|other| *other == id) {
                continue;
            }
            if let Some((namespace, _)) = id.name.split_once('/').filter(|_| id.kind == "kubernetes.service_account") {
                let home = Id { kind: "kubernetes.namespace".into(), name: namespace.into(), ..id.clone() };
                world.have(home, &json!({}));
            }
            world.have(id.clone(), &body);
            found.push(id);
        }
        found
    }

    /// Others write beside us, where they may.
    fn plant(project: &Project) -> Vec<(Id, &'static str)> {
        let mut world = project.cloud.world();
        let ids: Vec<Id> = world.ids().cloned().collect();
        let exclusive = project.backend.exclusive();
        let mut planted = Vec::new();
        for id in ids {
            let name = id.name.clone();
            match id.kind.as_str() {
                "aws.s3.bucket_policy" | "aws.kms.key_policy" if !exclusive.contains(&name) => {
                    let statement = json!({"Sid": "Planted", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
                        "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}});
                    world.add_statement(&id, statement);
                }
                "aws.iam.role" | "aws.iam.policy" | "aws.s3.bucket" | "aws.kms.key" => {
                    world.edit(&id, |body| body["tags"]["planted"] = "Planted".into());
                }
                "aws.iam.oidc_provider" => {
                    world.edit(&id, |body| body["client_ids"]["Planted"] = true.into());
                }
                _ => continue,
            }
            planted.push((id, "Planted"));
        }
        planted
    }
}

/// Cases by name.
mod cases {
    use serde_json::json;

    use crate::memory::{Cloud, Cut, Id};
    use crate::run::{Project, spec};

    /// One account, one bucket with more to say about it, nobody who reads it.
    fn bucket(more: &str) -> String {
        format!(
            "version: 1\nproject: p\naccounts: {{ a: {{ id: \"111111111111\", region: us-west-2 }} }}\n\
             buckets: {{ b: {{ account: a, name: acme-b, on_destroy: delete{more} }} }}\n"
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_setting_that_the_spec_no_longer_names_goes_back_to_its_default() {
        let all = format!(
            "{}keys:\n  k: {{ account: a, alias: k, managed: true, rotation: true, description: mine }}\n\
             roles:\n  r: {{ account: a, name: r, trust: [{{ service: ec2.amazonaws.com }}], description: mine, \
             max_session_duration: 7200 }}\n",
            bucket(
                ", versioning: true, ownership: object_writer, encryption: { kms_key: k }, \
                 lifecycle: [{ id: old, expire_days: 3 }]"
            )
        );
        let none = format!(
            "{}keys:\n  k: {{ account: a, alias: k, managed: true }}\n\
             roles:\n  r: {{ account: a, name: r, trust: [{{ service: ec2.amazonaws.com }}] }}\n",
            bucket("")
        );
        let project = Project::new("p", Cloud::new());
        project.apply_all(&spec(&all)).await;
        let reset = spec(&none);
        assert_eq!(
            project.apply_all(&reset).await.steps(),
            ["update aws.iam.role.r", "update aws.kms.key.k", "update aws.s3.bucket.b"]
        );
        project.assert_settled(&reset).await;
        let world = project.cloud.world();
        let bucket = world.show(&world.find("aws.s3.bucket", "acme-b"));
        assert_eq!((&bucket["versioning"], &bucket["encryption"]["sse"]), (&false.into(), &"AES256".into()));
        assert_eq!(world.show(&world.find("aws.iam.role", "r"))["max_session_duration"], 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_gone_as_soon_as_its_deletion_is_scheduled() {
        let key = "keys:\n  k: { account: a, alias: k, managed: true, on_destroy: delete }\n";
        let with = spec(&format!("{}{key}", bucket("")));
        let project = Project::new("p", Cloud::new());
        project.apply_all(&with).await;
        let without = spec(&bucket(""));
        assert_eq!(project.apply_all(&without).await.steps(), ["delete aws.kms.key.k"]);
        project.assert_settled(&without).await;
        // Who wants it again gets it back.
        assert_eq!(project.apply_all(&with).await.steps(), ["update aws.kms.key.k"]);
        project.assert_settled(&with).await;
        let world = project.cloud.world();
        assert_eq!(world.show(&world.find("aws.kms.key", "alias/k"))["state"], "Enabled");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_being_adopted_when_the_run_was_killed_is_still_somebody_else_s() {
        let spec = spec(&bucket(""));
        let project = Project::new("p", Cloud::new());
        let id = Id { kind: "aws.s3.bucket".into(), place: "111111111111".into(), name: "acme-b".into() };
        project.cloud.world().have(id.clone(), &json!({ "region": "us-west-2" }));
        let killed = project.cloud.kill_at(1, Cut::AfterCall);
        assert!(project.apply_until_killed(&spec, &killed).await);
        assert_eq!(project.apply_all(&spec).await.steps(), ["adopt aws.s3.bucket.b"]);
        project.destroy(&spec).await;
        assert_eq!(project.cloud.world().show(&id)["tags"], json!({}));
    }

    #[tokio::test(start_paused = true)]
    async fn two_clusters_of_one_region_have_providers_of_their_own_before_anything_is_read() {
        let spec = spec(
            "version: 1\nproject: p\naccounts: { a: { id: \"111111111111\", region: us-west-2 } }\n\
             clusters:\n  c: { account: a, name: c, identity: irsa }\n  d: { account: a, name: d, identity: irsa }\n\
             buckets: { b: { account: a, name: acme-b } }\n\
             service_accounts:\n  x: { cluster: c, namespace: n, name: x }\n  y: { cluster: d, namespace: n, name: y }\n\
             grants:\n  - { to: x, bucket: b, prefix: m/, access: read }\n  - { to: y, bucket: b, prefix: m/, access: read }\n",
        );
        let project = Project::new("p", Cloud::new());
        project.cloud.prepare(&spec);
        let applied = project.apply_all(&spec).await;
        let providers = applied.steps().iter().filter(|s| s.contains("oidc_provider")).count();
        assert_eq!(providers, 2);
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
