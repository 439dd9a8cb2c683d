//! Checks of the trust policies of roles.

use super::{Check, Findings, LintSeverity, conditions, is_allow, is_limited, resource, takes};
use crate::iam::condition::{Condition, Test};
use crate::iam::policy::{Principal, Statement};

const WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";
const SAML: &str = "sts:AssumeRoleWithSAML";
const ASSUME: &str = "sts:AssumeRole";

pub(super) fn check(statement: &Statement, findings: &mut Findings) {
    resource::check_principals(statement, findings);
    let Some(principals) = statement.principal.as_ref().filter(|p| !p.inverted) else {
        return;
    };
    for principal in &principals.values {
        if let Principal::Federated(provider) = principal
            && let Some((condition, detail)) = contradiction(statement, provider)
        {
            let element = format!("Condition/{}/{}", condition.operator, condition.key);
            findings.add(Check::TrustNeverMatches, element, detail);
            continue;
        }
        if !is_allow(statement) {
            continue;
        }
        match principal {
            Principal::Federated(provider) if provider.contains(['*', '?']) => {
                any_provider(statement, provider, findings);
            }
            Principal::Federated(provider) if takes(statement, WEB_IDENTITY) => {
                web_identity(statement, provider, findings);
            }
            Principal::Everyone | Principal::AnyAws => wildcard(statement, "*", findings),
            // AWS rejects a wildcard in a name, so that no other principal is let in.
            Principal::Aws(text) if resource::account_part(text).contains(['*', '?']) => {
                wildcard(statement, text, findings);
            }
            Principal::Account(account) => cross_account(statement, account, NARROWING, findings),
            _ => {}
        }
        mismatch(statement, principal, findings);
    }
    foreign_accounts(statement, findings);
    redundant_sessions(&principals.values, findings);
}

/// Reports trust in several providers, unless a condition on the subject of a token chooses one.
fn any_provider(statement: &Statement, text: &str, findings: &mut Findings) {
    if !names_subject(statement) {
        wildcard(statement, text, findings);
    }
}

fn wildcard(statement: &Statement, text: &str, findings: &mut Findings) {
    if !is_limited(statement) {
        findings.add(Check::TrustWildcardPrincipal, "Principal", format!("`{text}`"));
    }
}

/// The keys whose values narrow the trust in an account. The last one itself may name the whole account.
const NARROWING: &[&str] = &[
    "sts:externalid",
    "aws:multifactorauthpresent",
    "aws:multifactorauthage",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalarn",
];

fn cross_account(statement: &Statement, account: &str, keys: &[&str], findings: &mut Findings) {
    let narrows = |condition: &Condition| {
        let key = condition.key.as_str().to_ascii_lowercase();
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

/// Reports accounts that only conditions name: of everyone they let in, or on whose behalf a service acts.
fn foreign_accounts(statement: &Statement, findings: &mut Findings) {
    if !is_allow(statement) {
        return;
    }
    for named in resource::foreign_accounts(statement, findings.subject.account) {
        if named.is_whole {
            cross_account(statement, named.account, NARROWING.split_last().map_or(&[], |(_, keys)| keys), findings);
        } else {
            findings.add(Check::ResourceCrossAccount, named.element, format!("`{}`", named.account));
        }
    }
}

/// The condition that no token of a provider meets: it requires a key of another issuer, or of SAML.
///
/// Source: IAM User Guide, "Available keys for AWS OIDC federation": a token has the keys of its own issuer only.
fn contradiction<'s>(statement: &'s Statement, provider: &str) -> Option<(&'s Condition, String)> {
    let own = (!provider.contains(":saml-provider/")).then(|| issuer(provider));
    let mut required = statement.condition.iter().filter(|condition| conditions::requires_key(condition));
    let issuer_of = |condition: &'s Condition| {
        let (name, _) = condition.key.as_str().rsplit_once(':')?;
        (name.contains('.') || name.contains(":oidc-provider/") || name.eq_ignore_ascii_case("saml")).then_some(name)
    };
    if provider == "*" {
        // Any provider may be meant, but it is a single one.
        let mut first = None;
        return required.find_map(|condition| {
            let name = issuer_of(condition)?;
            let before = *first.get_or_insert(name);
            (!name.eq_ignore_ascii_case(before))
                .then(|| (condition, format!("no token has keys of both `{before}` and `{name}`")))
        });
    }
    required.find_map(|condition| {
        let name = issuer_of(condition)?;
        let is_own = match own {
            Some(own) => name.eq_ignore_ascii_case(own),
            None => name.eq_ignore_ascii_case("saml"),
        };
        let key = condition.key.as_str();
        let claim = key.rsplit(':').next().unwrap_or_default();
        (!is_own).then(|| {
            let detail = match own {
                Some(own) if name.eq_ignore_ascii_case(provider) => {
                    format!("the key is `{own}:{claim}`, not the ARN of the provider")
                }
                Some(own) => format!("no token of `{own}` has `{key}`"),
                None => format!("no assertion of `{provider}` has `{key}`"),
            };
            (condition, detail)
        })
    })
}

/// Whether a condition names the subject of an OIDC token.
fn names_subject(statement: &Statement) -> bool {
    statement.condition.iter().any(|condition| {
        let is_subject = |(name, claim): (&str, &str)| name.contains('.') && claim.eq_ignore_ascii_case("sub");
        is_strong(condition)
            && condition.key.as_str().rsplit_once(':').is_some_and(is_subject)
            && !condition.values().any(|value| openness(value).is_some())
    })
}

/// Reports sessions of roles that the statement trusts as a whole.
///
/// Source: IAM User Guide, "IAM Access Analyzer policy check reference", "Redundant principal in role trust policy".
fn redundant_sessions(principals: &[Principal], findings: &mut Findings) {
    for principal in principals {
        let Some((session, role)) = session_of(principal) else { continue };
        let is_role = |other: &&Principal| resource::is_role_named(other, role);
        if let Some(Principal::Aws(role)) = principals.iter().find(is_role) {
            findings.add(Check::Redundant, "Principal/AWS", format!("`{role}` covers `{session}`"));
        }
    }
}

/// The text of a session, and the account and name of its role.
fn session_of(principal: &Principal) -> Option<(&str, (&str, &str))> {
    let Principal::Aws(text) = principal else { return None };
    Some((text, resource::role_of_session(text)?))
}

/// Reports a principal for which none of the statement's Assume... actions works. Statements with only tagging and
/// source identity actions are not checked.
fn mismatch(statement: &Statement, principal: &Principal, findings: &mut Findings) {
    let assumes = [ASSUME, WEB_IDENTITY, SAML].iter().any(|action| takes(statement, action));
    let fits = match principal {
        Principal::Federated(name) if name.contains(":saml-provider/") => takes(statement, SAML),
        Principal::Federated(name) if name.as_ref() == "*" => takes(statement, SAML) || takes(statement, WEB_IDENTITY),
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
    let test = condition.operator.test;
    conditions::requires_key(condition) && !test.is_negated() && test != Test::Null
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
        findings.add(Check::TrustOidcNoSub, "Condition", format!("no condition on `{issuer}:sub`"));
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
    let pinned = is_github && pins_repository(statement, issuer);
    for condition in sub.into_iter().filter(|condition| is_strong(condition)) {
        let element = format!("Condition/{}/{}", condition.operator, condition.key);
        let like = condition.operator.test == Test::StringLike;
        for value in condition.values() {
            match openness(value).filter(|_| like && !pinned) {
                Some(Openness::Namespace) => {
                    let detail = format!("`{value}` is every service account of a namespace");
                    findings.add_as(LintSeverity::Info, Check::TrustOidcSubWildcard, element.clone(), detail);
                }
                Some(Openness::Wide) => {
                    findings.add(Check::TrustOidcSubWildcard, element.clone(), format!("`{value}`"));
                }
                None if is_github && !pinned && is_forgeable(value) => {
                    findings.add(Check::TrustGithubForgeableSub, element.clone(), format!("`{value}`"));
                }
                None if !has_form(value, issuer, is_github) => {
                    findings.add(Check::TrustOidcSubForm, element.clone(), format!("`{value}`"));
                }
                None => {}
            }
        }
    }
}

/// Claims of GitHub whose text the author of a workflow chooses in any repository.
///
/// Source: GitHub documentation, "`OpenID` Connect reference".
const CHOSEN_CLAIMS: &[&str] = &["workflow", "environment", "ref", "context", "head_ref", "base_ref"];

/// Whether a subject of GitHub begins with a claim whose text outsiders choose. With a customized subject, their token
/// can contain everything that follows.
fn is_forgeable(value: &str) -> bool {
    value.split_once(':').is_some_and(|(claim, _)| CHOSEN_CLAIMS.contains(&claim))
}

/// Whether conditions on other claims of GitHub fix the repository or its owner.
fn pins_repository(statement: &Statement, issuer: &str) -> bool {
    const CLAIMS: &[&str] =
        &["repository", "repository_id", "repository_owner", "repository_owner_id", "job_workflow_ref"];
    statement.condition.iter().any(|condition| {
        let is_claim = |(name, claim): (&str, &str)| {
            name.eq_ignore_ascii_case(issuer) && CLAIMS.iter().any(|known| known.eq_ignore_ascii_case(claim))
        };
        // The owner and the repository come before the second slash.
        let is_fixed = |value: &str| !value.splitn(3, '/').take(2).any(|part| part.contains(['*', '?']));
        is_strong(condition)
            && condition.key.as_str().rsplit_once(':').is_some_and(is_claim)
            && condition.values().all(is_fixed)
    })
}

/// What a pattern for `:sub` leaves open.
enum Openness {
    /// The service account, in one namespace.
    Namespace,
    /// The namespace in Kubernetes, the organization or repository in GitHub and similar services, or everything.
    Wide,
}

fn openness(value: &str) -> Option<Openness> {
    let wild = |part: &str| part.contains(['*', '?']);
    let wide = |open: bool| open.then_some(Openness::Wide);
    if let Some(rest) = value.strip_prefix("system:serviceaccount:") {
        return match rest.split_once(':') {
            Some((namespace, _)) if wild(namespace) => Some(Openness::Wide),
            Some((_, account)) => {
                (wild(account) && account.trim_matches(['*', '?']).is_empty()).then_some(Openness::Namespace)
            }
            None => wide(wild(rest)),
        };
    }
    if let Some(rest) = value.strip_prefix("repo:") {
        return wide(wild(rest.split(':').next().unwrap_or_default()));
    }
    // Another form: open if a wildcard comes before anything that identifies the caller, such as right after the name
    // of the first claim.
    let fixed = value.get(..value.find(['*', '?'])?).unwrap_or_default();
    wide(
        fixed.is_empty()
            || "system:serviceaccount:".starts_with(fixed)
            || "repo:".starts_with(fixed)
            || fixed.find(':') == Some(fixed.len() - 1),
    )
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
