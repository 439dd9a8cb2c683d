//! Findings on a whole plan. Each rule has its own file and stable codes.

mod accepted;
mod attachments;
mod context;
mod lint;
mod lints;
mod lockout;
mod quota;

use crate::access;
use crate::diagnostic::{Code, Diagnostic, NamedCode};
use crate::spec::{AcceptSpec, Spec};

pub use accepted::unknown_places;
pub use context::Context;
use context::PlanRule;
pub use lints::Lints;

/// Runs every rule. `today` (YYYY-MM-DD) decides which `accept` entries have expired.
#[must_use]
pub fn run(context: &Context<'_>, today: &str) -> Vec<Diagnostic> {
    let rules: [&dyn PlanRule; 4] = [&quota::Quota, &attachments::Attachments, &lint::Lint, &lockout::Lockout];
    let findings = access::findings(context.spec, context.facts, context.chains);
    judged(context, &rules, findings, today)
}

/// Runs only the rules on the meaning of policies, for live documents that no plan changes.
#[must_use]
pub fn policies(context: &Context<'_>, today: &str) -> Vec<Diagnostic> {
    judged(context, &[&lint::Lint], Vec::new(), today)
}

fn judged(
    context: &Context<'_>,
    rules: &[&dyn PlanRule],
    mut findings: Vec<Diagnostic>,
    today: &str,
) -> Vec<Diagnostic> {
    for rule in rules {
        rule.check(context, &mut findings);
    }
    for finding in &mut findings {
        let accept = acceptance(context.spec, finding);
        if let Some(ended) = accept.filter(|a| a.until.as_str() < today) {
            let ended = format!("the `accept` entry expired on {}", ended.until);
            finding.help = Some(finding.help.take().map_or(ended.clone(), |help| format!("{help}; {ended}")));
        } else {
            finding.accepted = accept.map(|a| a.reason.clone());
        }
    }
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.source.cmp(&b.source)));
    findings
}

/// The `accept` entry that accepts a finding for the longest time. Dates of the form YYYY-MM-DD compare as text.
fn acceptance<'s>(spec: &'s Spec, finding: &Diagnostic) -> Option<&'s AcceptSpec> {
    spec.accept
        .iter()
        .filter(|a| match Code::named(&a.code) {
            NamedCode::Finding(code) | NamedCode::Retired(code) => code == finding.code,
            NamedCode::Problem(_) | NamedCode::Refusal(_) | NamedCode::Unknown(_) => false,
        })
        .filter(|a| a.statement.is_none() || a.statement == finding.foreign_statement)
        .filter(|a| {
            let by_address = finding.address.as_ref().is_some_and(|address| address.to_string() == a.at);
            let path: Vec<&str> = a.at.split('.').collect();
            let by_entry = path.len() > 1 && finding.source.as_ref().is_some_and(|s| spec.holds(&path, s));
            by_address || by_entry
        })
        .max_by(|a, b| a.until.cmp(&b.until))
}
