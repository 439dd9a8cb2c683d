//! Checks of the trust policies of roles.

use super::{Check, Findings, is_allow, is_limited, takes};
use crate::iam::condition::{Condition, Qualifier, Test};
use crate::iam::policy::{Principal, Statement};

const WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";
const SAML: &str = "sts:AssumeRoleWithSAML";
const ASSUME: &str = "sts:AssumeRole";

pub(super) fn check(statement: &Statement, findings: &mut Findings) {
    super::resource::check_principals(statement, findings);
    if !is_allow(statement) {
        return;
    }
    let Some(principals) = statement.principal.as_ref().filter(|p| !p.inverted) else {
        return;
    };
    for principal in &principals.values {
        match principal {
            Principal::Federated(provider) if takes(statement, WEB_IDENTITY) => {
                web_identity(statement, provider, findings);
            }
            Principal::Everyone | Principal::AnyAws => wildcard(statement, "*", findings),
            Principal::Aws(text) if text.contains(['*', '?']) => {
                wildcard(statement, text, findings);
            }
            Principal::Account(account) => cross_account(statement, account, findings),
            _ => {}
        }
        mismatch(statement, principal, findings);
    }
}

fn wildcard(statement: &Statement, text: &str, findings: &mut Findings) {
    if !is_limited(statement) {
        findings.add(Check::TrustWildcardPrincipal, "Principal", format!("`{text}`"));
    }
}

fn cross_account(statement: &Statement, account: &str, findings: &mut Findings) {
    let narrows = |condition: &Condition| {
        let key = condition.key.as_str().to_ascii_lowercase();
        let keys = [
            "sts:externalid",
            "aws:multifactorauthpresent",
            "aws:multifactorauthage",
            "aws:principalorgid",
            "aws:principalorgpaths",
            "aws:principalarn",
        ];
        let says_little = |value: &str| {
            value.trim_matches('*').is_empty()
                || (key == "aws:multifactorauthpresent" && !value.eq_ignore_ascii_case("true"))
        };
        keys.contains(&key.as_str()) && is_strong(condition) && !condition.values().any(says_little)
    };
    if findings.subject.account.is_some_and(|own| own != account) && !statement.condition.iter().any(narrows) {
        findings.add(Check::TrustCrossAccountRoot, "Principal/AWS", format!("`{account}`"));
    }
}

/// Reports a principal for which none of the statement's Assume... actions works. Statements with only tagging and
/// source identity actions are not checked.
fn mismatch(statement: &Statement, principal: &Principal, findings: &mut Findings) {
    let assumes = [ASSUME, WEB_IDENTITY, SAML].iter().any(|action| takes(statement, action));
    let fits = match principal {
        Principal::Federated(name) if name.contains(":saml-provider/") => takes(statement, SAML),
        Principal::Federated(_) => takes(statement, WEB_IDENTITY),
        Principal::Everyone => true,
        _ => takes(statement, ASSUME),
    };
    if assumes && !fits {
        let (_, text) = principal.entry();
        findings.add(Check::TrustMismatchedAction, "Action", format!("not for `{text}`"));
    }
}

/// Whether a condition requires the key to be present with one of its values.
fn is_strong(condition: &Condition) -> bool {
    let operator = condition.operator;
    !operator.if_exists
        && operator.qualifier != Some(Qualifier::ForAllValues)
        && !operator.test.is_negated()
        && operator.test != Test::Null
}

/// The issuer of a provider: the part of its condition keys before the last colon.
fn issuer(provider: &str) -> &str {
    provider.split_once(":oidc-provider/").map_or(provider, |(_, issuer)| issuer)
}

fn web_identity(statement: &Statement, provider: &str, findings: &mut Findings) {
    if provider.contains(":saml-provider/") {
        return;
    }
    let issuer = issuer(provider);
    let of = |claim: &str| -> Vec<&Condition> {
        let key = format!("{issuer}:{claim}");
        let same = |c: &&Condition| c.key.as_str().eq_ignore_ascii_case(&key) && c.operator.test != Test::Null;
        statement.condition.iter().filter(same).collect()
    };
    if !provider.contains(":oidc-provider/") {
        // Amazon Cognito, Login with Amazon, Facebook and Google have their own keys; any of them is enough.
        let own =
            |c: &Condition| c.key.as_str().rsplit_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case(issuer));
        if !statement.condition.iter().any(own) {
            findings.add(Check::TrustOidcNoSub, "Condition", format!("no key of `{issuer}`"));
        }
        return;
    }
    let sub = of("sub");
    let is_github = issuer.eq_ignore_ascii_case("token.actions.githubusercontent.com");
    if sub.is_empty() {
        let by_arn = format!("{provider}:sub");
        let written = statement.condition.iter().find(|c| c.key.as_str().eq_ignore_ascii_case(&by_arn));
        let detail = if written.is_some() {
            format!("the key is `{issuer}:sub`, not the ARN of the provider")
        } else {
            format!("no condition on `{issuer}:sub`")
        };
        findings.add(Check::TrustOidcNoSub, "Condition", detail);
        if is_github {
            findings.add(Check::TrustGithubNoSub, "Condition", "");
        }
    } else if !sub.iter().any(|condition| is_strong(condition)) {
        let operators: Vec<String> = sub.iter().map(|c| format!("`{}`", c.operator)).collect();
        findings.add(Check::TrustOidcWeakOperator, "Condition", operators.join(", "));
    }
    if of("aud").is_empty() {
        findings.add(Check::TrustOidcNoAud, "Condition", format!("no condition on `{issuer}:aud`"));
    }
    for condition in sub.into_iter().filter(|condition| is_strong(condition)) {
        let element = format!("Condition/{}/{}", condition.operator, condition.key);
        let like = condition.operator.test == Test::StringLike;
        for value in condition.values() {
            if like && leaves_open(value) {
                findings.add(Check::TrustOidcSubWildcard, element.clone(), format!("`{value}`"));
            } else if !has_form(value, issuer, is_github) {
                findings.add(Check::TrustOidcSubForm, element.clone(), format!("`{value}`"));
            }
        }
    }
}

/// Whether a pattern for `:sub` does not identify the caller: it leaves open the namespace or the service account in
/// Kubernetes, the organization or repository in GitHub and similar services, or everything.
fn leaves_open(value: &str) -> bool {
    let wild = |part: &str| part.contains(['*', '?']);
    if let Some(rest) = value.strip_prefix("system:serviceaccount:") {
        return match rest.split_once(':') {
            Some((namespace, account)) => {
                wild(namespace) || (wild(account) && account.trim_matches(['*', '?']).is_empty())
            }
            None => wild(rest),
        };
    }
    if let Some(rest) = value.strip_prefix("repo:") {
        return wild(rest.split(':').next().unwrap_or_default());
    }
    // Another form: open if a wildcard comes before anything that identifies the caller.
    value.find(['*', '?']).is_some_and(|at| {
        let fixed = value.get(..at).unwrap_or_default();
        fixed.is_empty() || "system:serviceaccount:".starts_with(fixed) || "repo:".starts_with(fixed)
    })
}

/// Whether the provider issues subjects in this form.
fn has_form(value: &str, issuer: &str, is_github: bool) -> bool {
    if value.contains("${") {
        return true;
    }
    if issuer.starts_with("oidc.eks.") {
        return value
            .strip_prefix("system:serviceaccount:")
            .is_some_and(|rest| rest.split(':').filter(|part| !part.is_empty()).count() == 2);
    }
    !is_github || value.contains(':')
}
