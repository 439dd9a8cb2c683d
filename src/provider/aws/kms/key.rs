//! `aws.kms.key`: a KMS key, identified by its alias: state, description, rotation, tags.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::{Chains, Facet, Instance};
use crate::address::Scope;
use crate::document::Document;
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Release,
};
use crate::provider::aws::family::{KMS, regional_scopes};
use crate::provider::aws::tags::desired_tags;
use crate::spec::{Facts, Spec, Unmanaged};

/// A KMS key.
pub(crate) struct Key;

/// The state of a usable key.
const ENABLED: &str = "Enabled";
/// The state of a key that is scheduled for deletion.
const PENDING_DELETION: &str = "PendingDeletion";

/// The body of a KMS key. An absent field is not changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyBody {
    /// The alias, with its prefix.
    pub(super) alias: String,
    /// The key's state as KMS names it; `Enabled` is desired.
    ///
    /// A key that is scheduled for deletion keeps its alias until it is deleted, and everything encrypted with it can
    /// be recovered until then. So it exists, in another state: a plan that desires it cancels the deletion, instead of
    /// creating a second key that cannot decrypt anything.
    pub(super) state: String,
    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// Whether the key material is rotated every year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rotation: Option<bool>,
    /// Tags.
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    /// The id of the key that the alias points to. Never desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unique_id: Option<String>,
}

impl Kind for Key {
    const ABOUT: &'static About = &About {
        name: "aws.kms.key",
        api: KMS,
        home: Home::Location,
        named_by: NamedBy::Alias,
        owned_by: OwnedBy::Tags,
        on_loss: OnLoss::Named { loss: "what it encrypted can never be read again" },
        on_silence: OnSilence::Fail,
        release: Release::Forget,
        presence: FieldClass::Setting,
        fields: &[
            BodyField::access("alias").fixed(),
            BodyField::access("state"),
            BodyField::cosmetic("description").resets(),
            BodyField::setting("rotation").resets(),
            BodyField::access("tags"),
            BodyField::access("unique_id").read_only(),
        ],
    };
    type Body = KeyBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        regional_scopes(spec)
    }

    fn facet(_: Instance<'_>) -> Facet<'_> {
        Facet::None
    }

    fn desire(spec: &Spec, _facts: &Facts, _chains: &Chains, resources: &mut DesiredResources<KeyBody>) {
        for entry in spec.unmanaged() {
            let Unmanaged::Key(key) = entry else { continue };
            resources.unmanaged(spec.regional_scope(&key.account, key.region(spec)), key.alias_name());
        }
        for (name, key) in spec.keys.iter().filter(|(_, k)| k.managed) {
            let body = KeyBody {
                alias: key.alias_name(),
                state: ENABLED.into(),
                description: key.description.clone(),
                rotation: key.rotation,
                tags: desired_tags(spec, Self::NAME, name, &key.tags),
                unique_id: None,
            };
            let scope = spec.regional_scope(&key.account, key.region(spec));
            let mut resource =
                DesiredResource::new(name, scope, key.alias_name(), body).at(spec.source(&["keys", name]));
            resource.on_destroy = key.on_destroy;
            resource.protect = key.protect;
            resources.add(resource);
        }
    }

    /// A key that is scheduled for deletion and not desired gives `null`, which is treated as absent.
    fn managed_fields(live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        if desired.is_none() && live.field::<String>("state").as_deref() == Some(PENDING_DELETION) {
            return Document::from(Value::Null);
        }
        Document::managed_fields(live, desired, last)
    }
}

#[cfg(feature = "cloud")]
mod live {
    use std::collections::{BTreeMap, BTreeSet};

    use aws_sdk_kms::Client;
    use aws_sdk_kms::types::{KeyMetadata, KeyState, Tag};

    use super::{ENABLED, Key, KeyBody, PENDING_DELETION};
    use crate::address::Scope;
    use crate::kind::Tagged;
    use crate::kind::{Action, Kind as _};
    use crate::live::{Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::errors::{code, read_error, write_error};
    use crate::provider::aws::kms::alias::{describe, refuse_another};
    use crate::provider::aws::kms::client::client;
    use crate::provider::aws::tags::{ADDRESS_TAG, PROJECT_TAG, ownership_tags, tag_changes, tagged_by};
    use crate::session::{OnlyIfRefused, Session};

    /// The waiting period before a deletion, in days: the maximum that KMS allows.
    const DAYS_TO_DELETION: i32 = 30;

    /// Reads the tags of a listed key. `None` if it was deleted since, or cannot be read and so belongs to others:
    /// Bailiwick can read the keys that it creates.
    async fn listed_tags(kms: &Client, id: &str) -> Result<Option<BTreeMap<String, String>>, ReadError> {
        match find_tags(kms, id).await {
            Ok(tags) => Ok(tags),
            Err(ReadError::Denied { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read_tags(kms: &Client, id: &str) -> Result<BTreeMap<String, String>, ReadError> {
        find_tags(kms, id).await?.ok_or_else(|| ReadError::Failed {
            what: format!("the tags of key `{id}`"),
            why: "there is no such key".into(),
        })
    }

    /// Reads the tags of a key, or `None` if it does not exist.
    async fn find_tags(kms: &Client, id: &str) -> Result<Option<BTreeMap<String, String>>, ReadError> {
        let mut tags = BTreeMap::new();
        let mut pages = kms.list_resource_tags().key_id(id).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) if code(&error) == Some("NotFoundException") => return Ok(None),
                Err(error) => return Err(read_error(format!("the tags of key `{id}`"), &error)),
            };
            tags.extend(page.tags().iter().map(|t| (t.tag_key().to_owned(), t.tag_value().to_owned())));
        }
        Ok(Some(tags))
    }

    /// Reads whether a key is rotated; `None` for keys that do not support it.
    async fn read_rotation(kms: &Client, id: &str) -> Result<Option<bool>, ReadError> {
        match kms.get_key_rotation_status().key_id(id).send().await {
            Ok(answer) => Ok(Some(answer.key_rotation_enabled())),
            Err(error) if code(&error) == Some("UnsupportedOperationException") => Ok(None),
            Err(error) => Err(read_error(format!("the rotation of key `{id}`"), &error)),
        }
    }

    /// Returns the state. A transition between states is not reported as a state of its own.
    fn state(key: &KeyMetadata) -> String {
        match key.key_state() {
            Some(KeyState::Creating | KeyState::Updating) | None => ENABLED.to_owned(),
            Some(state) => state.as_str().to_owned(),
        }
    }

    impl Live for Key {
        /// Finds keys by their aliases. A key whose tags cannot be read belongs to others.
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let kms = client(cloud, scope).await?;
            let mut pages = kms.list_aliases().into_paginator().items().send();
            let mut found = Vec::new();
            while let Some(alias) = pages.next().await {
                let alias = alias.map_err(|error| read_error("the aliases of the account", &error))?;
                let (Some(name), Some(id)) = (alias.alias_name(), alias.target_key_id()) else { continue };
                if name.starts_with("alias/aws/") {
                    continue;
                }
                if let Some(tags) = listed_tags(&kms, id).await? {
                    found.extend(tagged_by(&tags, cloud.project(), Self::NAME, scope, name));
                }
            }
            Ok(found)
        }

        async fn observe(cloud: &Session, scope: &Scope, targets: &[Target]) -> Result<Answers<KeyBody>, ReadError> {
            let kms = client(cloud, scope).await?;
            let kms = &kms;
            Ok(each(targets, |target| async move {
                let alias = target.physical_id.as_str();
                let Some(key) = describe(kms, alias).await? else { return Ok(Observed::Absent) };
                let tags = read_tags(kms, key.key_id()).await?;
                Ok(Observed::Present {
                    owner: tags.get(PROJECT_TAG).cloned(),
                    body: KeyBody {
                        alias: alias.to_owned(),
                        state: state(&key),
                        description: Some(key.description().unwrap_or_default().to_owned()),
                        rotation: read_rotation(kms, key.key_id()).await?,
                        tags,
                        unique_id: Some(key.key_id().to_owned()),
                    },
                })
            })
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<KeyBody>,
        ) -> Result<(), WriteError> {
            let kms = client(cloud, scope).await?;
            let alias = target.physical_id.as_str();
            let found = describe(&kms, alias).await?;
            if let Some(key) = &found {
                refuse_another(target, key, || format!("change key `{alias}`"))?;
            }
            match (action, found) {
                (Action::Create { after }, None) => create(&kms, alias, after).await,
                // Either an earlier attempt created the alias, or another process did. Continue only with a key that
                // has this resource's tags.
                (Action::Create { after }, Some(key)) => {
                    let tags = read_tags(&kms, key.key_id()).await?;
                    if !is_ours(&tags, after) {
                        return Err(WriteError::Conflict {
                            what: format!("create key `{alias}`"),
                            holder: key.arn().unwrap_or(key.key_id()).to_owned(),
                            why: "the alias points to a key that does not carry our tags".into(),
                            help: None,
                        });
                    }
                    settle(&kms, &key, after).await
                }
                (Action::Update { before, after, .. }, Some(key)) => update(&kms, &key, before, after, action).await,
                (Action::Update { .. }, None) => Err(WriteError::Failed {
                    what: format!("update key `{alias}`"),
                    why: "the alias no longer points to a key".into(),
                }),
                (Action::Delete { .. } | Action::Release { .. }, None) => Ok(()),
                (Action::Release { before }, Some(key)) => {
                    untag(&kms, key.key_id(), ownership_tags(&before.tags)).await
                }
                (Action::Delete { .. }, Some(key)) => schedule_deletion(&kms, alias, &key).await,
            }
        }
    }

    fn is_ours(tags: &BTreeMap<String, String>, body: &KeyBody) -> bool {
        [PROJECT_TAG, ADDRESS_TAG]
            .iter()
            .all(|name| tags.contains_key(*name) && tags.get(*name) == body.tags.get(*name))
    }

    fn sdk_tags(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>, WriteError> {
        tags.iter()
            .map(|(key, value)| Tag::builder().tag_key(key).tag_value(value).build())
            .collect::<Result<_, _>>()
            .map_err(|error| WriteError::Failed { what: "tag".into(), why: error.to_string() })
    }

    /// Creates the key and then its alias. If an earlier attempt created a key but no alias, that key is found by its
    /// tags and used, so that a retry does not create a second one.
    async fn create(kms: &Client, alias: &str, body: &KeyBody) -> Result<(), WriteError> {
        let key = if let Some(orphan) = find_orphan(kms, body).await? {
            orphan
        } else {
            let made = kms
                .create_key()
                .set_description(body.description.clone())
                .set_tags(Some(sdk_tags(&body.tags)?))
                .customize()
                // A retry after a lost response would create a second key, so the SDK must not retry.
                .config_override(aws_sdk_kms::config::Builder::new().retry_classifier(OnlyIfRefused))
                .send()
                .await
                .map_err(|error| match write_error(format!("create key `{alias}`"), &error) {
                    WriteError::Unanswered { what, why } => {
                        WriteError::NotYet { what, awaited: "a check whether the key was created".into(), why }
                    }
                    other => other,
                })?;
            made.key_metadata.ok_or_else(|| WriteError::Failed {
                what: format!("create key `{alias}`"),
                why: "KMS returned no key".into(),
            })?
        };
        match kms.create_alias().alias_name(alias).target_key_id(key.key_id()).send().await {
            Ok(_) => {}
            Err(error) if code(&error) == Some("NotFoundException") => {
                return Err(WriteError::NotYet {
                    what: format!("create alias `{alias}`"),
                    awaited: format!("key `{}` to be known everywhere", key.key_id()),
                    why: "NotFoundException".into(),
                });
            }
            Err(error) => return Err(write_error(format!("create alias `{alias}`"), &error)),
        }
        settle(kms, &key, body).await
    }

    /// Finds a key with this resource's ownership tags and without an alias.
    ///
    /// Skips keys with an alias: with these tags, such a key is in use under another name.
    async fn find_orphan(kms: &Client, body: &KeyBody) -> Result<Option<KeyMetadata>, ReadError> {
        let mut named = BTreeSet::new();
        let mut pages = kms.list_aliases().into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| read_error("the aliases of the account", &error))?;
            named.extend(page.aliases().iter().filter_map(|a| a.target_key_id()).map(ToOwned::to_owned));
        }
        let mut pages = kms.list_keys().into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| read_error("the keys of the account", &error))?;
            for id in page.keys().iter().filter_map(|k| k.key_id()).filter(|id| !named.contains(*id)) {
                let Some(tags) = listed_tags(kms, id).await? else { continue };
                if is_ours(&tags, body)
                    && let Some(key) = describe(kms, id).await?
                    && key.key_state() == Some(&KeyState::Enabled)
                {
                    return Ok(Some(key));
                }
            }
        }
        Ok(None)
    }

    /// Updates an owned key, new or from an earlier attempt, to the desired body.
    async fn settle(kms: &Client, key: &KeyMetadata, body: &KeyBody) -> Result<(), WriteError> {
        let id = key.key_id();
        let live = KeyBody {
            alias: body.alias.clone(),
            state: state(key),
            description: Some(key.description().unwrap_or_default().to_owned()),
            rotation: read_rotation(kms, id).await?,
            tags: read_tags(kms, id).await?,
            unique_id: None,
        };
        let mut changed = Vec::new();
        if live.state != body.state {
            changed.push("state".into());
        }
        if body.description.is_some() && live.description != body.description {
            changed.push("description".into());
        }
        if body.rotation.is_some() && live.rotation != body.rotation {
            changed.push("rotation".into());
        }
        // Keep unknown tags: only missing ones are set.
        let before = KeyBody {
            tags: live
                .tags
                .iter()
                .filter(|(k, _)| body.tags.contains_key(*k))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            ..live
        };
        let action = Action::Update { before: before.clone(), after: body.clone(), changed };
        update(kms, key, &before, body, &action).await
    }

    /// Writes field by field, the state first: a key that is scheduled for deletion allows no other change.
    async fn update(
        kms: &Client,
        key: &KeyMetadata,
        before: &KeyBody,
        after: &KeyBody,
        action: &Action<KeyBody>,
    ) -> Result<(), WriteError> {
        let id = key.key_id();
        let what = |part: &str| format!("update the {part} of key `{}`", after.alias);
        if action.touches("state") {
            if state(key) == PENDING_DELETION {
                kms.cancel_key_deletion()
                    .key_id(id)
                    .send()
                    .await
                    .map_err(|error| write_error(format!("cancel the deletion of key `{}`", after.alias), &error))?;
            }
            // Canceling a deletion leaves the key disabled.
            kms.enable_key().key_id(id).send().await.map_err(|error| write_error(what("state"), &error))?;
        }
        let (set, remove) = tag_changes(&before.tags, &after.tags);
        if !set.is_empty() {
            kms.tag_resource()
                .key_id(id)
                .set_tags(Some(sdk_tags(&set)?))
                .send()
                .await
                .map_err(|error| write_error(what("tags"), &error))?;
        }
        untag(kms, id, remove).await?;
        if action.touches("description") {
            kms.update_key_description()
                .key_id(id)
                .description(after.description.clone().unwrap_or_default())
                .send()
                .await
                .map_err(|error| write_error(what("description"), &error))?;
        }
        if action.touches("rotation") {
            // A new key is not rotated, so that is the default to restore.
            if after.rotation.unwrap_or(false) {
                kms.enable_key_rotation().key_id(id).send().await.map_err(|e| write_error(what("rotation"), &e))?;
            } else {
                kms.disable_key_rotation().key_id(id).send().await.map_err(|e| write_error(what("rotation"), &e))?;
            }
        }
        Ok(())
    }

    async fn untag(kms: &Client, id: &str, keys: Vec<String>) -> Result<(), WriteError> {
        if keys.is_empty() {
            return Ok(());
        }
        kms.untag_resource()
            .key_id(id)
            .set_tag_keys(Some(keys))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| write_error(format!("untag key `{id}`"), &error))
    }

    async fn schedule_deletion(kms: &Client, alias: &str, key: &KeyMetadata) -> Result<(), WriteError> {
        if state(key) == PENDING_DELETION {
            return Ok(());
        }
        kms.schedule_key_deletion()
            .key_id(key.key_id())
            .pending_window_in_days(DAYS_TO_DELETION)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| write_error(format!("schedule the deletion of key `{alias}`"), &error))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::recorded::{Recorded, scope};

        const DESCRIBE: &str = "TrentService.DescribeKey";
        const TAGS: &str = "TrentService.ListResourceTags";
        const ROTATION: &str = "TrentService.GetKeyRotationStatus";
        const KEY: &str = r#"{"KeyMetadata":{"KeyId":"k1","Arn":"arn:aws:kms:us-east-1:111111111111:key/k1","Description":"weights","KeyState":"Enabled"}}"#;
        const PENDING: &str = r#"{"KeyMetadata":{"KeyId":"k1","Arn":"arn:aws:kms:us-east-1:111111111111:key/k1","Description":"weights","KeyState":"PendingDeletion"}}"#;
        const OUR_TAGS: &str = r#"{"Tags":[{"TagKey":"bailiwick:project","TagValue":"p"},{"TagKey":"bailiwick:address","TagValue":"aws.kms.key.weights"},{"TagKey":"cost","TagValue":"7"}],"Truncated":false}"#;
        const NOT_FOUND: &str = r#"{"__type":"NotFoundException","message":"Alias is not found."}"#;
        const ROTATED: &str = r#"{"KeyRotationEnabled":true}"#;
        const NOT_ROTATED: &str = r#"{"KeyRotationEnabled":false}"#;

        fn target() -> Target {
            Target::new(Address::new(Key::NAME, "weights"), "alias/weights")
        }

        fn body() -> KeyBody {
            let tags = [(PROJECT_TAG, "p"), (ADDRESS_TAG, "aws.kms.key.weights")];
            KeyBody {
                alias: "alias/weights".into(),
                state: ENABLED.into(),
                description: Some("weights".into()),
                rotation: Some(true),
                tags: tags.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
                unique_id: None,
            }
        }

        async fn observe(exchanges: &[(&'static str, u16, &'static str)]) -> Result<Observed<KeyBody>, ReadError> {
            let server = Recorded::start(exchanges).await;
            let answers = Key::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            answers.into_iter().next().unwrap()
        }

        /// Runs a write, and returns its requests as `Operation {body}`, without reads.
        async fn check_write(
            exchanges: &[(&'static str, u16, &'static str)],
            action: Action<KeyBody>,
        ) -> (Result<(), WriteError>, Vec<String>) {
            let mut all = exchanges.to_vec();
            all.extend([
                (DESCRIBE, 200, KEY),
                (TAGS, 200, OUR_TAGS),
                (ROTATION, 200, NOT_ROTATED),
                ("TrentService.CreateKey", 200, KEY),
                ("TrentService.ListAliases", 200, r#"{"Aliases":[],"Truncated":false}"#),
                ("TrentService.ListKeys", 200, r#"{"Keys":[],"Truncated":false}"#),
                ("TrentService.", 200, "{}"),
            ]);
            let server = Recorded::start(&all).await;
            let done = Key::write(&server.session(), &scope(), &target(), &action).await;
            let short = |request: &String| {
                let operation = request.split_once("TrentService.").unwrap().1;
                let operation = operation.split_once("\r\n").unwrap().0.to_owned();
                let looks = ["Describe", "List", "Get"].iter().any(|p| operation.starts_with(p));
                (!looks).then(|| format!("{operation} {}", request.split_once("\r\n\r\n").unwrap().1))
            };
            (done, server.requests().iter().filter_map(short).collect())
        }

        #[tokio::test]
        async fn failed_key_creation_is_not_repeated() {
            let quota = (400, r#"{"__type":"LimitExceededException","message":"no more keys"}"#);
            let broken = (500, r#"{"__type":"KMSInternalException","message":"broken"}"#);
            for (status, answer) in [quota, broken] {
                let exchanges = [(DESCRIBE, 400, NOT_FOUND), ("TrentService.CreateKey", status, answer)];
                let (done, requests) = check_write(&exchanges, Action::Create { after: body() }).await;
                let expected = matches!(
                    (status, &done),
                    (400, Err(WriteError::OverQuota { .. })) | (500, Err(WriteError::Failed { .. }))
                );
                assert!(expected, "{done:?}");
                assert_eq!(requests.len(), 1, "{requests:?}");
            }
        }

        #[tokio::test]
        async fn a_key_is_read_with_its_owner() {
            let found = observe(&[(DESCRIBE, 200, KEY), (TAGS, 200, OUR_TAGS), (ROTATION, 200, ROTATED)]).await;
            let mut expected = KeyBody { unique_id: Some("k1".into()), ..body() };
            expected.tags.insert("cost".into(), "7".into());
            assert_eq!(found, Ok(Observed::Present { body: expected, owner: Some("p".into()) }));
        }

        #[tokio::test]
        async fn an_alias_that_does_not_exist_is_absent() {
            assert_eq!(observe(&[(DESCRIBE, 400, NOT_FOUND)]).await, Ok(Observed::Absent));
        }

        #[tokio::test]
        async fn forbidden_is_not_absent() {
            // KMS denies access with status 400.
            let denied = r#"{"__type":"AccessDeniedException","Message":"no"}"#;
            let expected =
                |what: &str| Err(ReadError::Denied { what: what.into(), why: "AccessDeniedException: no".into() });
            assert_eq!(observe(&[(DESCRIBE, 400, denied)]).await, expected("key `alias/weights`"));
            let tags = observe(&[(DESCRIBE, 200, KEY), (TAGS, 400, denied)]).await;
            assert_eq!(tags, expected("the tags of key `k1`"));
        }

        #[tokio::test]
        async fn key_pending_deletion_is_present() {
            let found = observe(&[(DESCRIBE, 200, PENDING), (TAGS, 200, OUR_TAGS), (ROTATION, 200, NOT_ROTATED)]).await;
            let Ok(Observed::Present { body, .. }) = found else { panic!("{found:?}") };
            assert_eq!(body.state, "PendingDeletion");
        }

        #[tokio::test]
        async fn tags_are_read_to_the_last_page() {
            let first = r#"{"Tags":[{"TagKey":"a","TagValue":"1"}],"Truncated":true,"NextMarker":"more"}"#;
            let exchanges = [
                (DESCRIBE, 200, KEY),
                (r#""Marker":"more""#, 200, OUR_TAGS),
                (TAGS, 200, first),
                (ROTATION, 200, ROTATED),
            ];
            let Ok(Observed::Present { body, owner }) = observe(&exchanges).await else { panic!("not there") };
            assert_eq!((body.tags.len(), owner.as_deref()), (4, Some("p")));
        }

        #[tokio::test]
        async fn a_new_key_gets_tags_alias_and_rotation() {
            let (done, requests) = check_write(&[(DESCRIBE, 400, NOT_FOUND)], Action::Create { after: body() }).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    r#"CreateKey {"Description":"weights","Tags":[{"TagKey":"bailiwick:address","TagValue":"aws.kms.key.weights"},{"TagKey":"bailiwick:project","TagValue":"p"}]}"#,
                    r#"CreateAlias {"AliasName":"alias/weights","TargetKeyId":"k1"}"#,
                    r#"EnableKeyRotation {"KeyId":"k1"}"#,
                ]
            );
        }

        #[tokio::test]
        async fn create_reuses_a_key_without_alias_from_an_earlier_attempt() {
            let denied = r#"{"__type":"AccessDeniedException","message":"no"}"#;
            let exchanges = [
                (r#""KeyId":"alias/weights""#, 400, NOT_FOUND),
                (
                    "TrentService.ListAliases",
                    200,
                    r#"{"Aliases":[{"AliasName":"alias/b","TargetKeyId":"k2"}],"Truncated":false}"#,
                ),
                (r#""Marker":"m""#, 200, r#"{"Keys":[{"KeyId":"k1"}],"Truncated":false}"#),
                (
                    "TrentService.ListKeys",
                    200,
                    r#"{"Keys":[{"KeyId":"k2"},{"KeyId":"k3"}],"Truncated":true,"NextMarker":"m"}"#,
                ),
                (r#"{"KeyId":"k3"}"#, 400, denied),
            ];
            let (done, requests) = check_write(&exchanges, Action::Create { after: body() }).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    r#"CreateAlias {"AliasName":"alias/weights","TargetKeyId":"k1"}"#,
                    r#"EnableKeyRotation {"KeyId":"k1"}"#
                ]
            );
        }

        #[tokio::test]
        async fn create_does_not_reuse_a_key_with_another_alias() {
            let exchanges = [
                (r#""KeyId":"alias/weights""#, 400, NOT_FOUND),
                (
                    "TrentService.ListAliases",
                    200,
                    r#"{"Aliases":[{"AliasName":"alias/old","TargetKeyId":"k1"}],"Truncated":false}"#,
                ),
                ("TrentService.ListKeys", 200, r#"{"Keys":[{"KeyId":"k1"}],"Truncated":false}"#),
            ];
            let (done, requests) = check_write(&exchanges, Action::Create { after: body() }).await;
            assert_eq!((done, requests.len()), (Ok(()), 3));
            assert!(requests[0].starts_with("CreateKey "), "{requests:?}");
        }

        #[tokio::test]
        async fn create_completes_a_key_that_already_has_its_alias() {
            let (done, requests) = check_write(&[], Action::Create { after: body() }).await;
            assert_eq!((done, requests), (Ok(()), vec![r#"EnableKeyRotation {"KeyId":"k1"}"#.to_owned()]));
        }

        #[tokio::test]
        async fn foreign_alias_is_a_conflict() {
            let theirs = (TAGS, 200, r#"{"Tags":[],"Truncated":false}"#);
            let (done, requests) = check_write(&[theirs], Action::Create { after: body() }).await;
            assert!(matches!(done, Err(WriteError::Conflict { .. })), "{done:?}");
            assert_eq!(requests, [""; 0]);
        }

        #[tokio::test]
        async fn update_writes_only_changed_fields() {
            let mut before = body();
            before.tags.insert("old".into(), "1".into());
            before.description = Some("old".into());
            let action =
                Action::Update { before, after: body(), changed: vec!["description".into(), "tags.old".into()] };
            let (done, requests) = check_write(&[], action).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    r#"UntagResource {"KeyId":"k1","TagKeys":["old"]}"#,
                    r#"UpdateKeyDescription {"KeyId":"k1","Description":"weights"}"#
                ]
            );
        }

        #[tokio::test]
        async fn a_deletion_is_canceled_before_anything_else() {
            let before = KeyBody { state: PENDING_DELETION.into(), rotation: Some(false), ..body() };
            let action = Action::Update { before, after: body(), changed: vec!["rotation".into(), "state".into()] };
            let (done, requests) = check_write(&[(DESCRIBE, 200, PENDING)], action).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    r#"CancelKeyDeletion {"KeyId":"k1"}"#,
                    r#"EnableKey {"KeyId":"k1"}"#,
                    r#"EnableKeyRotation {"KeyId":"k1"}"#
                ]
            );
        }

        #[tokio::test]
        async fn key_behind_a_repointed_alias_is_not_changed() {
            let target = Target { unique_id: Some("k0".into()), ..target() };
            let before = KeyBody { tags: BTreeMap::new(), ..body() };
            for action in [
                Action::Update { before, after: body(), changed: vec!["tags".into()] },
                Action::Delete { before: body() },
                Action::Release { before: body() },
            ] {
                let server = Recorded::start(&[(DESCRIBE, 200, KEY), ("TrentService.", 200, "{}")]).await;
                let done = Key::write(&server.session(), &scope(), &target, &action).await;
                assert_eq!(
                    done,
                    Err(WriteError::Conflict {
                        what: "change key `alias/weights`".into(),
                        holder: "arn:aws:kms:us-east-1:111111111111:key/k1".into(),
                        why: "the alias points to it now, and not to `k0` as before: nothing was written".into(),
                        help: None
                    })
                );
                assert_eq!(server.requests().len(), 1, "it was only looked at");
            }
        }

        #[tokio::test]
        async fn a_delete_leaves_thirty_days() {
            let delete = || Action::Delete { before: body() };
            let (done, requests) = check_write(&[], delete()).await;
            assert_eq!(
                (done, requests),
                (Ok(()), vec![r#"ScheduleKeyDeletion {"KeyId":"k1","PendingWindowInDays":30}"#.to_owned()])
            );
            let (done, requests) = check_write(&[], Action::Release { before: body() }).await;
            let expected = r#"UntagResource {"KeyId":"k1","TagKeys":["bailiwick:address","bailiwick:project"]}"#;
            assert_eq!((done, requests), (Ok(()), vec![expected.to_owned()]));
            for gone in [(DESCRIBE, 400, NOT_FOUND), (DESCRIBE, 200, PENDING)] {
                assert_eq!(check_write(&[gone], delete()).await, (Ok(()), Vec::new()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Desires;
    use crate::spec::{OnDestroy, SourceFile, load};

    #[test]
    fn only_managed_keys_are_desired_with_what_the_spec_sets() {
        let text = "version: 1\nproject: p\naccounts:\n  a: { id: \"111111111111\", region: us-east-1 }\nkeys:\n  \
            ours: { account: a, alias: weights, managed: true, region: us-west-2, rotation: true, on_destroy: delete, protect: true, tags: { team: ml } }\n  \
            theirs: { account: a, alias: logs }\n";
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        let erased = crate::kind::Erased::<Key>::NEW;
        let Desires { resources: found, problems, .. } =
            crate::kind::AnyKind::desire(&erased, &spec.unwrap(), &Facts::default(), &Chains::default());
        assert_eq!(problems, []);
        let [key] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            key.body.tree(),
            serde_json::json!({"alias": "alias/weights", "state": "Enabled", "rotation": true, "tags": {
                "team": "ml", "bailiwick:project": "p", "bailiwick:address": "aws.kms.key.ours"
            }})
        );
        assert_eq!(key.scope.to_string(), "account `a` (111111111111, us-west-2)");
        assert_eq!((key.on_destroy, key.protect), (OnDestroy::Delete, true));
    }

    #[test]
    fn key_pending_deletion_counts_as_deleted_unless_desired() {
        let live = Document::from(serde_json::json!({"alias": "alias/a", "state": "PendingDeletion", "tags": {}}));
        let resource = Document::from(serde_json::json!({"alias": "alias/a", "state": "Enabled", "tags": {}}));
        assert_eq!(Key::managed_fields(&live, None, Some(&resource)), Document::from(Value::Null));
        assert_eq!(Key::managed_fields(&live, Some(&resource), None).tree()["state"], "PendingDeletion");
    }
}
