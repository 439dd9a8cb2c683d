//! Kubernetes clients: a kubeconfig context, the pod's own account, or directly from EKS.

use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Session, SessionError};

/// A token made in process is good for 14 minutes; a client is rebuilt well before.
const CLIENT_LIFE: Duration = Duration::from_mins(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The context that stands for the pod's own service account.
const IN_CLUSTER: &str = "in-cluster";

/// A client and when it was made.
pub(super) struct Cluster {
    client: Client,
    made: Instant,
}

impl Session {
    /// The client of a cluster.
    ///
    /// # Errors
    /// When the cluster is not in the spec, the kubeconfig has no such context, or EKS does not describe it.
    pub async fn kube(&self, cluster: &str) -> Result<Client, SessionError> {
        let slot: Arc<Mutex<Option<Cluster>>> =
            self.shared.kubernetes.lock().await.entry(cluster.to_owned()).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(known) = slot.as_ref().filter(|c| c.made.elapsed() < CLIENT_LIFE) {
            return Ok(known.client.clone());
        }
        let mut config = Box::pin(self.cluster_config(cluster)).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        let failed = |why: String| SessionError::Cluster { cluster: cluster.to_owned(), why };
        // Credentials may come from a program, which is waited for here: answers and interrupts are heard meanwhile.
        let client = tokio::task::spawn_blocking(move || Client::try_from(config)).await;
        let client = client.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        *slot = Some(Cluster { client: client.clone(), made: Instant::now() });
        Ok(client)
    }

    /// The same, with a cluster that is reached at a URL without credentials.
    #[cfg(test)]
    pub(crate) fn with_cluster(mut self, cluster: &str, url: &str) -> Self {
        let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
        let known = Cluster { client, made: Instant::now() };
        Arc::get_mut(&mut self.shared)
            .unwrap()
            .kubernetes
            .get_mut()
            .insert(cluster.to_owned(), Arc::new(Mutex::new(Some(known))));
        self
    }

    async fn cluster_config(&self, cluster: &str) -> Result<Config, SessionError> {
        let (spec, _) = self
            .shared
            .clusters
            .get(cluster)
            .ok_or_else(|| SessionError::Unknown { name: format!("clusters.{cluster}") })?;
        let failed = |why: String| SessionError::Cluster { cluster: cluster.to_owned(), why };
        match spec.context.as_deref() {
            Some(IN_CLUSTER) => Config::incluster().map_err(|e| failed(e.to_string())),
            Some(context) => {
                let kubeconfig = Kubeconfig::read().map_err(|e| failed(format!("no kubeconfig: {e}")))?;
                let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|e| failed(format!("context `{context}`: {e}")))
            }
            None => Box::pin(self.eks_config(cluster)).await,
        }
    }

    /// The endpoint and certificate that EKS tells, and a token made in process.
    async fn eks_config(&self, cluster: &str) -> Result<Config, SessionError> {
        use base64::Engine as _;
        let failed = |why: String| SessionError::Cluster { cluster: cluster.to_owned(), why };
        let (name, scope) = self.eks_cluster(cluster)?;
        let described = self
            .eks(&scope)
            .await?
            .describe_cluster()
            .name(&name)
            .send()
            .await
            .map_err(|e| failed(super::answer(&e)))?;
        let found = described.cluster().ok_or_else(|| failed("EKS described no cluster".into()))?;
        let endpoint = found.endpoint().ok_or_else(|| failed("the cluster has no endpoint yet".into()))?;
        let mut config = Config::new(endpoint.parse().map_err(|e| failed(format!("endpoint `{endpoint}`: {e}")))?);
        if let Some(encoded) = found.certificate_authority().and_then(|c| c.data()) {
            let pem = base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .map_err(|e| failed(format!("the cluster's certificate is not base64: {e}")))?;
            config.root_cert = Some(certificates(&pem));
        }
        let token = super::eks_token::make(&self.sdk_config(&scope).await?, &name, &scope).await.map_err(failed)?;
        config.auth_info.token = Some(token.into());
        Ok(config)
    }
}

/// The DER certificates of a PEM text (RFC 7468).
fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    String::from_utf8_lossy(pem)
        .split("-----BEGIN CERTIFICATE-----")
        .skip(1)
        .filter_map(|part| part.split("-----END CERTIFICATE-----").next())
        .filter_map(|body| {
            let joined: String = body.split_whitespace().collect();
            base64::engine::general_purpose::STANDARD.decode(joined).ok()
        })
        .collect()
}
