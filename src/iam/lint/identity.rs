//! Checks of identity-based policies: what they allow too broadly.

use super::{Check, Findings, is_allow, is_open, is_open_arn, takes};
use crate::iam::arn;
use crate::iam::catalogue::{AccessLevel, ServiceEntry};
use crate::iam::condition::{Condition, Test};
use crate::iam::policy::{Effect, Statement};

/// Checks a statement. `all` are the statements of all documents that apply together.
pub(super) fn check(statement: &Statement, all: &[Statement], findings: &mut Findings) {
    if !is_allow(statement) {
        return;
    }
    // An action that another statement denies wherever this one allows it is not allowed.
    let denied = |action: &str, covers: fn(&str) -> bool| is_denied(all.iter(), statement, action, covers);
    let gives = |action: &str| takes(statement, action) && !denied(action, is_open_arn);
    let open = is_open(statement.resource.as_ref());
    let inverted_resource = statement.resource.as_ref().is_some_and(|resource| resource.inverted);
    if statement.action.inverted {
        findings.add(Check::IdentityAllowNotElement, "NotAction", "");
    }
    if inverted_resource {
        findings.add(Check::IdentityAllowNotElement, "NotResource", "");
    }
    let everything = statement
        .resource
        .as_ref()
        .is_some_and(|resource| resource.inverted || resource.values.iter().any(|text| is_everything(text)));
    let all_actions =
        statement.action.inverted || statement.action.values.iter().any(|p| matches!(p.as_str(), "*" | "*:*"));
    // The unnamed action stands for everything else.
    if everything && all_actions && !denied(UNNAMED, is_everything) {
        let element = if statement.action.inverted { "NotAction" } else { "Action" };
        findings.add(Check::IdentityAdmin, element, "");
    }
    if open && !statement.action.inverted {
        for pattern in &statement.action.values {
            if let Some((service, name)) = pattern.as_str().split_once(':')
                && !service.contains('*')
                && !name.is_empty()
                && name.trim_matches('*').is_empty()
                && !denied(&format!("{service}:{}", UNNAMED.trim_start_matches("any:")), is_open_arn)
            {
                findings.add(Check::IdentityServiceWildcard, "Action", format!("`{pattern}`"));
            }
        }
    }
    roles(statement, gives, findings);
    if open && statement.condition.is_empty() {
        if let Some(action) = READS.iter().find(|action| gives(action)) {
            findings.add(Check::IdentityDataExfiltration, "Action", format!("`{action}`"));
        }
        if let Some(action) = CREDENTIALS.iter().find(|action| gives(action)) {
            findings.add(Check::IdentityCredentialsExposure, "Action", format!("`{action}`"));
        }
        if let Some(action) = first_permissions(statement, gives) {
            findings.add(Check::IdentityPermissionsManagement, "Action", format!("`{action}`"));
        }
    }
}

/// An action that no policy names.
const UNNAMED: &str = "any:UnnamedAction";

fn is_everything(resource: &str) -> bool {
    !resource.is_empty() && resource.trim_matches('*').is_empty()
}

/// Whether a statement denies the action whenever `allow` allows it. `covers` decides which resources of a Deny cover
/// all those of the Allow.
fn is_denied<'a>(
    mut all: impl Iterator<Item = &'a Statement>,
    allow: &Statement,
    action: &str,
    covers: fn(&str) -> bool,
) -> bool {
    all.any(|deny| {
        deny.effect == Effect::Deny
            && takes(deny, action)
            && deny.condition.iter().all(|limit| allow.condition.contains(limit))
            && deny
                .resource
                .as_ref()
                .is_some_and(|resource| !resource.inverted && resource.values.iter().any(|text| covers(text)))
    })
}

/// The first action that changes permissions.
fn first_permissions(statement: &Statement, gives: impl Fn(&str) -> bool) -> Option<String> {
    if statement.action.inverted {
        return ["iam:PutRolePolicy", "s3:PutBucketPolicy", "kms:PutKeyPolicy"]
            .iter()
            .find(|action| gives(action))
            .map(|action| (*action).to_owned());
    }
    statement.action.values.iter().find_map(|pattern| {
        let Some((prefix, name)) = pattern.as_str().split_once(':') else {
            return (pattern.as_str() == "*" && gives(UNNAMED)).then(|| "*".to_owned());
        };
        let service = ServiceEntry::of(prefix)?;
        service
            .matching(name)
            .filter(|action| action.level == AccessLevel::PermissionsManagement)
            .map(|action| format!("{}:{}", service.prefix, action.name))
            .find(|action| gives(action))
    })
}

/// Checks `iam:PassRole` and `sts:AssumeRole` on every role.
fn roles(statement: &Statement, gives: impl Fn(&str) -> bool, findings: &mut Findings) {
    let every_role = statement
        .resource
        .as_ref()
        .is_some_and(|resource| resource.inverted || resource.values.iter().any(|text| is_every_role(text)));
    if !every_role {
        return;
    }
    let to_service = |condition: &Condition| {
        condition.key.as_str().eq_ignore_ascii_case("iam:PassedToService")
            && !condition.operator.test.is_negated()
            && condition.operator.test != Test::Null
            && condition.values().all(|value| !value.trim_matches('*').is_empty())
    };
    if gives("iam:PassRole") && !statement.condition.iter().any(to_service) {
        findings.add(Check::IdentityPassroleWildcard, "Resource", "");
    }
    if gives("sts:AssumeRole") && statement.condition.is_empty() {
        findings.add(Check::IdentityAssumeRoleWildcard, "Resource", "");
    }
}

/// Whether a resource is `*`, or an ARN with a role name that starts with a wildcard.
fn is_every_role(text: &str) -> bool {
    if is_open_arn(text) {
        return arn::split(text).is_none_or(|[_, service, _, _, resource]| {
            service.contains('*') || (service == "iam" && (resource.starts_with("role/") || resource.starts_with('*')))
        });
    }
    arn::split(text).is_some_and(|[_, service, _, _, resource]| {
        service == "iam" && (resource.starts_with("role/*") || resource == "role*")
    })
}

/// Read actions on data that should not leave the account.
const READS: &[&str] = &[
    "s3:GetObject",
    "s3:GetObjectVersion",
    "secretsmanager:GetSecretValue",
    "secretsmanager:BatchGetSecretValue",
    "ssm:GetParameter",
    "ssm:GetParameters",
    "ssm:GetParametersByPath",
    "ssm:GetParameterHistory",
];

/// Actions with credentials in their response that give more than the caller has. `sts:GetSessionToken` returns the
/// caller's own permissions, and the tokens of ECR only those of its other actions, which name their repositories.
const CREDENTIALS: &[&str] = &[
    "chime:CreateApiKey",
    "codepipeline:PollForJobs",
    "cognito-identity:GetCredentialsForIdentity",
    "cognito-identity:GetOpenIdToken",
    "cognito-identity:GetOpenIdTokenForDeveloperIdentity",
    "connect:GetFederationToken",
    "ec2:GetPasswordData",
    "codeartifact:GetAuthorizationToken",
    "gamelift:GetComputeAuthToken",
    "gamelift:RequestUploadCredentials",
    "iam:CreateAccessKey",
    "iam:CreateLoginProfile",
    "iam:CreateServiceSpecificCredential",
    "iam:ResetServiceSpecificCredential",
    "iam:UpdateAccessKey",
    "lightsail:DownloadDefaultKeyPair",
    "lightsail:GetBucketAccessKeys",
    "lightsail:GetInstanceAccessDetails",
    "lightsail:GetRelationalDatabaseMasterUserPassword",
    "mediapackage:RotateChannelCredentials",
    "mediapackage:RotateIngestEndpointCredentials",
    "rds-db:connect",
    "redshift:GetClusterCredentials",
    "redshift:GetClusterCredentialsWithIAM",
    "redshift-serverless:GetCredentials",
    "sts:AssumeRole",
    "sts:AssumeRoleWithSAML",
    "sts:AssumeRoleWithWebIdentity",
    "sts:AssumeRoot",
    "sts:GetFederationToken",
];

/// Sets of actions that together let callers raise their own permissions.
///
/// Source: published research on privilege escalation in IAM; the actions themselves are from the Service Authorization
/// Reference.
const ESCALATIONS: &[&[&str]] = &[
    &["iam:CreatePolicyVersion"],
    &["iam:SetDefaultPolicyVersion"],
    &["iam:CreateAccessKey"],
    &["iam:CreateLoginProfile"],
    &["iam:UpdateLoginProfile"],
    &["iam:AttachUserPolicy"],
    &["iam:AttachGroupPolicy"],
    &["iam:AttachRolePolicy"],
    &["iam:PutUserPolicy"],
    &["iam:PutGroupPolicy"],
    &["iam:PutRolePolicy"],
    &["iam:AddUserToGroup"],
    &["iam:UpdateAssumeRolePolicy"],
    &["iam:DeleteRolePermissionsBoundary"],
    &["iam:DeleteUserPermissionsBoundary"],
    &["iam:PutRolePermissionsBoundary"],
    &["iam:PutUserPermissionsBoundary"],
    &["iam:CreateServiceSpecificCredential"],
    &["iam:ResetServiceSpecificCredential"],
    &["iam:DeactivateMFADevice", "iam:CreateVirtualMFADevice"],
    &["iam:PassRole", "apprunner:CreateService"],
    &["iam:PassRole", "autoscaling:CreateLaunchConfiguration", "autoscaling:CreateAutoScalingGroup"],
    &["iam:PassRole", "autoscaling:CreateLaunchConfiguration", "autoscaling:UpdateAutoScalingGroup"],
    &["iam:PassRole", "batch:RegisterJobDefinition", "batch:SubmitJob"],
    &["iam:PassRole", "bedrock-agentcore:CreateCodeInterpreter"],
    &["iam:PassRole", "cloudformation:CreateStack"],
    &["iam:PassRole", "cloudformation:CreateStackSet", "cloudformation:CreateStackInstances"],
    &["iam:PassRole", "cloudformation:UpdateStackSet"],
    &["iam:PassRole", "codebuild:CreateProject", "codebuild:StartBuild"],
    &["iam:PassRole", "codebuild:CreateProject", "codebuild:StartBuildBatch"],
    &["iam:PassRole", "codestar:CreateProject"],
    &[
        "iam:PassRole",
        "datapipeline:CreatePipeline",
        "datapipeline:PutPipelineDefinition",
        "datapipeline:ActivatePipeline",
    ],
    &["iam:PassRole", "ec2:RunInstances"],
    &["iam:PassRole", "ec2:RequestSpotInstances"],
    &["iam:PassRole", "ec2:AssociateIamInstanceProfile"],
    &["iam:PassRole", "ec2:ReplaceIamInstanceProfileAssociation"],
    &["iam:PassRole", "ecs:RegisterTaskDefinition", "ecs:CreateService"],
    &["iam:PassRole", "ecs:RegisterTaskDefinition", "ecs:UpdateService"],
    &["iam:PassRole", "ecs:RegisterTaskDefinition", "ecs:StartTask"],
    &["iam:PassRole", "ecs:RunTask"],
    &["iam:PassRole", "eks:CreatePodIdentityAssociation"],
    &["iam:PassRole", "elasticmapreduce:RunJobFlow"],
    &["iam:PassRole", "glue:CreateDevEndpoint"],
    &["iam:PassRole", "glue:CreateJob", "glue:StartJobRun"],
    &["iam:PassRole", "glue:CreateJob", "glue:CreateTrigger"],
    &["iam:PassRole", "glue:UpdateJob", "glue:StartJobRun"],
    &["iam:PassRole", "glue:UpdateJob", "glue:CreateTrigger"],
    &["iam:PassRole", "glue:CreateSession", "glue:RunStatement"],
    &["iam:PassRole", "lambda:CreateFunction", "lambda:InvokeFunction"],
    &["iam:PassRole", "lambda:CreateFunction", "lambda:CreateEventSourceMapping"],
    &["iam:PassRole", "lambda:CreateFunction", "lambda:AddPermission"],
    &["iam:PassRole", "sagemaker:CreateNotebookInstance"],
    &["iam:PassRole", "sagemaker:CreateProcessingJob"],
    &["iam:PassRole", "sagemaker:CreateTrainingJob"],
    &["iam:PassRole", "scheduler:CreateSchedule"],
    &["iam:PassRole", "ssm:StartAutomationExecution"],
    &["iam:PassRole", "states:CreateStateMachine", "states:StartExecution"],
    &["iam:PassRole", "states:UpdateStateMachine", "states:StartExecution"],
    &["apprunner:UpdateService"],
    &["bedrock-agentcore:StartCodeInterpreterSession", "bedrock-agentcore:InvokeCodeInterpreter"],
    &["cloudformation:UpdateStack"],
    &["cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet"],
    &["codebuild:StartBuild"],
    &["codebuild:StartBuildBatch"],
    &["ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate"],
    &["ec2:ModifyInstanceAttribute", "ec2:StopInstances", "ec2:StartInstances"],
    &["ec2-instance-connect:SendSSHPublicKey"],
    &["ecs:ExecuteCommand"],
    &["eks:CreateAccessEntry", "eks:AssociateAccessPolicy"],
    &["glue:UpdateDevEndpoint"],
    &["glue:UpdateJob", "glue:StartJobRun"],
    &["lambda:UpdateFunctionCode"],
    &["lambda:UpdateFunctionConfiguration"],
    &["sagemaker:CreatePresignedNotebookInstanceUrl"],
    &["sagemaker:UpdateNotebookInstance", "sagemaker:CreateNotebookInstanceLifecycleConfig"],
    &["ssm:SendCommand"],
    &["ssm:StartSession"],
    &["sso:PutInlinePolicyToPermissionSet"],
    &["sso:AttachManagedPolicyToPermissionSet"],
];

/// Reports known escalation paths across all statements that apply together.
pub(super) fn escalation(statements: &[(usize, Statement)], findings: &mut Findings) {
    let allows = |action: &str| {
        statements.iter().find(|(_, s)| {
            let all = statements.iter().map(|(_, other)| other);
            is_allow(s) && takes(s, action) && is_wide(s) && !is_denied(all, s, action, is_open_arn)
        })
    };
    // One finding per statement that starts a path, with the first such path.
    let mut reported: Vec<(usize, usize)> = Vec::new();
    for path in ESCALATIONS {
        let by = path.iter().map(|action| allows(action)).collect::<Option<Vec<_>>>();
        let Some((document, first)) = by.and_then(|by| by.first().copied()) else {
            continue;
        };
        if reported.contains(&(*document, first.position())) {
            continue;
        }
        reported.push((*document, first.position()));
        findings.document = *document;
        findings.at(first);
        findings.add(Check::IdentityPrivilegeEscalation, "Action", format!("`{}`", path.join("`, `")));
        findings.statement = None;
    }
}

/// Whether the resources go beyond named ones.
fn is_wide(statement: &Statement) -> bool {
    statement.resource.as_ref().is_some_and(|resource| {
        resource.inverted
            || resource.values.iter().any(|text| {
                text.trim_matches('*').is_empty()
                    || arn::split(text).is_some_and(|[.., resource]| resource.contains('*'))
            })
    })
}

/// All actions that the checks refer to by name.
#[cfg(test)]
pub(super) fn lists() -> Vec<&'static str> {
    let paths = ESCALATIONS.iter().flat_map(|path| path.iter());
    READS.iter().chain(CREDENTIALS).chain(paths).copied().collect()
}
