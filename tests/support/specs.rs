//! Random valid specs, and the same spec as text in many ways.

use std::fmt;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

type Bytes = [u8; 8];

/// Random choices come from bytes, so that a smaller draft is a smaller spec.
#[derive(Clone)]
pub struct Draft {
    accounts: u8,
    clusters: Vec<Bytes>,
    keys: Vec<Bytes>,
    buckets: Vec<Bytes>,
    policies: Vec<Bytes>,
    roles: Vec<Bytes>,
    service_accounts: Vec<Bytes>,
    grants: Vec<Bytes>,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.value())
    }
}

/// The project of every draft.
pub const PROJECT: &str = "p";

/// Any valid spec.
pub fn drafts() -> impl Strategy<Value = Draft> {
    let some = |most: usize| prop::collection::vec(any::<Bytes>(), 0..=most);
    let one = |most: usize| prop::collection::vec(any::<Bytes>(), 1..=most);
    (0u8..3, one(2), some(2), one(3), some(1), some(3), one(4), some(7)).prop_map(
        |(accounts, clusters, keys, buckets, policies, roles, service_accounts, grants)| Draft {
            accounts,
            clusters,
            keys,
            buckets,
            policies,
            roles,
            service_accounts,
            grants,
        },
    )
}

/// The valid spec of a seed.
#[must_use]
pub fn draft_of(seed: u64) -> Draft {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    drafts().new_tree(&mut runner).unwrap().current()
}

const IDS: [&str; 3] = ["111111111111", "022222222222", "333333333333"];
const REGIONS: [&str; 3] = ["us-west-2", "eu-central-1", "us-west-2"];
const PREFIXES: [&str; 7] = ["m/", "", "m/sub folder/", "wild*?$/", "q", "n/", "m/deeper/still/"];

/// True for one byte in this many.
fn seldom(byte: u8, in_how_many: u8) -> bool {
    byte % in_how_many == in_how_many - 1
}

fn pick<T: Copy>(from: &[T], byte: u8) -> T {
    from[usize::from(byte) % from.len()]
}

impl Draft {
    fn account(&self, byte: u8) -> String {
        format!("a{}", byte % (self.accounts + 1))
    }

    fn region(account: &str) -> &'static str {
        REGIONS[account[1..].parse::<usize>().unwrap()]
    }

    /// The spec as a tree.
    #[must_use]
    pub fn value(&self) -> Value {
        let mut spec = json!({ "version": 1, "project": PROJECT });
        let mut section = |name: &str, entries: Map<String, Value>| {
            if !entries.is_empty() {
                spec[name] = Value::Object(entries);
            }
        };
        let accounts = (0..=self.accounts).map(|n| {
            let n = usize::from(n);
            (format!("a{n}"), json!({ "id": IDS[n], "region": REGIONS[n] }))
        });
        section("accounts", accounts.collect());
        let clusters: Map<String, Value> = numbered("c", &self.clusters, |n, b| {
            let mut cluster = json!({ "account": self.account(b[0]), "name": format!("eks-{n}") });
            set(&mut cluster, b[1] % 2 == 1, "identity", "irsa".into());
            set(&mut cluster, seldom(b[2], 4), "oidc_provider", "existing".into());
            set(&mut cluster, seldom(b[3], 4), "pod_identity_agent", "existing".into());
            let mut access = Vec::new();
            if !self.roles.is_empty() && b[4] % 2 == 1 {
                let role = format!("r{}", usize::from(b[4] / 2) % self.roles.len());
                access
                    .push(json!({ "role": role, "groups": pick(&[&["readers"][..], &["readers", "ops"], &[]], b[5]) }));
            }
            if b[6] % 3 == 1 {
                let user = format!("arn:aws:iam::{}:user/ops/{}", IDS[0], pick(&["kim", "lee"], b[6]));
                let policy = pick(&["AmazonEKSViewPolicy", "AmazonEKSEditPolicy"], b[7]);
                let mut policy = json!({ "name": policy });
                set(&mut policy, b[7] % 3 == 1, "namespaces", json!(["n0", "n1"]));
                access.push(json!({ "principal_arn": user, "policies": [policy] }));
            }
            set(&mut cluster, !access.is_empty(), "access", access.into());
            cluster
        });
        let keys: Map<String, Value> = numbered("k", &self.keys, |n, b| {
            let mut key = json!({ "account": self.account(b[0]), "alias": format!("key-{n}-{}", b[1] % 2) });
            let managed = b[2] % 2 == 1;
            set(&mut key, managed, "managed", true.into());
            set(&mut key, managed && b[3] % 2 == 1, "on_destroy", "delete".into());
            set(&mut key, managed && b[4] % 2 == 1, "rotation", seldom(b[5], 2).into());
            set(&mut key, managed && b[6] % 2 == 1, "description", format!("key {}", b[7] % 3).into());
            key
        });
        let key_of = |account: &str, byte: u8| {
            let fitting: Vec<&String> = keys
                .iter()
                .filter(|(_, k)| Self::region(k["account"].as_str().unwrap()) == Self::region(account))
                .map(|(name, _)| name)
                .collect();
            (!fitting.is_empty()).then(|| pick(&fitting, byte).clone())
        };
        let buckets: Map<String, Value> = numbered("b", &self.buckets, |n, b| {
            let account = self.account(b[0]);
            let mut bucket = json!({ "account": account, "name": format!("acme-{n}-{account}-{}", b[1] / 64 % 2) });
            let managed = !seldom(b[1], 5);
            set(&mut bucket, !managed, "managed", false.into());
            set(&mut bucket, b[2] % 3 == 1, "versioning", (b[2] % 2 == 1).into());
            match (b[3] % 3, key_of(&account, b[3] / 3)) {
                (0, Some(key)) => set(&mut bucket, true, "encryption", json!({ "kms_key": key })),
                (1, _) => set(&mut bucket, true, "encryption", "AES256".into()),
                _ => {}
            }
            set(&mut bucket, seldom(b[4], 4), "policy", "exclusive".into());
            set(&mut bucket, b[5] % 2 == 1, "on_destroy", "delete".into());
            set(&mut bucket, seldom(b[6], 3), "same_account_statements", true.into());
            set(&mut bucket, b[7] % 3 == 1, "tags", json!({ "team": format!("t{}", b[7] % 2) }));
            let rule = json!([{ "id": "old", "prefix": "tmp/", "expire_days": 1 + b[7] % 3 }]);
            set(&mut bucket, seldom(b[7], 4), "lifecycle", rule);
            bucket
        });
        let document = |resource: &str| {
            json!({ "Version": "2012-10-17",
                "Statement": [{ "Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": resource }] })
        };
        let policies: Map<String, Value> = numbered("y", &self.policies, |n, b| {
            json!({ "account": self.account(b[0]), "name": format!("Policy-{n}-{}", b[1] % 2),
                "document": document(pick(&["*", "arn:aws:s3:::*"], b[2])) })
        });
        let roles: Map<String, Value> = numbered("r", &self.roles, |n, b| {
            let account = self.account(b[0]);
            let mut role = json!({ "account": account, "name": format!("role-{n}-{}", b[1] % 2) });
            if seldom(b[3], 4) {
                set(&mut role, true, "managed", false.into());
                set(&mut role, true, "name", format!("outside-{n}").into());
                return role;
            }
            set(&mut role, b[2] % 4 == 1, "path", "/team/".into());
            let mut trust = vec![json!({ "service": "ec2.amazonaws.com" })];
            if n > 0 && b[3] % 2 == 1 {
                trust.push(json!({ "role": "r0" }));
            }
            if b[3] % 3 == 1 {
                trust.push(json!({ "account": self.account(b[4]) }));
            }
            set(&mut role, true, "trust", trust.into());
            let mut attached = Vec::new();
            if b[5] % 2 == 1 {
                attached.push(json!("arn:aws:iam::aws:policy/ReadOnlyAccess"));
            }
            if let Some(policy) = policies.get("y0").filter(|p| p["account"] == role["account"]) {
                let _ = policy;
                if b[5] % 4 > 1 {
                    attached.push(json!("y0"));
                }
                set(&mut role, b[6] % 4 == 1, "permissions_boundary", "y0".into());
            }
            set(&mut role, !attached.is_empty(), "policies", attached.into());
            set(&mut role, b[6] % 3 == 1, "inline", json!({ "own": document("*") }));
            set(&mut role, b[7] % 3 == 1, "tags", json!({ "team": "ml", "cost": format!("{}", b[7] % 2) }));
            set(&mut role, b[7] % 4 == 1, "max_session_duration", 7200.into());
            set(&mut role, b[7] % 5 == 1, "description", format!("role {}", b[7] % 2).into());
            role
        });
        let identity = |account: &Value| {
            let cluster = &clusters[account["cluster"].as_str().unwrap()];
            account.get("identity").or_else(|| cluster.get("identity")).is_some_and(|i| i == "irsa")
        };
        let service_accounts: Map<String, Value> = numbered("sa", &self.service_accounts, |n, b| {
            let cluster = format!("c{}", usize::from(b[0]) % self.clusters.len());
            let mut account = json!({ "cluster": cluster, "namespace": format!("n{}", b[1] % 2),
                "name": format!("sa-{n}-{}", b[2] / 64 % 2) });
            set(&mut account, b[2] % 3 == 1, "identity", pick(&["irsa", "pod_identity"], b[2] / 3).into());
            // A namespace that one service account creates is created by all of them: one in use cannot be deleted.
            set(&mut account, b[1] % 2 == 1, "create_namespace", true.into());
            match b[3] % 6 {
                4 => set(&mut account, true, "manage", "annotation".into()),
                5 => set(&mut account, true, "manage", "none".into()),
                _ => {}
            }
            set(&mut account, b[5] % 3 == 1, "labels", json!({ "team": format!("t{}", b[5] % 2) }));
            set(&mut account, seldom(b[6], 4), "disable_session_tags", true.into());
            if !roles.is_empty() && b[7] % 2 == 1 {
                let role = format!("r{}", usize::from(b[7] / 2) % roles.len());
                let home = &clusters[&cluster]["account"];
                let fits = identity(&account) || roles[&role]["account"] == *home;
                set(&mut account, fits, "role", role.into());
            }
            account
        });
        let mut grants: Vec<Value> = Vec::new();
        for b in &self.grants {
            let to = format!("sa{}", usize::from(b[0]) % self.service_accounts.len());
            let bucket = format!("b{}", usize::from(b[1]) % self.buckets.len());
            let account = &service_accounts[&to];
            let abroad = buckets[&bucket]["account"] != clusters[account["cluster"].as_str().unwrap()]["account"];
            let before: Vec<&Value> = grants.iter().filter(|g| g["to"] == *to).collect();
            let mut assume = abroad && b[4] % 2 == 1;
            // Pod Identity provides the credentials of one role only.
            if let (false, Some(first)) = (identity(account), before.first()) {
                let chained = first.get("mode").is_some();
                let same = buckets[first["bucket"].as_str().unwrap()]["account"] == buckets[&bucket]["account"];
                if chained && !same {
                    continue;
                }
                assume = chained;
            }
            let access = pick(&["read", "write", "read_write", "list", "delete", "actions"], b[3]);
            let access = if access == "actions" {
                json!({ "actions": ["s3:GetObject", "s3:GetBucketTagging", "s3:ListBucket"] })
            } else {
                json!(access)
            };
            let mut grant = json!({ "to": to, "bucket": bucket, "prefix": pick(&PREFIXES, b[2]), "access": access });
            set(&mut grant, assume, "mode", "assume_role".into());
            set(&mut grant, seldom(b[5], 4), "head_bucket", true.into());
            grants.push(grant);
        }
        section("clusters", clusters);
        section("keys", keys);
        section("buckets", buckets);
        section("policies", policies);
        section("roles", roles);
        section("service_accounts", service_accounts);
        if !grants.is_empty() {
            spec["grants"] = grants.into();
        }
        spec
    }

    /// The spec as text.
    #[must_use]
    pub fn text(&self) -> String {
        yaml(&self.value(), &mut Chance(1))
    }
}

fn numbered(letter: &str, entries: &[Bytes], each: impl Fn(usize, &Bytes) -> Value) -> Map<String, Value> {
    entries.iter().enumerate().map(|(n, bytes)| (format!("{letter}{n}"), each(n, bytes))).collect()
}

fn set(entry: &mut Value, when: bool, key: &str, value: Value) {
    if when {
        entry[key] = value;
    }
}

/// A small generator of numbers (xorshift).
pub struct Chance(pub u64);

impl Chance {
    /// A number from 0 to one less than `most`.
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most.max(1)
    }

    fn shuffled<T>(&mut self, mut list: Vec<T>) -> Vec<T> {
        for n in (1..list.len()).rev() {
            list.swap(n, self.below(n + 1));
        }
        list
    }
}

/// The same tree as YAML: the order of keys, block or flow style, quotes, comments and indentation are random.
#[must_use]
pub fn yaml(value: &Value, chance: &mut Chance) -> String {
    let mut out = String::new();
    let step = 2 + 2 * chance.below(2);
    block(value, 0, step, chance, &mut out);
    out
}

/// The same tree divided over two files, which mean the same in either order.
#[must_use]
pub fn two_files(value: &Value, chance: &mut Chance) -> [String; 2] {
    let mut halves = [Map::new(), Map::new()];
    for (key, entry) in value.as_object().unwrap() {
        match entry {
            Value::Object(entries) => {
                for (name, inner) in entries {
                    let half = &mut halves[chance.below(2)];
                    let section = half.entry(key.clone()).or_insert_with(|| json!({}));
                    section[name] = inner.clone();
                }
            }
            _ => {
                halves[chance.below(2)].insert(key.clone(), entry.clone());
            }
        }
    }
    halves.map(|half| yaml(&Value::Object(half), chance))
}

fn block(value: &Value, indent: usize, step: usize, chance: &mut Chance, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let entries = chance.shuffled(map.iter().collect());
            for (key, inner) in entries {
                match chance.below(12) {
                    0 => out.push_str(&format!("{pad}# about {key}\n")),
                    1 => out.push('\n'),
                    _ => {}
                }
                out.push_str(&format!("{pad}{}:", scalar(key, chance)));
                nested(inner, indent, step, chance, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for inner in list {
                out.push_str(&format!("{pad}-"));
                nested(inner, indent, step, chance, out);
            }
        }
        other => out.push_str(&format!("{pad}{}\n", flow(other, chance))),
    }
}

fn nested(inner: &Value, indent: usize, step: usize, chance: &mut Chance, out: &mut String) {
    let deep = match inner {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    if deep && chance.below(3) > 0 {
        out.push('\n');
        block(inner, indent + step, step, chance, out);
    } else {
        let comment = if chance.below(8) == 0 { "  # as agreed" } else { "" };
        out.push_str(&format!(" {}{comment}\n", flow(inner, chance)));
    }
}

fn flow(value: &Value, chance: &mut Chance) -> String {
    match value {
        Value::Object(map) => {
            let entries = chance.shuffled(map.iter().collect());
            let inner: Vec<String> =
                entries.into_iter().map(|(k, v)| format!("{}: {}", scalar(k, chance), flow(v, chance))).collect();
            format!("{{ {} }}", inner.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(|v| flow(v, chance)).collect::<Vec<_>>().join(", ")),
        Value::String(text) => scalar(text, chance),
        other => other.to_string(),
    }
}

fn scalar(text: &str, chance: &mut Chance) -> String {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/.".contains(&b))
        && !words.contains(&text.to_lowercase().as_str());
    match chance.below(3) {
        0 if plain => text.to_owned(),
        1 if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', "''")),
        _ => Value::from(text).to_string(),
    }
}
