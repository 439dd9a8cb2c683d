//! The few things that must be read before a spec can be compiled.

use super::{Session, SessionError, answer};
use crate::address::Scope;

impl Session {
    /// The OIDC issuer URL of a cluster.
    ///
    /// # Errors
    /// When EKS does not describe the cluster, or it has no issuer yet.
    pub async fn issuer(&self, cluster: &str) -> Result<String, SessionError> {
        let failed = |why: String| SessionError::Cluster { cluster: cluster.to_owned(), why };
        let (name, scope) = self.eks_cluster(cluster)?;
        let answer = self
            .eks(&scope)
            .await?
            .describe_cluster()
            .name(&name)
            .send()
            .await
            .map_err(|error| failed(format!("EKS does not describe `{name}` in {scope}: {}", answer(&error))))?;
        answer
            .cluster()
            .and_then(|c| c.identity())
            .and_then(|i| i.oidc())
            .and_then(|o| o.issuer())
            .map(ToOwned::to_owned)
            .ok_or_else(|| failed("it has no OIDC issuer".into()))
    }

    /// The ARN of the key that an alias names; nothing if there is no such alias.
    ///
    /// # Errors
    /// When KMS cannot be asked. Not being allowed to look is not "not there".
    pub async fn key_arn(&self, scope: &Scope, alias: &str) -> Result<Option<String>, SessionError> {
        let Some(aws) = scope.as_aws() else { return Ok(None) };
        match self.kms(scope).await?.describe_key().key_id(alias).send().await {
            Ok(answer) => Ok(answer.key_metadata().and_then(|m| m.arn()).map(ToOwned::to_owned)),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_kms::operation::describe_key::DescribeKeyError::is_not_found_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(SessionError::Account {
                account: aws.account.to_owned(),
                why: format!("KMS does not describe `{alias}`: {}", answer(&error)),
            }),
        }
    }

    /// A cluster's name in EKS, and the scope of its EKS API.
    pub(super) fn eks_cluster(&self, cluster: &str) -> Result<(String, Scope), SessionError> {
        let unknown = || SessionError::Unknown { name: format!("clusters.{cluster}") };
        let (spec, region) = self.shared.clusters.get(cluster).ok_or_else(unknown)?;
        let account = self.shared.accounts.get(&spec.account).ok_or_else(unknown)?;
        let scope = Scope::account(spec.account.as_str(), account.id.clone(), region.clone());
        Ok((spec.name.clone(), scope))
    }
}
