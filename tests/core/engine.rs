//! The engine on an in-memory cloud.

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
    use crate::run::{Project, name_of, plant, spec, spec_of, steps};
    use crate::specs::{Chance, PROJECT, drafts, two_files, yaml};

    /// Runs a case on paused time, which advances only when every task waits.
    fn run<T>(case: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(case)
    }

    fn cases(cases: u32) -> ProptestConfig {
        // The same cases in every run; PROPTEST_RNG_SEED and PROPTEST_CASES choose others.
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

    /// The desired resources of a spec, compiled for a world.
    fn desired(project: &Project, spec: &Spec) -> Desired {
        let kinds = bailiwick::provider::kinds();
        let facts = project.cloud.facts(spec);
        let (desired, problems) = bailiwick::desired::build(spec, &facts, &access::lower(spec), &kinds);
        assert_eq!(problems, []);
        desired
    }

    /// The managed fields of a spec's live resources, by address.
    async fn managed_fields(project: &Project, spec: &Spec) -> BTreeMap<String, Value> {
        let register = project.cloud.register();
        let session = bailiwick::session::Session::new(spec, bailiwick::session::Environment::default());
        let engine = bailiwick::engine::Engine {
            register: &register,
            providers: &[],
            session: &session,
            limits: project.limits,
            sink: &|_| {},
        };
        let desired = desired(project, spec);
        let state = bailiwick::state::State::new(PROJECT, bailiwick::state::Lineage::default());
        let snapshot = engine.observe(&desired, &state).await;
        desired
            .resources
            .iter()
            .map(|(address, resource)| {
                let kind = engine.kinds().get(address.kind()).unwrap();
                let shown = match snapshot.at(address) {
                    bailiwick::snapshot::Seen::Present { body, .. } => {
                        kind.managed_fields(&body, Some(&resource.body), None).tree()
                    }
                    other => json!(format!("{other:?}")),
                };
                (address.to_string(), shown)
            })
            .collect()
    }

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn plan_after_apply_is_empty(draft in drafts(), seed in 1u64..1000) {
            let spec = spec(&draft.text());
            run(async {
                let project = project(seed, &[&spec]);
                let applied = project.apply_all(&spec).await;
                project.assert_order(&applied.plan);
                project.assert_converged(&spec).await;
            });
        }

        #[test]
        fn destroy_removes_all_own_resources_and_keeps_foreign_ones(
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
                prop_assert_eq!(steps(planned.plan()), Vec::<String>::new(), "what is foreign is no business of ours");
                let destroyed = project.destroy(&spec).await;
                project.assert_order(&destroyed.plan);
                let world = project.cloud.world();
                prop_assert_eq!(world.tagged(), BTreeSet::new());
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
                // The only other resources left hold data, or are the policy of one that does.
                for id in after.keys().filter(|id| !before.contains_key(*id)) {
                    let holds_data = ["aws.s3.bucket", "aws.kms.key"].iter().any(|kind| id.starts_with(kind));
                    prop_assert!(holds_data, "{id} is left");
                }
                Ok(())
            })?;
        }

        #[test]
        fn equal_specs_give_equal_plans_regardless_of_layout(
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
        fn failed_step_skips_its_dependents_and_the_next_apply_completes_them(
            draft in drafts(), which in any::<prop::sample::Index>(), certain: bool, seed in 1u64..1000,
        ) {
            let spec = spec(&draft.text());
            run(async {
                let project = project(seed, &[&spec]);
                let planned = project.plan(&spec).await.unwrap();
                prop_assume!(!planned.plan().is_empty());
                let failing = &planned.plan().steps[which.index(planned.plan().steps.len())];
                let address = failing.address().to_string();
                let (what, why) = ("write it".to_owned(), "it is Tuesday".to_owned());
                project.cloud.fail_write(
                    &address,
                    if certain { WriteError::Denied { what, why } } else { WriteError::Failed { what, why } },
                );
                // The dependents of the failing step, step by step.
                let mut behind = BTreeSet::from([failing.id().clone()]);
                for step in &planned.plan().steps {
                    if step.waits_for.iter().any(|w| behind.contains(w)) {
                        behind.insert(step.id().clone());
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
                project.cloud.clear_faults();
                let rest = project.apply_all(&spec).await;
                prop_assert_eq!(rest.plan.steps.iter().map(|s| name_of(s.id())).collect::<BTreeSet<_>>(), behind);
                project.assert_order(&rest.plan);
                project.assert_converged(&spec).await;
                Ok(())
            })?;
        }

        #[test]
        fn next_run_continues_after_a_kill(
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
                    project.cloud.clear_faults();
                    let _ = project.heard();
                    let applied = project.apply_all(spec).await;
                    project.assert_order(&applied.plan);
                    project.assert_converged(spec).await;
                }
                project.destroy(&second).await;
                prop_assert_eq!(left_marked(&project, &second), BTreeSet::new());
                Ok(())
            })?;
        }

        #[test]
        fn next_run_continues_after_an_interrupt(
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
                    project.cloud.clear_faults();
                    let rest = project.apply_all(spec).await;
                    let rest_of: BTreeSet<String> = rest.plan.steps.iter().map(|s| s.address().to_string()).collect();
                    prop_assert_eq!(rest_of, undone);
                    project.assert_order(&rest.plan);
                    project.assert_converged(spec).await;
                }
                Ok(())
            })?;
        }

        #[test]
        fn changed_spec_gives_the_same_world_as_a_first_apply(
            first in drafts(), second in drafts(), seed in 1u64..1000,
        ) {
            let (first, second) = (spec(&first.text()), spec(&second.text()));
            run(async {
                let project_of = |seed| project(seed, &[&first, &second]);
                let changed = project_of(seed);
                changed.apply_all(&first).await;
                let _ = changed.heard();
                let applied = changed.apply_all(&second).await;
                changed.assert_order(&applied.plan);
                changed.assert_converged(&second).await;
                let scratch = project_of(1);
                scratch.apply_all(&second).await;
                prop_assert_eq!(managed_fields(&changed, &second).await, managed_fields(&scratch, &second).await);
                prop_assert_eq!(left_marked(&changed, &second), left_marked(&scratch, &second));
                let (changed, scratch) = (changed.cloud.world(), scratch.cloud.world());
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

    /// Everything with an ownership mark of the project, except what the spec hands over: own statements in the policy
    /// of a bucket that is now managed elsewhere stay, so that no access is lost before its new owner grants it.
    fn left_marked(project: &Project, spec: &Spec) -> BTreeSet<String> {
        let handed_over = |id: &str| {
            let mut buckets = spec.buckets.values().filter(|b| !b.managed);
            buckets.any(|b| id == format!("aws.s3.bucket_policy {} in {}", b.name, spec.accounts[&b.account].id))
        };
        project.cloud.world().tagged().into_iter().filter(|id| !handed_over(id)).collect()
    }

    /// The address in a step's name, for either half of a replacement.
    fn address_of(step: &str) -> String {
        step.split('#').next().unwrap_or_default().to_owned()
    }

    /// The published plan without source positions.
    async fn plan_json(project: &Project, spec: &Spec) -> Result<String, TestCaseError> {
        let planned = project.plan(spec).await.map_err(|errors| TestCaseError::fail(errors.join("\n")))?;
        let changes = crate::run::changes(&planned);
        let learned =
            wire::PlanDetails { changes: &changes, findings: planned.findings(), ..wire::PlanDetails::default() };
        let plan = wire::plan(planned.plan(), learned);
        let mut json = serde_json::to_value(plan).unwrap();
        for list in ["steps", "findings"] {
            for entry in json[list].as_array_mut().unwrap() {
                for position in ["source", "file", "line", "column", "end"] {
                    entry.as_object_mut().unwrap().remove(position);
                }
            }
        }
        // Findings are sorted by place.
        json["findings"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        Ok(json.to_string())
    }

    /// Creates some of the desired resources beforehand, with foreign settings.
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
            // A released role keeps its boundary, which then cannot be deleted.
            let bound = resource.body.tree().get("permissions_boundary").is_some();
            if bound || chosen >> (n % 64) & 1 == 0 {
                continue;
            }
            let mut body = json!({ "tags": { "made-by": "theirs" } });
            if address.kind().as_str().starts_with("kubernetes.") {
                body = json!({ "labels": { "made-by": "theirs" } });
            }
            for field in *kept {
                body[*field] = resource.body.tree()[*field].clone();
            }
            if address.kind().as_str() == "aws.iam.policy" {
                body["document"] = json!({"Version": "2012-10-17", "Statement": []});
            }
            let id = world.id(address.kind().as_str(), &resource.scope, &resource.physical_id);
            // Skip what `prepare` created because the spec relies on it.
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
}

/// Cases by name.
mod cases {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use bailiwick::access::{self, AccessTarget, AccessVerdict, Unread};
    use bailiwick::address::Address;
    use bailiwick::backend::{Backend, BackendError, FileBackend, LockInfo};
    use bailiwick::diff::DriftClass;
    use bailiwick::engine::{Planned, Stopped};
    use bailiwick::event::{Event, FailureKind, Outcome};
    use bailiwick::live::WriteError;
    use bailiwick::plan::{ActionKind, Guard, PlanFile, PlanFileError, Reason, guard};
    use serde_json::{Value, json};

    use crate::memory::{Cloud, Cut, Id, World};
    use crate::run::{Applied, MemoryBackend, Project, SERVING, name_of, spec, steps};

    async fn applied(text: &str) -> Project {
        let project = Project::new("p", Cloud::new());
        let spec = spec(text);
        project.cloud.prepare(&spec);
        project.apply_all(&spec).await;
        project
    }

    fn id(project: &Project, kind: &str, name: &str) -> Id {
        project.cloud.world().find(kind, name)
    }

    fn show(project: &Project, kind: &str, name: &str) -> Value {
        let world = project.cloud.world();
        world.show(&world.find(kind, name))
    }

    async fn plan(project: &Project, text: &str) -> Planned {
        project.plan(&spec(text)).await.unwrap()
    }

    async fn drift(project: &Project, text: &str) -> Vec<(String, DriftClass)> {
        project.drift(&spec(text)).await.iter().map(|d| (d.address.to_string(), d.class)).collect()
    }

    fn foreign_statement() -> Value {
        json!({"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}})
    }

    #[tokio::test(start_paused = true)]
    async fn renamed_account_key_changes_no_access_of_others() {
        let project = applied(SERVING).await;
        let theirs = json!({"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::333333333333:root"},
            "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme-weights/*"});
        {
            let mut world = project.cloud.world();
            let policy = world.find("aws.s3.bucket_policy", "acme-weights");
            world.add_statement(&policy, theirs);
        }
        let renamed = SERVING.replace("models: { id", "data: { id").replace("account: models", "account: data");
        let planned = plan(&project, &renamed.replace("prefix: m/", "prefix: n/")).await;
        let losers: Vec<String> =
            planned.changes().iter().map(|change| format!("{:?} {:?}", change.change, change.who)).collect();
        assert!(!losers.is_empty() && losers.iter().all(|row| !row.contains("333333333333")), "{losers:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn denied_read_is_not_taken_for_absent() {
        let spec = spec(SERVING);
        let project = Project::new("p", Cloud::new());
        for denied in ["aws.iam.role.loader", "aws.s3.bucket_policy.weights", "kubernetes.service_account.loader"] {
            project.cloud.deny_read(denied);
            let errors = project.plan(&spec).await.err().unwrap();
            assert_eq!(errors, [format!("{denied}: not allowed to read {denied}: 403: AccessDenied")]);
            project.cloud.clear_faults();
        }
        // Owned resources that cannot be read are not deleted either.
        project.apply_all(&spec).await;
        project.cloud.deny_read("aws.iam.role.loader");
        assert!(project.plan(&spec.emptied()).await.is_err());
        let planned = {
            project.cloud.clear_faults();
            project.plan(&spec.emptied()).await.unwrap()
        };
        let writes = project.cloud.world().counts().writes;
        project.cloud.deny_read("kubernetes.service_account.loader");
        let done = project.execute(&spec, planned, tokio::sync::watch::channel(false).1).await.unwrap();
        let why = match done.undone().get("kubernetes.service_account.loader") {
            Some(Outcome::Failed { why, certain: true, .. }) => why.clone(),
            other => panic!("{other:?}"),
        };
        assert!(why.starts_with("cannot read it again: not allowed to read"), "{why}");
        assert!(project.cloud.world().has("kubernetes.service_account", "kserve/loader"));
        assert!(project.cloud.world().counts().writes > writes, "the rest goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn live_bucket_policy_decides_even_without_own_statements() {
        let text = SERVING.replace("roles:", "  plain: { account: platform, name: acme-plain }\nroles:");
        let spec = spec(&format!("{text}  - {{ to: loader, bucket: plain, prefix: m/, access: read }}\n"));
        let project = Project::new("p", Cloud::new());
        project.cloud.prepare(&spec);
        project.apply_all(&spec).await;
        let place = AccessTarget::parse("s3://acme-plain/m/x").unwrap();
        // Whether the loader may read, whether anyone may, and what could not be read.
        let answers = async || {
            let world = project.live_world(&spec).await;
            let loader = world.can(&world.find("loader").unwrap(), "s3:GetObject", &place).unwrap();
            let all = world.who_can("s3:GetObject", &place).unwrap();
            (loader.verdict, all.verdict(), all.others)
        };
        assert_eq!(answers().await, (AccessVerdict::Allowed, AccessVerdict::Allowed, None));
        let policy = id(&project, "aws.s3.bucket_policy", "acme-plain");
        let statement = |effect: &str, principal: Value| json!({"Effect": effect, "Principal": principal, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme-plain/*"});
        let role = json!({"AWS": "arn:aws:iam::111111111111:role/kserve-loader"});
        project.cloud.world().add_statement(&policy, statement("Deny", role));
        assert_eq!(answers().await, (AccessVerdict::Denied, AccessVerdict::Denied, None));
        project.cloud.world().add_statement(&policy, statement("Allow", json!({"Service": "logs.amazonaws.com"})));
        assert_eq!(answers().await, (AccessVerdict::Denied, AccessVerdict::Allowed, None));
        project.cloud.deny_read("aws.s3.bucket_policy.plain");
        let unread = Unread::BucketPolicy { bucket: "acme-plain".into() };
        assert_eq!(answers().await, (AccessVerdict::Unknown, AccessVerdict::Unknown, Some(unread)));
    }

    #[tokio::test(start_paused = true)]
    async fn access_uses_the_whole_live_key_policy() {
        let spec = spec(SERVING);
        let project = applied(SERVING).await;
        let place = AccessTarget::parse("s3://acme-weights/m/x").unwrap();
        let world = project.live_world(&spec).await;
        let verdict =
            |world: &access::World| world.can(&world.find("loader").unwrap(), "s3:GetObject", &place).unwrap().verdict;
        assert_eq!(verdict(&world), AccessVerdict::Allowed);
        let policy = id(&project, "aws.kms.key_policy", "alias/model-weights");
        let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"});
        project.cloud.world().add_statement(&policy, deny);
        assert_eq!(verdict(&project.live_world(&spec).await), AccessVerdict::Denied);
    }

    #[tokio::test(start_paused = true)]
    async fn drift_of_each_document_is_reported_and_repaired() {
        let project = applied(SERVING).await;
        let edit = |kind: &str, name: &str, pointer: &str, value: Value| {
            let mut world = project.cloud.world();
            let id = world.find(kind, name);
            world.edit(&id, |body| *body.pointer_mut(pointer).unwrap() = value);
        };
        let cases: [(&str, &str, &str, &str, Value); 6] = [
            (
                "aws.s3.bucket_policy.weights",
                "aws.s3.bucket_policy",
                "acme-weights",
                "/Statement/0/Action",
                "s3:*".into(),
            ),
            (
                "aws.kms.key_policy.weights",
                "aws.kms.key_policy",
                "alias/model-weights",
                "/Statement/1/Action",
                "kms:*".into(),
            ),
            (
                "aws.iam.role.loader",
                "aws.iam.role",
                "kserve-loader",
                "/trust/Statement/0/Condition",
                json!({"StringLike": {"oidc:sub": "*"}}),
            ),
            (
                "aws.iam.role_policy.loader/bailiwick-access",
                "aws.iam.role_policy",
                "kserve-loader/bailiwick-access",
                "/document/Statement/0/Resource",
                "*".into(),
            ),
            (
                "kubernetes.service_account.loader",
                "kubernetes.service_account",
                "kserve/loader",
                "/annotations/eks.amazonaws.com~1role-arn",
                "arn:aws:iam::111111111111:role/other".into(),
            ),
            ("aws.s3.bucket.weights", "aws.s3.bucket", "acme-weights", "/public_access_block", false.into()),
        ];
        for (address, kind, name, pointer, value) in cases {
            edit(kind, name, pointer, value);
            let planned = plan(&project, SERVING).await;
            assert_eq!(drift(&project, SERVING).await, [(address.to_owned(), DriftClass::Access)]);
            assert_eq!(steps(planned.plan()), [format!("update {address}")]);
            assert_eq!(planned.plan().steps[0].reasons, [Reason::ChangedOutside]);
            project.apply_all(&spec(SERVING)).await;
            project.assert_converged(&spec(SERVING)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn deleted_own_statements_are_restored() {
        let project = applied(SERVING).await;
        {
            let mut world = project.cloud.world();
            let policy = world.find("aws.s3.bucket_policy", "acme-weights");
            world.edit(&policy, |body| body["Statement"] = json!([foreign_statement()]));
        }
        let planned = plan(&project, SERVING).await;
        assert_eq!(drift(&project, SERVING).await, [("aws.s3.bucket_policy.weights".to_owned(), DriftClass::Access)]);
        assert_eq!(steps(planned.plan()), ["create aws.s3.bucket_policy.weights"]);
        project.apply_all(&spec(SERVING)).await;
        project.assert_converged(&spec(SERVING)).await;
        assert_eq!(show(&project, "aws.s3.bucket_policy", "acme-weights")["Statement"][0], foreign_statement());
    }

    #[tokio::test(start_paused = true)]
    async fn foreign_statements_survive_apply_update_and_destroy() {
        let spec_of = |prefix: &str| spec(&SERVING.replace("prefix: m/", &format!("prefix: {prefix}")));
        let project = Project::new("p", Cloud::new());
        let bucket = Id { kind: "aws.s3.bucket".into(), place: "222222222222".into(), name: "acme-weights".into() };
        {
            let mut world = project.cloud.world();
            world.have(bucket, &json!({ "region": "us-west-2", "tags": { "team": "theirs" } }));
            let policy = world.find("aws.s3.bucket_policy", "acme-weights");
            world.add_statement(&policy, foreign_statement());
        }
        for prefix in ["m/", "n/", "\"\""] {
            project.apply_all(&spec_of(prefix)).await;
            project.assert_converged(&spec_of(prefix)).await;
            let statements = show(&project, "aws.s3.bucket_policy", "acme-weights")["Statement"].clone();
            assert_eq!(statements[0], foreign_statement());
            assert!(statements.as_array().unwrap().len() > 1);
        }
        project.destroy(&spec_of("m/")).await;
        assert_eq!(show(&project, "aws.s3.bucket_policy", "acme-weights")["Statement"], json!([foreign_statement()]));
        // It existed before, so it stays, without our tags.
        assert_eq!(show(&project, "aws.s3.bucket", "acme-weights")["tags"], json!({ "team": "theirs" }));
    }

    #[tokio::test(start_paused = true)]
    async fn exclusive_policy_loses_foreign_statements() {
        let text = SERVING.replace("on_destroy: delete", "on_destroy: delete, policy: exclusive");
        let project = applied(&text).await;
        let policy = id(&project, "aws.s3.bucket_policy", "acme-weights");
        project.cloud.world().add_statement(&policy, foreign_statement());
        assert_eq!(drift(&project, &text).await, [("aws.s3.bucket_policy.weights".to_owned(), DriftClass::Access)]);
        project.apply_all(&spec(&text)).await;
        project.assert_converged(&spec(&text)).await;
        assert!(!show(&project, "aws.s3.bucket_policy", "acme-weights").to_string().contains("Tls"));
    }

    #[tokio::test(start_paused = true)]
    async fn existing_role_is_adopted_and_released() {
        let project = Project::new("p", Cloud::new());
        let role = Id { kind: "aws.iam.role".into(), place: "111111111111".into(), name: "kserve-loader".into() };
        project.cloud.world().have(role.clone(), &json!({ "tags": { "team": "theirs" } }));
        let applied = project.apply_all(&spec(SERVING)).await;
        assert!(applied.steps().contains(&"adopt aws.iam.role.loader".to_owned()));
        let address: Address = "aws.iam.role.loader".parse().unwrap();
        assert!(applied.state.resources[&address].adopted);
        assert_eq!(project.cloud.world().show(&role)["tags"]["team"], "theirs");
        let destroyed = project.destroy(&spec(SERVING)).await;
        assert!(destroyed.steps().contains(&"release aws.iam.role.loader".to_owned()));
        let world = project.cloud.world();
        assert!(world.writes().contains(&"release aws.iam.role.loader".to_owned()));
        assert_eq!(world.show(&role)["tags"], json!({ "team": "theirs" }));
        // The policy that Bailiwick added to it is deleted.
        assert!(!world.has("aws.iam.role_policy", "kserve-loader/bailiwick-access"));
    }

    #[tokio::test(start_paused = true)]
    async fn foreign_resource_with_immutable_difference_is_not_replaced() {
        let project = Project::new("p", Cloud::new());
        let role = Id { kind: "aws.iam.role".into(), place: "111111111111".into(), name: "kserve-loader".into() };
        project.cloud.world().have(role, &json!({ "path": "/theirs/" }));
        let errors = project.plan(&spec(SERVING)).await.err().unwrap();
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with(
                "aws.iam.role.loader cannot be adopted: `kserve-loader` exists, is not managed by this project, and \
                 differs from the spec in fields that cannot be changed (path"
            ),
            "{errors:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn resource_of_another_project_is_refused() {
        let project = Project::new("p", Cloud::new());
        let role = Id { kind: "aws.iam.role".into(), place: "111111111111".into(), name: "kserve-loader".into() };
        project.cloud.world().have(role, &json!({ "tags": { "bailiwick:project": "other" } }));
        let errors = project.plan(&spec(SERVING)).await.err().unwrap();
        assert_eq!(errors, ["aws.iam.role.loader exists and belongs to project `other` (tag bailiwick:project)"]);
        assert_eq!(project.cloud.world().counts().writes, 0);
    }

    /// The position of a step in a plan.
    fn position(steps: &[String], step: &str) -> usize {
        steps.iter().position(|s| s == step).unwrap_or_else(|| panic!("no {step} in {steps:#?}"))
    }

    fn assert_before(steps: &[String], first: &str, then: &str) {
        assert!(position(steps, first) < position(steps, then), "{first} does not come before {then}: {steps:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn renamed_role_is_created_and_referenced_before_the_old_one_is_deleted() {
        let project = applied(SERVING).await;
        let renamed = spec(&SERVING.replace("name: kserve-loader", "name: model-loader"));
        let applied = project.apply_all(&renamed).await;
        project.assert_order(&applied.plan);
        let steps = applied.steps();
        assert_eq!(applied.plan.summary.replace, 2, "the role and its policy: {steps:#?}");
        assert_before(&steps, "create aws.iam.role.loader", "update aws.s3.bucket_policy.weights");
        assert_before(&steps, "update aws.s3.bucket_policy.weights", "delete aws.iam.role.loader#deposed");
        assert_before(&steps, "update kubernetes.service_account.loader", "delete aws.iam.role.loader#deposed");
        assert_before(
            &steps,
            "delete aws.iam.role_policy.loader/bailiwick-access#deposed",
            "delete aws.iam.role.loader#deposed",
        );
        assert!(!project.cloud.world().has("aws.iam.role", "kserve-loader"));
        project.assert_converged(&renamed).await;
        project.destroy(&renamed).await;
        assert_eq!(project.cloud.world().tagged(), BTreeSet::new());
    }

    #[tokio::test(start_paused = true)]
    async fn deposed_object_is_deleted_by_a_later_run() {
        let mut project = applied(SERVING).await;
        project.limits.steps = 1;
        let renamed = spec(&SERVING.replace("name: kserve-loader", "name: model-loader"));
        let planned = project.plan(&renamed).await.unwrap();
        // Everything is done except the last step.
        let most = planned.plan().steps.len() - 1;
        assert_eq!(steps(planned.plan())[most], "delete aws.iam.role.loader#deposed");
        let stop = project.cloud.stop_after(most);
        let applied = project.apply_until(&renamed, stop).await;
        assert_eq!(applied.undone().keys().collect::<Vec<_>>(), ["aws.iam.role.loader#deposed"]);
        project.cloud.clear_faults();
        let rest = project.apply_all(&renamed).await;
        assert_eq!(rest.steps(), ["delete aws.iam.role.loader#deposed"]);
        assert_eq!(rest.plan.steps[0].reasons, [Reason::StillDeposed { physical_id: "kserve-loader".into() }]);
        assert!(!project.cloud.world().has("aws.iam.role", "kserve-loader"));
        project.assert_converged(&renamed).await;
    }

    #[tokio::test(start_paused = true)]
    async fn object_under_a_new_name_is_adopted_or_refused_and_an_adopted_old_one_is_released() {
        let new = Id { kind: "aws.iam.role".into(), place: "111111111111".into(), name: "model-loader".into() };
        let old = Id { name: "kserve-loader".into(), ..new.clone() };
        let renamed = spec(&SERVING.replace("name: kserve-loader", "name: model-loader"));
        let project = Project::new("p", Cloud::new());
        project.cloud.world().have(old.clone(), &json!({ "tags": { "team": "theirs" } }));
        project.apply_all(&spec(SERVING)).await;
        project.cloud.world().have(new.clone(), &json!({ "tags": { "bailiwick:project": "other" } }));
        assert_eq!(
            project.plan(&renamed).await.err().unwrap(),
            ["aws.iam.role.loader exists and belongs to project `other` (tag bailiwick:project)"]
        );
        project.cloud.world().edit(&new, |role| role["tags"] = json!({ "team": "theirs too" }));
        let applied = project.apply_all(&renamed).await;
        let steps = applied.steps();
        assert_before(&steps, "adopt aws.iam.role.loader", "release aws.iam.role.loader#deposed");
        assert_eq!(project.cloud.world().show(&old)["tags"], json!({ "team": "theirs" }));
        project.assert_converged(&renamed).await;
        project.destroy(&renamed).await;
        assert_eq!(project.cloud.world().show(&new)["tags"], json!({ "team": "theirs too" }));
    }

    #[tokio::test(start_paused = true)]
    async fn renamed_bucket_that_is_kept_loses_our_tags() {
        let kept = |name: &str| SERVING.replace("on_destroy: delete", "on_destroy: keep").replace("acme-weights", name);
        let project = applied(&kept("acme-weights")).await;
        let renamed = spec(&kept("acme-models"));
        let planned = project.plan(&renamed).await.unwrap();
        assert_eq!(project.moved(&renamed, planned.plan()).await, Vec::<String>::new(), "a saved plan can be applied");
        project.apply_all(&renamed).await;
        project.assert_converged(&renamed).await;
        assert_eq!(show(&project, "aws.s3.bucket", "acme-weights")["tags"], json!({}));
        assert_eq!(show(&project, "aws.s3.bucket_policy", "acme-weights")["Statement"], json!([]));
    }

    #[tokio::test(start_paused = true)]
    async fn policy_that_names_a_role_replaced_in_this_run_is_not_an_outside_change() {
        let before = SERVING
            .replace("name: kserve-loader }", "name: kserve-loader, path: /team/ }")
            .replace("on_destroy: delete }", "on_destroy: delete, same_account_statements: true }");
        // The policy's new principal trusts a role that trusts the replaced one, so the policy comes last.
        let after = before
            .replace(", path: /team/", "")
            .replace(
                "service_accounts:\n",
                "  trainer: { account: platform, name: trainer, trust: [ { role: loader } ] }\nservice_accounts:\n  \
                 trainer: { cluster: prod, namespace: kserve, name: trainer, role: trainer }\n",
            )
            .replace("to: loader,", "to: trainer, mode: assume_role,");
        let project = applied(&before).await;
        let changed = project.apply_all(&spec(&after)).await;
        let at = |step: &str| changed.steps().iter().position(|s| s == step);
        assert!(at("delete aws.iam.role.loader#delete") < at("update aws.s3.bucket_policy.weights"));
        project.assert_converged(&spec(&after)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn new_path_replaces_a_role_with_its_parts() {
        let with = |more: &str| {
            let policies = format!("name: kserve-loader, policies: [arn:aws:iam::aws:policy/ReadOnlyAccess]{more}");
            SERVING.replace("name: kserve-loader", &policies)
        };
        let project = applied(&with("")).await;
        let moved = spec(&with(", path: /ml/"));
        let applied = project.apply_all(&moved).await;
        project.assert_order(&applied.plan);
        let steps = applied.steps();
        for part in
            ["aws.iam.role_policy.loader/bailiwick-access", "aws.iam.role_policy_attachment.loader/ReadOnlyAccess"]
        {
            assert_before(&steps, &format!("delete {part}#delete"), "delete aws.iam.role.loader#delete");
            assert_before(&steps, "create aws.iam.role.loader", &format!("create {part}"));
        }
        assert_before(&steps, "delete aws.iam.role.loader#delete", "create aws.iam.role.loader");
        assert_before(&steps, "create aws.iam.role.loader", "update aws.s3.bucket_policy.weights");
        project.assert_converged(&moved).await;
    }

    #[tokio::test(start_paused = true)]
    async fn role_deleted_outside_is_recreated_and_referenced_again() {
        let project = applied(SERVING).await;
        let role = id(&project, "aws.iam.role", "kserve-loader");
        project.cloud.world().remove(&role);
        // The documents that named it now show an id that no longer exists.
        assert!(show(&project, "aws.s3.bucket_policy", "acme-weights").to_string().contains("AROA"));
        let applied = project.apply_all(&spec(SERVING)).await;
        project.assert_order(&applied.plan);
        let steps = applied.steps();
        assert_before(&steps, "create aws.iam.role.loader", "update aws.s3.bucket_policy.weights");
        assert_before(&steps, "create aws.iam.role.loader", "update aws.kms.key_policy.weights");
        assert!(!show(&project, "aws.s3.bucket_policy", "acme-weights").to_string().contains("AROA"));
        project.assert_converged(&spec(SERVING)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn saving_a_state_keeps_what_is_unknown() {
        let project = applied(SERVING).await;
        let changed = spec(&SERVING.replace("on_destroy: delete", "on_destroy: delete, versioning: true"));
        let killed = project.cloud.kill_at(1, Cut::BeforeCall);
        assert!(project.apply_until_killed(&changed, &killed).await);
        project.cloud.clear_faults();
        let bucket: Address = "aws.s3.bucket.weights".parse().unwrap();
        let (mut known, other) = (project.known().await, "aws.s3.bucket.other".parse().unwrap());
        assert_eq!(known.unknown(), std::slice::from_ref(&bucket));
        assert!(known.rename(&bucket, &other));
        known.save(&project.backend).await.unwrap();
        let mut known = project.known().await;
        assert_eq!(known.unknown(), std::slice::from_ref(&other));
        assert!(known.remove(&other) && !known.remove(&bucket));
        known.save(&project.backend).await.unwrap();
        assert_eq!(project.known().await.unknown(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn torn_journal_is_replayed_up_to_the_tear() {
        for torn in [0, 1, 40] {
            let project = Project::new("p", Cloud::with_delays(3));
            let killed = project.cloud.kill_at(4, Cut::BeforeCall);
            assert!(project.apply_until_killed(&spec(SERVING), &killed).await);
            project.backend.tear(torn);
            let planned = plan(&project, SERVING).await;
            assert!(!planned.known().unknown().is_empty() || torn > 0);
            project.apply_all(&spec(SERVING)).await;
            project.assert_converged(&spec(SERVING)).await;
            project.destroy(&spec(SERVING)).await;
            assert_eq!(project.cloud.world().tagged(), BTreeSet::new());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn saved_plan_reports_outside_changes() {
        let project = Project::new("p", Cloud::new());
        let spec = spec(SERVING);
        let text = |planned: &Planned| {
            serde_json::to_string(&PlanFile::new(
                planned.plan().clone(),
                bailiwick::document::Document::from(json!({})),
            ))
            .unwrap()
        };
        let file = PlanFile::parse(&text(&plan(&project, SERVING).await)).unwrap();
        assert_eq!(file.plan.spec_digest, Some(spec.digest()));
        assert_eq!(project.moved(&spec, &file.plan).await, Vec::<String>::new());
        // A resource changed.
        let role = Id { kind: "aws.iam.role".into(), place: "111111111111".into(), name: "kserve-loader".into() };
        project.cloud.world().have(role.clone(), &json!({}));
        assert_eq!(
            project.moved(&spec, &file.plan).await,
            ["aws.iam.role.loader: it now exists, but did not when the plan was created"]
        );
        project.cloud.world().remove(&role);
        // An unreadable resource may have changed.
        project.cloud.deny_read("aws.iam.role.loader");
        assert_eq!(
            project.moved(&spec, &file.plan).await,
            ["aws.iam.role.loader: not allowed to read aws.iam.role.loader: 403: AccessDenied"]
        );
        project.cloud.clear_faults();
        // The state changed: it is not overwritten.
        let planned = plan(&project, SERVING).await;
        project.apply_all(&spec).await;
        assert_ne!(planned.plan().state.1, project.state().await.0.serial);
        let error = project.execute(&spec, planned, tokio::sync::watch::channel(false).1).await.err().unwrap();
        assert!(matches!(error, BackendError::Moved { .. }), "{error}");
        // The spec changed.
        let other = crate::run::spec(&SERVING.replace("prefix: m/", "prefix: n/"));
        assert_ne!(file.plan.spec_digest, Some(other.digest()));
        // The file was edited.
        let edited = text(&plan(&project, &SERVING.replace("prefix: m/", "prefix: n/")).await).replace("n/*", "*");
        assert!(matches!(PlanFile::parse(&edited), Err(PlanFileError::Edited { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn outside_change_during_a_run_stops_its_step() {
        let project = applied(SERVING).await;
        let changed = spec(&SERVING.replace("prefix: m/", "prefix: n/"));
        let policy = id(&project, "aws.s3.bucket_policy", "acme-weights");
        let touched = policy.clone();
        project.cloud.before_write(1, move |world| world.add_statement(&touched, foreign_statement()));
        let mut project = project;
        project.limits.steps = 1;
        let applied = project.apply(&changed).await;
        let undone = applied.undone();
        let Some(Outcome::Failed { why, help, certain: true, .. }) = undone.get("aws.s3.bucket_policy.weights") else {
            panic!("{undone:?}")
        };
        assert_eq!(help.as_deref(), Some("create a new plan"));
        assert_eq!(
            why,
            &format!("it changed after the plan was created (foreign + {}); nothing was written", foreign_statement())
        );
        project.apply_all(&changed).await;
        project.assert_converged(&changed).await;
        assert!(project.cloud.world().show(&policy).to_string().contains("Tls"));
    }

    fn refusals(planned: &Planned, allowed: &Guard) -> Vec<String> {
        guard(planned.plan(), planned.known().state.resources.len(), allowed, &bailiwick::provider::kinds())
            .iter()
            .map(bailiwick::report::words::refusal)
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn guard_refuses_many_deletions_protected_resources_and_keys() {
        let text = SERVING
            .replace("managed: true }", "managed: true, on_destroy: delete }")
            .replace("name: kserve-loader", "name: kserve-loader, protect: true");
        let project = applied(&text).await;
        let planned = project.plan(&spec(&text).emptied()).await.unwrap();
        let most = "the plan deletes or replaces 9 of 9 resources, more than 3 [too-many-deletes]";
        let key = "this plan would delete aws.kms.key.weights; afterwards what it encrypted can never be read again \
                   [data-loss]";
        let protected = "aws.iam.role.loader is protected, and this plan would delete it [protected]";
        assert_eq!(refusals(&planned, &Guard::default()), [protected, key, most]);
        let allow_delete = BTreeSet::from(["aws.kms.key.weights".parse().unwrap()]);
        let allowed = Guard { allow_delete, allow_deletes: Some(9), ..Guard::default() };
        assert_eq!(refusals(&planned, &allowed), [protected]);
        let destroying = Guard { destroying: true, ..Guard::default() };
        assert_eq!(refusals(&planned, &destroying), [protected, key]);
        // A rename would delete it too.
        let renamed = plan(&project, &text.replace("kserve-loader", "model-loader")).await;
        assert_eq!(
            refusals(&renamed, &Guard::default()),
            ["aws.iam.role.loader is protected, and this plan would replace it [protected]"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn wait_for_propagation_is_reported() {
        let project = Project::new("p", Cloud::new());
        project.cloud.not_yet("aws.s3.bucket_policy.weights", 3);
        project.apply_all(&spec(SERVING)).await;
        let pauses: Vec<Duration> = project
            .heard()
            .into_iter()
            .filter_map(|event| match event {
                Event::Waiting { step, awaited, pause } => {
                    assert_eq!(name_of(&step), "aws.s3.bucket_policy.weights");
                    assert_eq!(awaited, "what was just made to be known");
                    Some(pause)
                }
                _ => None,
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4].map(Duration::from_secs));
        project.assert_converged(&spec(SERVING)).await;
    }

    fn awaited(project: &Project) -> BTreeSet<String> {
        let heard = project.heard().into_iter();
        heard.filter_map(|e| if let Event::Waiting { awaited, .. } = e { Some(awaited) } else { None }).collect()
    }

    const LOADER: &str = "arn:aws:iam::111111111111:role/kserve-loader";

    #[tokio::test(start_paused = true)]
    async fn a_role_of_this_run_is_awaited_until_the_policies_may_name_it() {
        let project = Project::new("p", Cloud::new());
        project.cloud.hide_new_roles(6);
        project.apply_all(&spec(SERVING)).await;
        assert_eq!(
            awaited(&project),
            BTreeSet::from([format!("`{LOADER}`, which this run made, to be known everywhere")])
        );
        project.assert_converged(&spec(SERVING)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn existing_principal_is_awaited_and_a_missing_one_fails_without_waiting() {
        let refused = |why: &str| WriteError::UnknownPrincipal { what: "write it".into(), why: why.into() };
        let policy = "aws.s3.bucket_policy.weights";
        let with = |more: &str| spec(&SERVING.replace("prefix: m/", more));
        let project = applied(SERVING).await;
        // The role exists, but S3 does not know it, and this run did not create it.
        project.cloud.fail_write(policy, refused("Invalid principal in policy"));
        let applied = project.apply(&with("prefix: n/")).await;
        assert_eq!(awaited(&project), BTreeSet::from([format!("`{LOADER}`, which exists, to be known everywhere")]));
        assert!(matches!(applied.undone().get(policy), Some(Outcome::Failed { why, .. }) if why.contains("waited")));
        // The role is deleted while the policy is written.
        project.cloud.clear_faults();
        let role = id(&project, "aws.iam.role", "kserve-loader");
        let planned = project.plan(&with("prefix: n/")).await.unwrap();
        assert_eq!(steps(planned.plan()), [format!("update {policy}")]);
        project.cloud.before_write(1, move |world| world.remove(&role));
        let applied =
            project.execute(&with("prefix: n/"), planned, tokio::sync::watch::channel(false).1).await.unwrap();
        assert_eq!(awaited(&project), BTreeSet::new());
        let undone = applied.undone();
        let Some(Outcome::Failed { why, .. }) = undone.get(policy) else { panic!("{undone:?}") };
        assert_eq!(
            why,
            &format!(
                "cannot write {policy}: MalformedPolicy: Invalid principal in policy; `{LOADER}`: it does not exist in \
                 account `platform` (111111111111)"
            )
        );
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_foreign_principal_is_named_and_not_awaited() {
        let project = applied(SERVING).await;
        let policy = id(&project, "aws.s3.bucket_policy", "acme-weights");
        let statement = |principal: &str| {
            json!({"Effect": "Allow", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::acme-weights/*", "Principal": {"AWS": principal}})
        };
        project.cloud.world().add_statement(&policy, statement("AROAEXAMPLEEXAMPLE12"));
        // A principal that the live policy shows by its ARN exists, even if it cannot be read.
        project.cloud.world().add_statement(&policy, statement("arn:aws:iam::999999999999:role/far"));
        project.cloud.fail_write(
            "aws.s3.bucket_policy.weights",
            WriteError::UnknownPrincipal { what: "write it".into(), why: "Invalid principal in policy".into() },
        );
        let applied = project.apply(&spec(&SERVING.replace("prefix: m/", "prefix: n/"))).await;
        assert_eq!(awaited(&project), BTreeSet::new());
        let undone = applied.undone();
        let Some(Outcome::Failed { why, .. }) = undone.get("aws.s3.bucket_policy.weights") else {
            panic!("{undone:?}")
        };
        assert_eq!(
            why,
            "cannot write it: Invalid principal in policy; `AROAEXAMPLEEXAMPLE12`: it is the id of a deleted role or \
             user, which no service accepts: remove it from the policy, or replace it with an ARN"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn policies_that_name_a_role_recreated_outside_are_updated() {
        let project = applied(SERVING).await;
        let role = id(&project, "aws.iam.role", "kserve-loader");
        let (state, ..) = project.state().await;
        let address: Address = "aws.iam.role.loader".parse().unwrap();
        let known = state.resources[&address].unique_id.clone().unwrap();
        {
            let mut world = project.cloud.world();
            let body = world.show(&role);
            world.remove(&role);
            world.have(role.clone(), &body);
        }
        let planned = plan(&project, SERVING).await;
        let reason = |address: &str| {
            let step = planned.plan().steps.iter().find(|s| s.address().to_string() == address).unwrap();
            (step.action(), step.reasons.clone())
        };
        let names_gone = Reason::NamesGone { id: known.clone(), was: Some(address.clone()) };
        let fixed = (ActionKind::Update, vec![Reason::ChangedOutside, names_gone]);
        assert_eq!(reason("aws.s3.bucket_policy.weights"), fixed);
        assert_eq!(reason("aws.kms.key_policy.weights"), fixed);
        project.apply_all(&spec(SERVING)).await;
        project.assert_converged(&spec(SERVING)).await;
        assert_ne!(project.state().await.0.resources[&address].unique_id, Some(known));
    }

    /// Points our alias to a foreign key, which has the same body as ours if `alike`.
    fn take_alias(world: &mut World, key: &Id, alike: bool) {
        let body = if alike { world.show(key) } else { json!({"description": "theirs"}) };
        world.remove(key);
        world.have(key.clone(), &body);
    }

    #[tokio::test(start_paused = true)]
    async fn key_behind_a_repointed_alias_is_never_changed() {
        for alike in [false, true] {
            let project = applied(SERVING).await;
            let key = id(&project, "aws.kms.key", "alias/model-weights");
            take_alias(&mut project.cloud.world(), &key, alike);
            let before = project.cloud.world().dump();
            let repointed = |address: &str| {
                let start = format!("{address}: `alias/model-weights` now points to `key-");
                move |error: &String| error.starts_with(&start)
            };
            for spec in [spec(SERVING), spec(SERVING).emptied()] {
                let Err(errors) = project.plan(&spec).await else { panic!("there is a plan") };
                assert_eq!(errors.len(), 2, "{errors:?}");
                assert!(errors.iter().any(repointed("aws.kms.key.weights")), "{errors:?}");
                assert!(errors.iter().any(repointed("aws.kms.key_policy.weights")), "{errors:?}");
            }
            assert_eq!(project.cloud.world().dump(), before);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unmanaged_key_with_a_repointed_alias_gets_no_statements() {
        let theirs = SERVING.replace(", managed: true", "");
        let project = applied(&theirs).await;
        let key = id(&project, "aws.kms.key", "alias/model-weights");
        take_alias(&mut project.cloud.world(), &key, false);
        let Err(errors) = project.plan(&spec(&theirs)).await else { panic!("there is a plan") };
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        assert!(error.starts_with("aws.kms.key_policy.weights: `alias/model-weights` now points to `key-"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn alias_repointed_between_plan_and_apply_stops_the_step() {
        let text = "version: 1\nproject: p\naccounts:\n  models: { id: \"222222222222\", region: us-west-2 }\nkeys:\n  \
            weights: { account: models, alias: model-weights, managed: true, on_destroy: delete, description: new }\n";
        let old = text.replace("description: new", "description: old");
        // The plan does not read a key that is deleted because its address names another one now.
        let renamed = text.replace("alias: model-weights", "alias: new-weights");
        for wanted in [spec(text), spec(text).emptied(), spec(&renamed)] {
            let project = applied(&old).await;
            let key = id(&project, "aws.kms.key", "alias/model-weights");
            let planned = project.plan(&wanted).await.unwrap();
            take_alias(&mut project.cloud.world(), &key, true);
            project.cloud.world().edit(&key, |body| body["theirs"] = true.into());
            let before = show(&project, "aws.kms.key", "alias/model-weights");
            let (_stop, stopped) = tokio::sync::watch::channel(false);
            let applied = project.execute(&wanted, planned, stopped).await.unwrap();
            let undone = applied.undone();
            let failed = undone.iter().find(|(name, _)| name.starts_with("aws.kms.key.weights"));
            let Some((_, Outcome::Failed { why, certain: true, .. })) = failed else { panic!("{undone:?}") };
            assert!(why.contains("`alias/model-weights` is now `key-") && why.contains("nothing was written"), "{why}");
            assert_eq!(show(&project, "aws.kms.key", "alias/model-weights"), before);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn role_recreated_outside_under_our_name_is_adopted_and_survives_destroy() {
        let theirs = json!({"description": "theirs"});
        let project = applied(SERVING).await;
        let role = id(&project, "aws.iam.role", "kserve-loader");
        let retake = |world: &mut World| {
            world.remove(&role);
            world.have(role.clone(), &theirs);
        };
        retake(&mut project.cloud.world());
        project.destroy(&spec(SERVING)).await;
        assert_eq!(show(&project, "aws.iam.role", "kserve-loader")["description"], "theirs");

        let project = applied(SERVING).await;
        retake(&mut project.cloud.world());
        let planned = plan(&project, SERVING).await;
        assert!(steps(planned.plan()).contains(&"adopt aws.iam.role.loader".to_owned()), "{:?}", steps(planned.plan()));
        project.apply_all(&spec(SERVING)).await;
        project.assert_converged(&spec(SERVING)).await;
        project.destroy(&spec(SERVING)).await;
        assert!(project.cloud.world().has("aws.iam.role", "kserve-loader"), "only our marks on it go");
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_call_is_abandoned_after_an_interrupt_and_recovered_by_the_next_run() {
        let project = Project::new("p", Cloud::new());
        project.cloud.hang("aws.iam.role.loader");
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let begun = tokio::time::Instant::now();
        let spec = spec(SERVING);
        let (applied, ()) = tokio::join!(project.apply_until(&spec, stopped), async {
            tokio::time::sleep(Duration::from_mins(1)).await;
            stop.send(true).unwrap();
        });
        assert_eq!(begun.elapsed(), Duration::from_secs(65), "it waits for the grace and no longer");
        let undone = applied.undone();
        assert!(matches!(undone["aws.iam.role.loader"], Outcome::Unknown { .. }), "{undone:?}");
        assert!(
            undone.iter().all(|(name, o)| name == "aws.iam.role.loader" || **o == Outcome::Interrupted),
            "{undone:?}"
        );
        let address: Address = "aws.iam.role.loader".parse().unwrap();
        assert!(applied.state.resources.contains_key(&address), "the state is saved, and knows of it");
        let planned = plan(&project, SERVING).await;
        assert_eq!(planned.known().unknown(), [address]);
        assert!(!steps(planned.plan()).contains(&"create aws.iam.role.loader".to_owned()), "it was done");
        project.apply_all(&spec).await;
        project.assert_converged(&spec).await;
    }

    #[tokio::test(start_paused = true)]
    async fn saved_plan_adopts_nothing_after_the_state_was_lost() {
        let project = applied(SERVING).await;
        let mut without_state = project.beside();
        without_state.backend = MemoryBackend::new("p");
        let planned = plan(&without_state, SERVING).await;
        assert_eq!(planned.lost().len(), planned.plan().steps.len());
        let cleared = without_state.clear_saved(&spec(SERVING), planned.into_plan()).await;
        assert!(matches!(cleared, Err(Stopped::Lost { .. })), "{cleared:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn call_with_a_lost_response_is_read_back() {
        let lost = || WriteError::Unanswered { what: "write it".into(), why: "connection reset".into() };
        let project = Project::new("p", Cloud::new());
        project.cloud.fail_write("aws.s3.bucket.weights", lost());
        let applied = project.apply(&spec(SERVING)).await;
        let undone = applied.undone();
        assert!(matches!(undone["aws.s3.bucket.weights"], Outcome::Unknown { .. }), "{undone:?}");
        assert_eq!(plan(&project, SERVING).await.known().unknown(), ["aws.s3.bucket.weights".parse().unwrap()]);
        project.cloud.clear_faults();
        project.cloud.lose_answer("aws.s3.bucket.weights");
        project.apply_all(&spec(SERVING)).await;
        project.assert_converged(&spec(SERVING)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_and_the_next_run_tries_again() {
        let project = Project::new("p", Cloud::new());
        project.cloud.not_yet("aws.s3.bucket_policy.weights", usize::MAX);
        let applied = project.apply(&spec(SERVING)).await;
        let undone = applied.undone();
        let Some(Outcome::Failed { why, .. }) = undone.get("aws.s3.bucket_policy.weights") else {
            panic!("{undone:?}")
        };
        assert!(why.ends_with("NoSuchEntity (waited 63 s)"), "{why}");
        project.cloud.clear_faults();
        project.apply_all(&spec(SERVING)).await;
        project.assert_converged(&spec(SERVING)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn denied_read_is_reported_as_denied() {
        let address = "aws.s3.bucket_policy.weights";
        let kind = |applied: &Applied| match applied.undone().get(address) {
            Some(Outcome::Failed { kind, .. }) => *kind,
            other => panic!("{other:?}"),
        };
        let (project, spec) = (Project::new("p", Cloud::new()), spec(SERVING));
        let planned = project.plan(&spec).await.unwrap();
        project.cloud.deny_read(address);
        let applied = project.execute(&spec, planned, project.cloud.stop_after(usize::MAX)).await.unwrap();
        assert_eq!(kind(&applied), FailureKind::Denied);
        project.cloud.clear_faults();
        project.cloud.not_yet(address, usize::MAX);
        let (applied, ()) = tokio::join!(project.apply(&spec), async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            project.cloud.deny_read(address);
        });
        assert_eq!(kind(&applied), FailureKind::Denied);
    }

    #[tokio::test(start_paused = true)]
    async fn outside_change_stops_a_waiting_step() {
        let project = Project::new("p", Cloud::new());
        project.cloud.not_yet("aws.s3.bucket_policy.weights", usize::MAX);
        let spec = spec(SERVING);
        let (applied, ()) = tokio::join!(project.apply(&spec), async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let mut world = project.cloud.world();
            let policy = world.find("aws.s3.bucket_policy", "acme-weights");
            world.add_statement(&policy, foreign_statement());
            drop(world);
            project.cloud.clear_faults();
        });
        let undone = applied.undone();
        let Some(Outcome::Failed { why, help, .. }) = undone.get("aws.s3.bucket_policy.weights") else {
            panic!("{undone:?}")
        };
        assert!(why.contains("during the wait, it"), "{why}");
        assert_eq!(help.as_deref(), Some("create a new plan"));
        assert_eq!(show(&project, "aws.s3.bucket_policy", "acme-weights")["Statement"], json!([foreign_statement()]));
        project.apply_all(&spec).await;
        project.assert_converged(&spec).await;
        assert_eq!(show(&project, "aws.s3.bucket_policy", "acme-weights")["Statement"][0], foreign_statement());
    }

    #[tokio::test(start_paused = true)]
    async fn write_visible_late_is_read_again() {
        let project = Project::new("p", Cloud::new());
        for address in ["aws.iam.role.loader", "aws.s3.bucket.weights", "kubernetes.service_account.loader"] {
            project.cloud.stale(address, 3);
        }
        project.apply_all(&spec(SERVING)).await;
        project.assert_converged(&spec(SERVING)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn conflict_names_the_manager_of_the_field() {
        let project = Project::new("p", Cloud::new());
        let spec = spec(&SERVING.replace("create_namespace: true", "manage: annotation"));
        project.cloud.prepare(&spec);
        {
            let mut world = project.cloud.world();
            let account = world.find("kubernetes.service_account", "kserve/loader");
            world.edit(&account, |body| body["annotations"]["eks.amazonaws.com/role-arn"] = "arn:other".into());
        }
        let applied = project.apply(&spec).await;
        let undone = applied.undone();
        let Some(Outcome::Failed { why, certain: true, .. }) = undone.get("kubernetes.service_account.loader") else {
            panic!("{undone:?}")
        };
        assert!(why.contains("conflicts with kubectl-edit: .metadata.annotations.eks.amazonaws.com/role-arn"), "{why}");
        assert_eq!(undone.len(), 1, "the rest goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn bucket_with_objects_is_kept_and_stays_in_the_state() {
        let project = applied(SERVING).await;
        project.cloud.world().fill("acme-weights");
        let destroyed = project.apply(&spec(SERVING).emptied()).await;
        let undone = destroyed.undone();
        assert!(matches!(undone.get("aws.s3.bucket.weights"), Some(Outcome::Failed { .. })), "{undone:?}");
        let address: Address = "aws.s3.bucket.weights".parse().unwrap();
        assert!(destroyed.state.resources.contains_key(&address));
    }

    #[tokio::test(start_paused = true)]
    async fn failing_step_does_not_stop_independent_steps() {
        let project = Project::new("p", Cloud::new());
        let denied = WriteError::Denied { what: "create role".into(), why: "403".into() };
        project.cloud.fail_write("aws.iam.role.loader", denied);
        let applied = project.apply(&spec(SERVING)).await;
        let undone: Vec<String> = applied.undone().into_keys().collect();
        assert_eq!(
            undone,
            [
                "aws.iam.role.loader",
                "aws.iam.role_policy.loader/bailiwick-access",
                "aws.kms.key_policy.weights",
                "aws.s3.bucket_policy.weights",
                "kubernetes.service_account.loader",
            ]
        );
        assert!(project.cloud.world().has("aws.s3.bucket", "acme-weights"));
    }

    #[tokio::test]
    async fn second_of_two_concurrent_runs_learns_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let backend = || FileBackend::new(folder.path().to_path_buf(), "p");
        let info = |holder: &str| LockInfo {
            holder: holder.into(),
            host: "h".into(),
            pid: 7,
            since: "2026-01-01T00:00:00Z".into(),
            ..LockInfo::default()
        };
        let (first, second) = (backend(), backend());
        let held = first.lock(info("alice")).await.unwrap();
        let refused = second.lock(info("bob")).await.err().unwrap().to_string();
        assert!(refused.ends_with("is locked by alice on h (process 7) since 2026-01-01T00:00:00Z"), "{refused}");
        // Without the lock, a state that was read cannot be overwritten either.
        let (ours, theirs) = (first.load().await.unwrap(), second.load().await.unwrap());
        let state = bailiwick::state::State::new("p", bailiwick::state::Lineage("l".into()));
        first.save(&state, &ours.version).await.unwrap();
        let moved = second.save(&state, &theirs.version).await.err().unwrap();
        assert!(matches!(moved, BackendError::Moved { .. }), "{moved}");
        drop(held);
        assert!(second.lock(info("bob")).await.is_ok());
    }

    /// One account and one bucket with these settings, without any grant.
    fn bucket(more: &str) -> String {
        format!(
            "version: 1\nproject: p\naccounts: {{ a: {{ id: \"111111111111\", region: us-west-2 }} }}\n\
             buckets: {{ b: {{ account: a, name: acme-b, on_destroy: delete{more} }} }}\n"
        )
    }

    #[tokio::test(start_paused = true)]
    async fn setting_removed_from_the_spec_returns_to_its_default() {
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
        project.assert_converged(&reset).await;
        let world = project.cloud.world();
        let bucket = world.show(&world.find("aws.s3.bucket", "acme-b"));
        assert_eq!((&bucket["versioning"], &bucket["encryption"]["sse"]), (&false.into(), &"AES256".into()));
        assert_eq!(world.show(&world.find("aws.iam.role", "r"))["max_session_duration"], 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn key_scheduled_for_deletion_counts_as_deleted() {
        let key = "keys:\n  k: { account: a, alias: k, managed: true, on_destroy: delete }\n";
        let with = spec(&format!("{}{key}", bucket("")));
        let project = Project::new("p", Cloud::new());
        project.apply_all(&with).await;
        let without = spec(&bucket(""));
        assert_eq!(project.apply_all(&without).await.steps(), ["delete aws.kms.key.k"]);
        project.assert_converged(&without).await;
        // A spec that contains it again restores it.
        assert_eq!(project.apply_all(&with).await.steps(), ["update aws.kms.key.k"]);
        project.assert_converged(&with).await;
        let world = project.cloud.world();
        assert_eq!(world.show(&world.find("aws.kms.key", "alias/k"))["state"], "Enabled");
    }

    #[tokio::test(start_paused = true)]
    async fn adoption_interrupted_by_a_kill_stays_an_adoption() {
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
    async fn adoption_under_a_new_name_interrupted_by_a_kill_stays_an_adoption() {
        let renamed = spec(&SERVING.replace("name: kserve-loader", "name: model-loader"));
        let new = Id { kind: "aws.iam.role".into(), place: "111111111111".into(), name: "model-loader".into() };
        for cut in [Cut::BeforeCall, Cut::AfterCall] {
            let project = applied(SERVING).await;
            project.cloud.world().have(new.clone(), &json!({ "tags": { "team": "theirs" } }));
            let killed = project.cloud.kill_at(1, cut);
            assert!(project.apply_until_killed(&renamed, &killed).await);
            project.apply_all(&renamed).await;
            project.assert_converged(&renamed).await;
            assert!(!project.cloud.world().has("aws.iam.role", "kserve-loader"), "the old one goes");
            project.destroy(&renamed).await;
            assert_eq!(project.cloud.world().show(&new)["tags"], json!({ "team": "theirs" }));
        }
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
    async fn new_bucket_already_has_an_empty_exclusive_policy() {
        let spec = spec(&bucket(", policy: exclusive"));
        let project = Project::new("p", Cloud::new());
        project.apply_all(&spec).await;
        project.assert_converged(&spec).await;
        project.destroy(&spec).await;
        assert_eq!(project.cloud.world().ids().count(), 0);
    }

    const ACCESS: &str = r#"version: 1
project: p
accounts:
  a: { id: "111111111111", region: us-west-2 }
clusters:
  c:
    account: a
    name: c
    access:
      - { principal_arn: "arn:aws:iam::111111111111:role/ops/bailiwick", groups: [own], policies: [{ name: AmazonEKSEditPolicy, namespaces: [n] }] }
      - { role: deployer, groups: [writers], policies: [{ name: AmazonEKSViewPolicy }] }
roles:
  bailiwick: { account: a, name: bailiwick, path: /ops/, managed: false }
  deployer: { account: a, name: deployer, trust: [{ service: ec2.amazonaws.com }] }
service_accounts:
  one: { cluster: c, namespace: n, name: one, role: deployer, create_namespace: true }
"#;
    const DEPLOYER: &str = "c/arn:aws:iam::111111111111:role/deployer";
    const OWN: &str = "c/arn:aws:iam::111111111111:role/ops/bailiwick";
    const OWN_ADDRESS: &str = "aws.eks.access_entry.c/111111111111/role/ops/bailiwick";

    /// A project whose caller is a session of the role `bailiwick`, in a world that has what the spec relies on.
    fn of_bailiwick(text: &str) -> (Project, bailiwick::spec::Spec) {
        let caller = "arn:aws:sts::111111111111:assumed-role/bailiwick/ci";
        let spec = spec(text);
        let mut cloud = Cloud::new();
        cloud.callers = vec![(spec.account_scope("a"), caller.to_owned())];
        let project = Project::new("p", cloud);
        project.cloud.prepare(&spec);
        (project, spec)
    }

    fn lockouts(planned: &Planned) -> Vec<String> {
        let lockouts = planned.findings().iter().filter(|f| f.code.as_str() == "lockout");
        lockouts.map(|f| format!("{}: {}", f.address.as_ref().unwrap(), f.message)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn changed_access_entry_is_access_drift_and_loses_extra_policies() {
        let (project, spec) = of_bailiwick(ACCESS);
        let applied = project.apply_all(&spec).await;
        project.assert_converged(&spec).await;
        let order: Vec<String> = applied.steps();
        let place = |what: &str| order.iter().position(|step| step.contains(what)).unwrap();
        assert!(place(OWN_ADDRESS) < place("kubernetes.namespace"), "{order:?}");
        {
            let mut world = project.cloud.world();
            let entry = world.find("aws.eks.access_entry", DEPLOYER);
            let admin = json!({ "policy_arn": "arn:aws:eks::aws:cluster-access-policy/Admin", "scope": "cluster" });
            world.edit(&entry, |body| body["policies"].as_array_mut().unwrap().push(admin));
        }
        let moved: Vec<String> = project
            .drift(&spec)
            .await
            .iter()
            .map(|d| format!("{} {:?} {}", d.address, d.class, d.differences[0].path.as_str()))
            .collect();
        assert_eq!(moved, ["aws.eks.access_entry.c/deployer Access policies"]);
        project.apply_all(&spec).await;
        project.assert_converged(&spec).await;
        project.destroy(&spec).await;
        assert!(!project.cloud.world().has("aws.eks.access_entry", DEPLOYER));
        assert_eq!(project.cloud.world().tagged(), BTreeSet::new());
    }

    #[tokio::test(start_paused = true)]
    async fn an_access_entry_of_others_is_adopted_released_and_never_replaced() {
        let (project, spec) = of_bailiwick(ACCESS);
        let scope = spec.account_scope("a");
        let theirs = project.cloud.world().id("aws.eks.access_entry", &scope, OWN);
        let body = json!({ "username": "arn:aws:sts::111111111111:assumed-role/bailiwick/{{SessionName}}",
            "groups": [], "tags": { "team": "theirs" } });
        project.cloud.world().have(theirs.clone(), &body);
        project.apply_all(&spec).await;
        project.assert_converged(&spec).await;
        assert_eq!(project.cloud.world().show(&theirs)["groups"], json!(["own"]));
        project.destroy(&spec).await;
        let left = project.cloud.world().show(&theirs);
        assert_eq!((&left["tags"], &left["groups"]), (&json!({ "team": "theirs" }), &json!(["own"])));

        // An entry of type EC2_LINUX would have to be replaced.
        project.cloud.world().edit(&theirs, |body| body["type"] = "EC2_LINUX".into());
        let errors = project.plan(&spec).await.err().unwrap();
        assert!(errors.iter().any(|e| e.contains(OWN_ADDRESS) && e.contains("type")), "{errors:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_is_replaced_gets_a_new_access_entry() {
        let (project, first) = of_bailiwick(ACCESS);
        project.apply_all(&first).await;
        let moved = spec(&ACCESS.replace("name: deployer, trust", "name: deployer, path: /team/, trust"));
        let applied = project.apply_all(&moved).await;
        let steps = applied.steps();
        let entries: Vec<&String> = steps.iter().filter(|s| s.contains("access_entry")).collect();
        assert_eq!(entries.len(), 2, "{steps:?}");
        project.assert_converged(&moved).await;
        assert!(project.cloud.world().has("aws.eks.access_entry", "c/arn:aws:iam::111111111111:role/team/deployer"));
        assert!(!project.cloud.world().has("aws.eks.access_entry", DEPLOYER));
    }

    #[tokio::test(start_paused = true)]
    async fn deposing_the_cluster_access_of_the_caller_is_a_lockout() {
        let text = ACCESS.replace("principal_arn: \"arn:aws:iam::111111111111:role/ops/bailiwick\"", "role: bailiwick");
        let (project, first) = of_bailiwick(&text);
        project.apply_all(&first).await;
        let planned = project.plan(&spec(&text.replace("name: bailiwick", "name: other"))).await.unwrap();
        let expected = "aws.eks.access_entry.c/bailiwick: `arn:aws:iam::111111111111:role/ops/bailiwick`, which applies \
            this plan, would lose access to cluster `c`: its access entry is deleted";
        assert_eq!(lockouts(&planned), [expected]);
    }

    #[tokio::test(start_paused = true)]
    async fn removing_cluster_access_of_the_caller_is_a_lockout() {
        let (project, first) = of_bailiwick(ACCESS);
        let check = async |text: &str, expected: Option<&str>| {
            let planned = project.plan(&spec(text)).await.unwrap();
            let who = "`arn:aws:iam::111111111111:role/ops/bailiwick`, which applies this plan, would lose access to \
                cluster `c`";
            let expected: Vec<String> =
                expected.map(|lost| format!("{OWN_ADDRESS}: {who}: {lost}")).into_iter().collect();
            assert_eq!(lockouts(&planned), expected);
        };
        check(ACCESS, None).await;
        project.apply_all(&first).await;
        check(ACCESS, None).await;
        let own = ACCESS.lines().find(|line| line.contains("principal_arn")).unwrap();
        check(&ACCESS.replace(own, "      # none"), Some("its access entry is deleted")).await;
        check(&ACCESS.replace("groups: [own], ", ""), Some("it loses the group `own`")).await;
        check(
            &ACCESS.replace("AmazonEKSEditPolicy, namespaces: [n]", "AmazonEKSEditPolicy, namespaces: [m]"),
            Some("it loses AmazonEKSEditPolicy in `n`"),
        )
        .await;
        check(&ACCESS.replace("AmazonEKSEditPolicy, namespaces: [n]", "AmazonEKSEditPolicy"), None).await;
        // The same entry under another key, and the entries of others, do not count as a loss.
        check(
            &ACCESS.replace("principal_arn: \"arn:aws:iam::111111111111:role/ops/bailiwick\"", "role: bailiwick"),
            None,
        )
        .await;
        let deployer = ACCESS.lines().find(|line| line.contains("role: deployer, groups")).unwrap();
        check(&ACCESS.replace(deployer, "      # none"), None).await;
    }
}
