//! AWS accounts: credentials, assumed roles, endpoints, and the identity check.
//!
//! The caller's identity is checked before anything else in an account. If the caller is in the wrong account, no
//! client is created, so that nothing can be read or written there.

use std::sync::OnceLock;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::OnceCell;

use super::family::STS;
use crate::address::{AwsScope, Scope};
use crate::kind::Api;
use crate::session::{Door, Rates, Session, SessionError, answer};
use crate::spec::AccountSpec;

const ATTEMPTS: u32 = 8;
/// Few, so that a run without reachable credentials fails fast.
const IDENTITY_ATTEMPTS: u32 = 3;
/// Includes all retries and the wait for a request slot.
const OPERATION_TIMEOUT: Duration = Duration::from_mins(3);
const SESSION_NAME: &str = "bailiwick";
const STS_RATES: Rates = Rates { reads: 10.0, writes: 10.0 };

/// An account whose caller has been identified.
struct Account {
    config: SdkConfig,
    /// The ARN of the caller.
    caller: String,
    http: SharedHttpClient,
}

/// The connection to an account, made once even if several callers need it at the same time.
#[derive(Default)]
struct Connection(OnceCell<Result<Account, SessionError>>);

impl Connection {
    async fn account(&self, cloud: &Session, scope: &Scope) -> Result<&Account, SessionError> {
        let unknown = || SessionError::Unknown { name: format!("accounts.{}", scope.key) };
        let spec = cloud.spec().accounts.get(&scope.key).ok_or_else(unknown)?;
        self.0.get_or_init(|| connect(cloud, scope, spec)).await.as_ref().map_err(Clone::clone)
    }
}

/// Returns the account and region of an AWS scope.
pub(super) fn aws(scope: &Scope) -> Result<AwsScope<'_>, SessionError> {
    scope.as_aws().ok_or_else(|| SessionError::Unknown { name: scope.to_string() })
}

/// Checks the caller's identity in every account of the spec.
pub(super) async fn identify(cloud: &Session) -> Vec<SessionError> {
    let scopes = super::family::account_scopes(cloud.spec());
    let checks = scopes.iter().map(|scope| caller(cloud, scope));
    futures_util::future::join_all(checks).await.into_iter().filter_map(Result::err).collect()
}

/// Returns the ARN of the caller in the account of a scope.
pub(super) async fn caller(cloud: &Session, scope: &Scope) -> Result<String, SessionError> {
    aws(scope)?;
    let connection = cloud.kept::<Connection>(&scope.everywhere());
    connection.account(cloud, scope).await.map(|account| account.caller.clone())
}

/// Returns the SDK configuration of an account, for signing outside a client.
pub(super) async fn config(cloud: &Session, scope: &Scope) -> Result<SdkConfig, SessionError> {
    aws(scope)?;
    let connection = cloud.kept::<Connection>(&scope.everywhere());
    connection.account(cloud, scope).await.map(|account| account.config.clone())
}

/// Returns the client of an API in a region of an account. It is built once, after the caller was identified.
pub(super) async fn client<C>(
    cloud: &Session,
    scope: &Scope,
    (api, usual): (Api, Rates),
    build: impl FnOnce(&SdkConfig, Door) -> C,
) -> Result<C, SessionError>
where
    C: Clone + Send + Sync + 'static,
{
    let AwsScope { id, region, .. } = aws(scope)?;
    let connection = cloud.kept::<Connection>(&scope.everywhere());
    let account = connection.account(cloud, scope).await?;
    let known = cloud.kept::<OnceLock<C>>(scope);
    let client = known.get_or_init(|| {
        let door = cloud.door(id, api, usual);
        let config = account.config.to_builder().http_client(door.client(account.http.clone()));
        build(&config.region(aws_config::Region::new(region.to_owned())).build(), door)
    });
    Ok(client.clone())
}

/// Loads credentials, assumes the chain of roles, and compares the caller with the spec.
async fn connect(cloud: &Session, scope: &Scope, spec: &AccountSpec) -> Result<Account, SessionError> {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let door = cloud.door(&spec.id.0, STS, STS_RATES);
    let config = through_chain(own_config(spec, &door, &http).await, spec).await;
    let caller = identified(&config, door, scope, spec).await?;
    let config = config.into_builder().retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS)).build();
    Ok(Account { config, caller, http })
}

/// Loads the configuration with the credentials at the start of the role chain.
async fn own_config(spec: &AccountSpec, door: &Door, http: &SharedHttpClient) -> SdkConfig {
    let region = aws_config::Region::new(spec.region.0.clone());
    // No attempt timeout here: the door starts it after the wait for a request slot.
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(door.client(http.clone()))
        .region(region.clone())
        .retry_config(RetryConfig::standard().with_max_attempts(IDENTITY_ATTEMPTS))
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(OPERATION_TIMEOUT).build());
    // Unit tests talk to loopback servers and must never find a real account.
    #[cfg(test)]
    {
        loader =
            loader.credentials_provider(aws_credential_types::Credentials::new("test", "test", None, None, "test"));
    }
    if let Some(profile) = &spec.profile {
        // The default chain would try the environment first, and other sources if the profile does not exist.
        let config =
            ProviderConfig::without_region().with_region(Some(region)).with_http_client(door.client(http.clone()));
        let credentials = ProfileFileCredentialsProvider::builder().profile_name(profile).configure(&config).build();
        loader = loader.profile_name(profile).credentials_provider(credentials);
    }
    if let Some(endpoint) = &spec.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader.load().await
}

/// Assumes the roles of the chain, and returns the configuration with the credentials of the last one.
async fn through_chain(mut config: SdkConfig, spec: &AccountSpec) -> SdkConfig {
    for step in spec.role_chain() {
        let mut provider = AssumeRoleProvider::builder(&step.role)
            .session_name(step.session_name.as_deref().unwrap_or(SESSION_NAME))
            .region(aws_config::Region::new(spec.region.0.clone()))
            .configure(&config);
        if let Some(external_id) = &step.external_id {
            provider = provider.external_id(external_id);
        }
        let provider = provider.build().await;
        config = config
            .into_builder()
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(provider))
            .build();
    }
    config
}

/// Returns the ARN of the caller, who must be in the account that the spec names.
async fn identified(config: &SdkConfig, door: Door, scope: &Scope, spec: &AccountSpec) -> Result<String, SessionError> {
    let sts = aws_sdk_sts::Client::from_conf(aws_sdk_sts::config::Builder::from(config).interceptor(door).build());
    let caller = sts.get_caller_identity().send().await.map_err(|error| {
        let why = answer(&error);
        let why = spec.profile.as_ref().map_or(why.clone(), |profile| format!("with profile `{profile}`: {why}"));
        SessionError::NoIdentity { scope: Box::new(scope.clone()), why }
    })?;
    let (found, arn) = (caller.account().unwrap_or_default(), caller.arn().unwrap_or_default().to_owned());
    if found != spec.id.0 {
        return Err(SessionError::WrongOwner { scope: Box::new(scope.clone()), found: found.to_owned(), caller: arn });
    }
    Ok(arn)
}
