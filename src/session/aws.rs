//! AWS clients: credentials, assumed roles, endpoints, and the identity check before all else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, Metadata};
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

use super::answers::{asks_to_slow_down, error_code, is_throttle, retry_after};
use super::{Intent, Pace, Requests, Service, Session, SessionError};
use crate::address::{AwsScope, Region, Scope};
use crate::spec::AccountSpec;

const ATTEMPTS: u32 = 8;
/// Nobody wants to wait long to hear that there is nobody to ask.
const IDENTITY_ATTEMPTS: u32 = 3;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// With all retries and all waiting for a turn.
const OPERATION_TIMEOUT: Duration = Duration::from_mins(3);
const SESSION_NAME: &str = "bailiwick";

/// An account whose caller has been identified.
#[derive(Clone)]
pub(super) struct Account {
    config: SdkConfig,
    /// The ARN of the caller.
    caller: String,
    http: SharedHttpClient,
    clients: Arc<Mutex<BTreeMap<Region, Clients>>>,
}

/// The clients of an account in a region.
#[derive(Clone)]
struct Clients {
    iam: aws_sdk_iam::Client,
    s3: aws_sdk_s3::Client,
    kms: aws_sdk_kms::Client,
    eks: aws_sdk_eks::Client,
}

impl Session {
    /// Checks the caller's identity in one account.
    ///
    /// # Errors
    /// When the caller is somebody else, or cannot be identified.
    pub async fn identify(&self, account: &str) -> Result<(), SessionError> {
        self.account(account).await.map(|_| ())
    }

    /// The ARN of the identity that acts in an account.
    ///
    /// # Errors
    /// As [`Session::identify`].
    pub async fn caller(&self, account: &str) -> Result<String, SessionError> {
        self.account(account).await.map(|account| account.caller)
    }

    async fn account(&self, account: &str) -> Result<Account, SessionError> {
        let unknown = || SessionError::Unknown { name: format!("accounts.{account}") };
        let spec = self.shared.accounts.get(account).ok_or_else(unknown)?;
        let known = self.shared.aws.lock().await.entry(account.to_owned()).or_default().clone();
        known.get_or_init(|| self.connect(account, spec)).await.clone()
    }

    async fn clients(&self, scope: &Scope) -> Result<Clients, SessionError> {
        let Some(AwsScope { account: key, id, region }) = scope.as_aws() else {
            return Err(SessionError::Unknown { name: scope.to_string() });
        };
        let account = self.account(key).await?;
        let mut known = account.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let region = Region(region.to_owned());
        let clients = known.entry(region.clone()).or_insert_with(|| self.build(&account, id, &region));
        Ok(clients.clone())
    }

    fn build(&self, account: &Account, id: &str, region: &Region) -> Clients {
        let paced = |service| {
            let door = self.door(id, service);
            let config = account.config.to_builder().http_client(door.client(account.http.clone()));
            let region = aws_config::Region::new(region.0.clone());
            (config.region(region).build(), door)
        };
        let (config, door) = paced(Service::Iam);
        let iam = aws_sdk_iam::config::Builder::from(&config).interceptor(door);
        let (config, door) = paced(Service::S3);
        let by_path = self.shared.environment.s3_endpoint || config.endpoint_url().is_some();
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(by_path).interceptor(door);
        let (config, door) = paced(Service::Kms);
        let kms = aws_sdk_kms::config::Builder::from(&config).interceptor(door).retry_classifier(QuotaIsFinal);
        let (config, door) = paced(Service::Eks);
        let eks = aws_sdk_eks::config::Builder::from(&config).interceptor(door);
        Clients {
            iam: aws_sdk_iam::Client::from_conf(iam.build()),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            kms: aws_sdk_kms::Client::from_conf(kms.build()),
            eks: aws_sdk_eks::Client::from_conf(eks.build()),
        }
    }

    fn door(&self, id: &str, service: Service) -> Door {
        Door { service, pace: self.pace(id, service), requests: self.shared.requests.clone() }
    }

    /// The IAM client of a scope's account.
    ///
    /// # Errors
    /// As [`Session::identify`].
    pub async fn iam(&self, scope: &Scope) -> Result<aws_sdk_iam::Client, SessionError> {
        self.clients(scope).await.map(|clients| clients.iam)
    }

    /// The S3 client of a scope.
    ///
    /// # Errors
    /// As [`Session::identify`].
    pub async fn s3(&self, scope: &Scope) -> Result<aws_sdk_s3::Client, SessionError> {
        self.clients(scope).await.map(|clients| clients.s3)
    }

    /// The KMS client of a scope.
    ///
    /// # Errors
    /// As [`Session::identify`].
    pub async fn kms(&self, scope: &Scope) -> Result<aws_sdk_kms::Client, SessionError> {
        self.clients(scope).await.map(|clients| clients.kms)
    }

    /// The EKS client of a scope.
    ///
    /// # Errors
    /// As [`Session::identify`].
    pub async fn eks(&self, scope: &Scope) -> Result<aws_sdk_eks::Client, SessionError> {
        self.clients(scope).await.map(|clients| clients.eks)
    }

    /// The shared configuration of an account, for signing outside a client.
    pub(super) async fn sdk_config(&self, scope: &Scope) -> Result<SdkConfig, SessionError> {
        match scope.as_aws() {
            Some(aws) => Ok(self.account(aws.account).await?.config),
            None => Err(SessionError::Unknown { name: scope.to_string() }),
        }
    }

    /// Loads credentials, assumes the chain of roles, and compares the caller with the spec.
    async fn connect(&self, key: &str, spec: &AccountSpec) -> Result<Account, SessionError> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let door = self.door(&spec.id.0, Service::Sts);
        let region = aws_config::Region::new(spec.region.0.clone());
        // An attempt's time is taken where it begins, after its turn has come.
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
            // The default chain would look into the environment first, and elsewhere if there is no such profile.
            let config = ProviderConfig::without_region()
                .with_region(Some(region.clone()))
                .with_http_client(door.client(http.clone()));
            let credentials =
                ProfileFileCredentialsProvider::builder().profile_name(profile).configure(&config).build();
            loader = loader.profile_name(profile).credentials_provider(credentials);
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
        let sts = aws_sdk_sts::Client::from_conf(aws_sdk_sts::config::Builder::from(&config).interceptor(door).build());
        let caller = sts.get_caller_identity().send().await.map_err(|error| {
            let why = answer(&error);
            let why = spec.profile.as_ref().map_or(why.clone(), |profile| format!("with profile `{profile}`: {why}"));
            SessionError::NoIdentity { account: key.to_owned(), why }
        })?;
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
        let caller = caller.arn().unwrap_or_default().to_owned();
        Ok(Account { config, caller, http, clients: Arc::default() })
    }
}

/// What every request of one account to one service passes, retries too: it waits for its turn, is counted and timed,
/// and an answer that asks to slow down slows down those that come after it.
#[derive(Clone, Debug)]
struct Door {
    service: Service,
    pace: Arc<Pace>,
    requests: Arc<Requests>,
}

impl Door {
    fn client(&self, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(PacedClient { inner, door: self.clone() })
    }
}

#[derive(Debug)]
struct PacedClient {
    inner: SharedHttpClient,
    door: Door,
}

impl HttpClient for PacedClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(PacedConnector { inner, door: self.door.clone() })
    }
}

#[derive(Debug)]
struct PacedConnector {
    inner: SharedHttpConnector,
    door: Door,
}

impl HttpConnector for PacedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, door) = (self.inner.clone(), self.door.clone());
        HttpConnectorFuture::new(async move {
            let _place = door.pace.enter(intent(&request)).await;
            door.requests.sent(door.service);
            let begun = Instant::now();
            let answer = tokio::time::timeout(ATTEMPT_TIMEOUT, inner.call(request)).await;
            door.requests.waited(door.service, begun.elapsed());
            answer.unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into())))
        })
    }
}

/// Whether a request changes anything, by what its protocol says of the operation.
fn intent(request: &HttpRequest) -> Intent {
    let operation = match (request.headers().get("x-amz-target"), request.method()) {
        (Some(target), _) => target.rsplit('.').next().unwrap_or_default(),
        (None, "GET" | "HEAD") => return Intent::Read,
        (None, _) => {
            let form = request.body().bytes().and_then(|body| std::str::from_utf8(body).ok()).unwrap_or_default();
            form.strip_prefix("Action=").unwrap_or_default()
        }
    };
    intent_of(operation)
}

fn intent_of(operation: &str) -> Intent {
    let reads = ["Get", "List", "Describe", "Head", "AssumeRole"];
    if reads.iter().any(|verb| operation.starts_with(verb)) { Intent::Read } else { Intent::Write }
}

/// The error code of an answer, if its body has been read.
fn code_of(response: &HttpResponse) -> Option<&str> {
    if response.status().is_success() {
        return None;
    }
    error_code(response.headers().get("x-amzn-errortype"), response.body().bytes().unwrap_or_default())
}

impl Intercept for Door {
    fn name(&self) -> &'static str {
        "Door"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let after = retry_after(response.headers().get("retry-after"), response.headers().get("date"));
        if asks_to_slow_down(status.as_u16(), code_of(response), after) {
            self.requests.throttled(self.service);
            let operation = bag.load::<Metadata>().map_or("", Metadata::name);
            self.pace.slow_down(intent_of(operation), after);
        }
        Ok(())
    }
}

/// For operations that do something anew each time that they are sent: they are tried again only when the answer was
/// "slow down", which means that nothing was done.
#[derive(Clone, Copy, Debug)]
pub struct OnlyIfRefused;

impl ClassifyRetry for OnlyIfRefused {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let failed = context.output_or_error().is_some_and(|answer| answer.is_err());
        let refused = context
            .response()
            .is_some_and(|response| !response.status().is_success() && code_of(response).is_some_and(is_throttle));
        if failed && !refused { RetryAction::RetryForbidden } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "OnlyIfRefused"
    }
}

/// KMS's quota of keys and aliases, which the SDK takes for a throttle.
#[derive(Clone, Copy, Debug)]
struct QuotaIsFinal;

impl ClassifyRetry for QuotaIsFinal {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response().and_then(code_of) {
            Some("LimitExceededException") => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "QuotaIsFinal"
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How a request is taken: its method, target header and body.
    fn check(method: &str, target: Option<&'static str>, body: &'static str, expected: Intent) {
        let mut request = HttpRequest::new(body.into());
        request.set_method(method).unwrap();
        if let Some(target) = target {
            request.headers_mut().insert("x-amz-target", target);
        }
        assert_eq!(intent(&request), expected, "{method} {target:?} {body}");
    }

    #[test]
    fn reads_and_writes_are_told_apart_in_every_protocol() {
        check("GET", None, "", Intent::Read);
        check("HEAD", None, "", Intent::Read);
        check("PUT", None, "<Tagging/>", Intent::Write);
        check("DELETE", None, "", Intent::Write);
        check("POST", None, "Action=GetRole&Version=2010-05-08&RoleName=x", Intent::Read);
        check("POST", None, "Action=AssumeRole&RoleArn=x", Intent::Read);
        check("POST", None, "Action=CreateRole&RoleName=Get", Intent::Write);
        check("POST", Some("TrentService.DescribeKey"), "{}", Intent::Read);
        check("POST", Some("TrentService.ScheduleKeyDeletion"), "{}", Intent::Write);
        check("POST", None, r#"{"roleArn": "x"}"#, Intent::Write);
    }
}
