//! Clients of clusters: from a kubeconfig context, the pod's service account, or EKS.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::address::Scope;
use crate::provider::aws;
use crate::session::{Session, SessionError};

/// A token that is created in this process is valid for 14 minutes. The client is rebuilt well before that.
const CLIENT_LIFE: Duration = Duration::from_mins(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The context name for the pod's own service account.
const IN_CLUSTER: &str = "in-cluster";

/// A client and its time of creation.
struct Connected {
    client: Client,
    made: Instant,
}

/// The client of a cluster, once it is built.
#[derive(Default)]
struct ClusterSlot(Mutex<Option<Connected>>);

/// Returns the client of a cluster.
pub(super) async fn client(cloud: &Session, cluster: &str) -> Result<Client, SessionError> {
    let scope = Scope::cluster(cluster);
    let connection = cloud.kept::<ClusterSlot>(&scope);
    let mut slot = connection.0.lock().await;
    if let Some(known) = slot.as_ref().filter(|c| c.made.elapsed() < CLIENT_LIFE) {
        return Ok(known.client.clone());
    }
    let mut config = Box::pin(config(cloud, cluster)).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // Credentials may come from an external program. Waiting for it must not block responses and interrupts.
    let client = tokio::task::spawn_blocking(move || Client::try_from(config)).await;
    let client = client.map_err(|e| SessionError::unreachable(&scope, e.to_string()))?;
    let client = client.map_err(|e| SessionError::unreachable(&scope, e.to_string()))?;
    *slot = Some(Connected { client: client.clone(), made: Instant::now() });
    Ok(client)
}

async fn config(cloud: &Session, cluster: &str) -> Result<Config, SessionError> {
    let unknown = || SessionError::Unknown { name: format!("clusters.{cluster}") };
    let spec = cloud.spec().clusters.get(cluster).ok_or_else(unknown)?;
    let failed = |why: String| SessionError::unreachable(&Scope::cluster(cluster), why);
    match spec.context.as_deref() {
        Some(IN_CLUSTER) => Config::incluster().map_err(|e| failed(e.to_string())),
        Some(context) => {
            let kubeconfig = Kubeconfig::read().map_err(|e| failed(format!("no kubeconfig: {e}")))?;
            let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|e| failed(format!("context `{context}`: {e}")))
        }
        None => {
            let access = Box::pin(aws::cluster_access(cloud, cluster)).await?;
            let endpoint = access.endpoint.parse();
            let mut config = Config::new(endpoint.map_err(|e| failed(format!("endpoint `{}`: {e}", access.endpoint)))?);
            config.root_cert = access.authority.as_deref().map(certificates);
            config.auth_info.token = Some(access.token.into());
            Ok(config)
        }
    }
}

/// Adds a client for a cluster at a URL, without credentials.
#[cfg(test)]
pub(in crate::provider) fn with_cluster(session: Session, cluster: &str, url: &str) -> Session {
    let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
    let connection = session.kept::<ClusterSlot>(&Scope::cluster(cluster));
    *connection.0.try_lock().unwrap() = Some(Connected { client, made: Instant::now() });
    session
}

/// Returns the DER certificates in a PEM text (RFC 7468).
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
