//! AWS clients: credentials, assumed roles, endpoints, and the identity check before all else.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::sync::OnceCell;

use super::{Requests, Session, SessionError};
use crate::address::{Region, Scope};
use crate::spec::AccountSpec;

const ATTEMPTS: u32 = 8;
/// Nobody wants to wait long to hear that there is nobody to ask.
const IDENTITY_ATTEMPTS: u32 = 3;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const OPERATION_TIMEOUT: Duration = Duration::from_mins(2);
const SESSION_NAME: &str = "bailiwick";

/// An account whose caller has been identified.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) config: SdkConfig,
}

impl Session {
    /// Checks the caller's identity in one account.
    ///
    /// # Errors
    /// When the caller is somebody else, or cannot be identified.
    pub async fn identify(&self, account: &str) -> Result<(), SessionError> {
        self.account(account).await.map(|_| ())
    }

    async fn account(&self, account: &str) -> Result<Account, SessionError> {
        let spec =
            self.accounts.get(account).ok_or_else(|| SessionError::Unknown { name: format!("accounts.{account}") })?;
        let cell = self.aws.lock().await.entry(account.to_owned()).or_insert_with(|| Arc::new(OnceCell::new())).clone();
        cell.get_or_init(|| connect(account, spec, self.requests.clone())).await.clone()
    }

    async fn config(&self, scope: &Scope) -> Result<(SdkConfig, Region), SessionError> {
        match scope {
            Scope::Account { account, region, .. } => Ok((self.account(account).await?.config, region.clone())),
            Scope::Cluster { cluster } => Err(SessionError::Unknown { name: format!("clusters.{cluster}") }),
        }
    }

    /// The IAM client of a scope's account.
    ///
    /// # Errors
    /// As [`Session::identify`].
    pub async fn iam(&self, scope: &Scope) -> Result<aws_sdk_iam::Client, SessionError> {
        let (config, region) = self.config(scope).await?;
        let config = aws_sdk_iam::config::Builder::from(&config)
            .region(aws_sdk_iam::config::Region::new(region.0))
            .interceptor(Counting(self.requests.clone()));
        Ok(aws_sdk_iam::Client::from_conf(config.build()))
    }

    /// The S3 client of a scope.
    ///
    /// # Errors
    /// As [`Session::identify`].
    pub async fn s3(&self, scope: &Scope) -> Result<aws_sdk_s3::Client, SessionError> {
        let (config, region) = self.config(scope).await?;
        let by_path = self.environment.s3_endpoint || config.endpoint_url().is_some();
        let config = aws_sdk_s3::config::Builder::from(&config)
            .region(aws_sdk_s3::config::Region::new(region.0))
            .force_path_style(by_path)
            .interceptor(Counting(self.requests.clone()));
        Ok(aws_sdk_s3::Client::from_conf(config.build()))
    }

    /// The KMS client of a scope.
    ///
    /// # Errors
    /// As [`Session::identify`].
    pub async fn kms(&self, scope: &Scope) -> Result<aws_sdk_kms::Client, SessionError> {
        let (config, region) = self.config(scope).await?;
        let config = aws_sdk_kms::config::Builder::from(&config)
            .region(aws_sdk_kms::config::Region::new(region.0))
            .interceptor(Counting(self.requests.clone()));
        Ok(aws_sdk_kms::Client::from_conf(config.build()))
    }

    /// The EKS client of a scope.
    ///
    /// # Errors
    /// As [`Session::identify`].
    pub async fn eks(&self, scope: &Scope) -> Result<aws_sdk_eks::Client, SessionError> {
        let (config, region) = self.config(scope).await?;
        let config = aws_sdk_eks::config::Builder::from(&config)
            .region(aws_sdk_eks::config::Region::new(region.0))
            .interceptor(Counting(self.requests.clone()));
        Ok(aws_sdk_eks::Client::from_conf(config.build()))
    }

    /// The shared configuration of an account in a region, for signing outside a client.
    #[cfg(feature = "kubernetes")]
    pub(super) async fn sdk_config(&self, scope: &Scope) -> Result<SdkConfig, SessionError> {
        self.config(scope).await.map(|(config, _)| config)
    }
}

/// Loads credentials, assumes the chain of roles, and compares the caller with the spec.
async fn connect(key: &str, spec: &AccountSpec, requests: Arc<Requests>) -> Result<Account, SessionError> {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let region = aws_config::Region::new(spec.region.0.clone());
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(region.clone())
        .retry_config(RetryConfig::standard().with_max_attempts(IDENTITY_ATTEMPTS))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(OPERATION_TIMEOUT)
                .build(),
        );
    // Unit tests talk to loopback servers and must never find a real account.
    #[cfg(test)]
    {
        loader =
            loader.credentials_provider(aws_credential_types::Credentials::new("test", "test", None, None, "test"));
    }
    if let Some(profile) = &spec.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(endpoint) = &spec.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let mut config = loader.load().await;
    for step in spec.role_chain() {
        let mut provider = AssumeRoleProvider::builder(&step.role)
            .session_name(step.session_name.as_deref().unwrap_or(SESSION_NAME))
            .region(region.clone())
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
    let sts = aws_sdk_sts::Client::from_conf(
        aws_sdk_sts::config::Builder::from(&config).interceptor(Counting(requests)).build(),
    );
    let caller = sts
        .get_caller_identity()
        .send()
        .await
        .map_err(|error| SessionError::NoIdentity { account: key.to_owned(), why: answer(&error) })?;
    let found = caller.account().unwrap_or_default();
    if found != spec.id.0 {
        return Err(SessionError::WrongAccount {
            account: key.to_owned(),
            expected: spec.id.0.clone(),
            found: found.to_owned(),
            arn: caller.arn().unwrap_or_default().to_owned(),
        });
    }
    let config = config.into_builder().retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS)).build();
    Ok(Account { config })
}

/// Counts every attempt by service and operation.
#[derive(Debug)]
struct Counting(Arc<Requests>);

impl Intercept for Counting {
    fn name(&self) -> &'static str {
        "Counting"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(metadata) = bag.load::<Metadata>() {
            self.0.sent(metadata.service(), metadata.name());
        }
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if matches!(context.response().status().as_u16(), 429 | 503) {
            self.0.throttled();
        }
        Ok(())
    }
}

/// What an AWS service answered, in one line: its code and message, or what kept the request from being answered.
pub fn answer<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    match error.as_service_error().map(|e| (e.code(), e.message())) {
        Some((Some(code), Some(message))) => format!("{code}: {message}"),
        Some((Some(code), None)) => code.to_owned(),
        _ => {
            let mut words = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                let text = inner.to_string();
                if !words.contains(&text) {
                    words = format!("{words}: {text}");
                }
                cause = inner.source();
            }
            words
        }
    }
}
