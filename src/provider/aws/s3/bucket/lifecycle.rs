//! Conversion of lifecycle rules to and from the S3 API.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleAndOperator,
    LifecycleRuleFilter, NoncurrentVersionExpiration,
};
use aws_smithy_types::error::operation::BuildError;

use super::Rule;

/// Parts of a live rule that a spec cannot express, by their name in the S3 API.
#[derive(Default)]
struct Other(BTreeMap<String, String>);

impl Other {
    fn note(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            let text = self.0.entry(name.to_owned()).or_default();
            *text = if text.is_empty() { value } else { format!("{text}, {value}") };
        }
    }

    /// Collects the parts of a filter other than the prefix.
    fn of_filter(&mut self, filter: &LifecycleRuleFilter) {
        let and = filter.and();
        let tags = filter.tag().into_iter().chain(and.map(LifecycleRuleAndOperator::tags).unwrap_or_default());
        for tag in tags {
            self.note("Tag", Some(format!("{}={}", tag.key(), tag.value())));
        }
        let greater = filter.object_size_greater_than();
        let greater = greater.or(and.and_then(LifecycleRuleAndOperator::object_size_greater_than));
        self.note("ObjectSizeGreaterThan", greater.map(|n| n.to_string()));
        let less = filter.object_size_less_than();
        let less = less.or(and.and_then(LifecycleRuleAndOperator::object_size_less_than));
        self.note("ObjectSizeLessThan", less.map(|n| n.to_string()));
    }

    /// Collects the actions other than deletion after a number of days.
    fn of_actions(&mut self, rule: &LifecycleRule) {
        let expiration = rule.expiration();
        self.note("Expiration.Date", expiration.and_then(|e| e.date()).map(ToString::to_string));
        let marker = expiration.and_then(LifecycleExpiration::expired_object_delete_marker).filter(|marker| *marker);
        self.note("ExpiredObjectDeleteMarker", marker.map(|marker| marker.to_string()));
        for transition in rule.transitions() {
            let class = transition.storage_class().map_or("", |c| c.as_str());
            let on = when(transition.days(), transition.date());
            self.note("Transition", Some(format!("{on} to {class}")));
        }
        for transition in rule.noncurrent_version_transitions() {
            let class = transition.storage_class().map_or("", |c| c.as_str());
            let kept =
                transition.newer_noncurrent_versions().map_or_else(String::new, |n| format!(" but {n} versions"));
            let on = when(transition.noncurrent_days(), None);
            self.note("NoncurrentVersionTransition", Some(format!("{on} to {class}{kept}")));
        }
        let noncurrent = rule.noncurrent_version_expiration();
        let kept = noncurrent.and_then(NoncurrentVersionExpiration::newer_noncurrent_versions);
        self.note("NewerNoncurrentVersions", kept.map(|n| n.to_string()));
    }
}

fn when(days: Option<i32>, date: Option<&aws_smithy_types::DateTime>) -> String {
    match (days, date) {
        (Some(days), _) => format!("{days} days"),
        (None, Some(date)) => date.to_string(),
        (None, None) => "0 days".to_owned(),
    }
}

/// Converts a live rule. Parts that a spec cannot express go into `other`, so that two different rules never compare as
/// equal.
pub(super) fn live_rule(rule: &LifecycleRule) -> Rule {
    let days = |days: Option<i32>| days.and_then(|d| u32::try_from(d).ok());
    let mut other = Other::default();
    if rule.status() != &ExpirationStatus::Enabled {
        other.note("Status", Some(rule.status().as_str().to_owned()));
    }
    let filter = rule.filter();
    if let Some(filter) = filter {
        other.of_filter(filter);
    }
    other.of_actions(rule);
    let and = filter.and_then(|f| f.and());
    #[expect(deprecated, reason = "rules written before S3 had filters still carry their prefix here")]
    let old_prefix = rule.prefix();
    let prefix = filter.and_then(|f| f.prefix()).or(and.and_then(|a| a.prefix())).or(old_prefix);
    let noncurrent = rule.noncurrent_version_expiration();
    let abort = rule.abort_incomplete_multipart_upload();
    Rule {
        prefix: prefix.unwrap_or_default().to_owned(),
        expire_days: days(rule.expiration().and_then(LifecycleExpiration::days)),
        expire_noncurrent_days: days(noncurrent.and_then(NoncurrentVersionExpiration::noncurrent_days)),
        abort_multipart_days: days(abort.and_then(AbortIncompleteMultipartUpload::days_after_initiation)),
        other: other.0,
    }
}

/// Converts a rule of a spec.
pub(super) fn sdk_rule(id: &str, rule: &Rule) -> Result<LifecycleRule, BuildError> {
    let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
    LifecycleRule::builder()
        .id(id)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(&rule.prefix).build())
        .set_expiration(rule.expire_days.map(|n| LifecycleExpiration::builder().days(days(n)).build()))
        .set_noncurrent_version_expiration(
            rule.expire_noncurrent_days
                .map(|n| NoncurrentVersionExpiration::builder().noncurrent_days(days(n)).build()),
        )
        .set_abort_incomplete_multipart_upload(
            rule.abort_multipart_days
                .map(|n| AbortIncompleteMultipartUpload::builder().days_after_initiation(days(n)).build()),
        )
        .build()
}
