//! Reads clusters from EKS: their issuers, and the access to their API servers.

use aws_sdk_eks::types::Cluster;
use base64::Engine as _;

use super::client::client;
use super::token;
use crate::address::Scope;
use crate::provider::aws::account;
use crate::session::{Session, SessionError, answer};

/// The access to a cluster without a kubeconfig.
pub(in crate::provider) struct ApiServer {
    /// The URL of the API server.
    pub endpoint: String,
    /// The certificates of its certificate authority, in PEM.
    pub authority: Option<Vec<u8>>,
    /// A bearer token, created in this process.
    pub token: String,
}

/// Returns the EKS names of the spec's clusters in a region of an account.
pub(in crate::provider::aws) fn clusters_of(cloud: &Session, scope: &Scope) -> Vec<String> {
    let spec = cloud.spec();
    let here = spec.clusters.values().filter(|c| spec.regional_scope(&c.account, spec.cluster_region(c)) == *scope);
    here.map(|cluster| cluster.name.clone()).collect()
}

/// Reads the OIDC issuer URL of a cluster.
pub(in crate::provider::aws) async fn issuer(cloud: &Session, cluster: &str) -> Result<String, SessionError> {
    let (name, scope) = cluster_of(cloud, cluster)?;
    let found = describe(cloud, cluster, &name, &scope).await?;
    let issuer = found.identity().and_then(|i| i.oidc()).and_then(|o| o.issuer());
    issuer.map(ToOwned::to_owned).ok_or_else(|| failed(cluster, "it has no OIDC issuer"))
}

/// Reads the endpoint and certificate of a cluster, and creates a token.
pub(in crate::provider) async fn access(cloud: &Session, cluster: &str) -> Result<ApiServer, SessionError> {
    let (name, scope) = cluster_of(cloud, cluster)?;
    let found = describe(cloud, cluster, &name, &scope).await?;
    let endpoint = found.endpoint().ok_or_else(|| failed(cluster, "the cluster has no endpoint yet"))?;
    let authority = found.certificate_authority().and_then(|c| c.data());
    let authority = authority.map(|encoded| base64::engine::general_purpose::STANDARD.decode(encoded)).transpose();
    let authority = authority.map_err(|e| failed(cluster, format!("the cluster's certificate is not base64: {e}")))?;
    let config = account::config(cloud, &scope).await?;
    let token = token::make(&config, &name, &scope).await.map_err(|why| failed(cluster, why))?;
    Ok(ApiServer { endpoint: endpoint.to_owned(), authority, token })
}

async fn describe(cloud: &Session, cluster: &str, name: &str, scope: &Scope) -> Result<Cluster, SessionError> {
    let found = client(cloud, scope).await?.describe_cluster().name(name).send().await;
    let found = found
        .map_err(|error| failed(cluster, format!("EKS does not describe `{name}` in {scope}: {}", answer(&error))))?;
    found.cluster.ok_or_else(|| failed(cluster, "EKS described no cluster"))
}

fn failed(cluster: &str, why: impl Into<String>) -> SessionError {
    SessionError::unreachable(&Scope::cluster(cluster), why)
}

/// Returns a cluster's name in EKS, and the scope of its EKS API.
fn cluster_of(cloud: &Session, cluster: &str) -> Result<(String, Scope), SessionError> {
    let spec = cloud.spec();
    let unknown = || SessionError::Unknown { name: format!("clusters.{cluster}") };
    let found = spec.clusters.get(cluster).ok_or_else(unknown)?;
    Ok((found.name.clone(), spec.regional_scope(&found.account, spec.cluster_region(found))))
}
