//! The door: limits, counts and times all requests of SDK clients.

use std::sync::Arc;
use std::time::Duration;

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
use super::{Pace, RequestIntent, Requests};
use crate::kind::Api;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// Every request of one account to one API passes a door, retries included. The door delays the request until a slot is
/// free, counts and times it, and slows down later requests when the service throttles.
#[derive(Clone, Debug)]
pub struct Door {
    api: Api,
    pace: Arc<Pace>,
    requests: Arc<Requests>,
}

impl Door {
    pub(super) fn new(api: Api, pace: Arc<Pace>, requests: Arc<Requests>) -> Self {
        Self { api, pace, requests }
    }

    /// Wraps an HTTP client so that its requests pass this door.
    #[must_use]
    pub fn client(&self, inner: SharedHttpClient) -> SharedHttpClient {
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
            door.requests.sent(door.api);
            let begun = Instant::now();
            let answer = tokio::time::timeout(ATTEMPT_TIMEOUT, inner.call(request)).await;
            door.requests.waited(door.api, begun.elapsed());
            answer.unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into())))
        })
    }
}

/// Determines from the operation whether a request reads or writes.
fn intent(request: &HttpRequest) -> RequestIntent {
    let operation = match (request.headers().get("x-amz-target"), request.method()) {
        (Some(target), _) => target.rsplit('.').next().unwrap_or_default(),
        (None, "GET" | "HEAD") => return RequestIntent::Read,
        (None, _) => {
            let form = request.body().bytes().and_then(|body| std::str::from_utf8(body).ok()).unwrap_or_default();
            form.strip_prefix("Action=").unwrap_or_default()
        }
    };
    intent_of(operation)
}

fn intent_of(operation: &str) -> RequestIntent {
    let reads = ["Get", "List", "Describe", "Head", "AssumeRole"];
    if reads.iter().any(|verb| operation.starts_with(verb)) { RequestIntent::Read } else { RequestIntent::Write }
}

/// Returns the error code of a response, if its body has been read.
#[must_use]
pub fn code_of(response: &HttpResponse) -> Option<&str> {
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
            self.requests.throttled(self.api);
            let operation = bag.load::<Metadata>().map_or("", Metadata::name);
            self.pace.slow_down(intent_of(operation), after);
        }
        Ok(())
    }
}

/// For operations that are not idempotent: retries only after throttling, which means that nothing was done.
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

/// Formats an error in one line: the service's code and message, or the reason why there was no response.
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

    /// Checks the intent of a request with this method, target header and body.
    fn check(method: &str, target: Option<&'static str>, body: &'static str, expected: RequestIntent) {
        let mut request = HttpRequest::new(body.into());
        request.set_method(method).unwrap();
        if let Some(target) = target {
            request.headers_mut().insert("x-amz-target", target);
        }
        assert_eq!(intent(&request), expected, "{method} {target:?} {body}");
    }

    #[test]
    fn reads_and_writes_are_distinguished_in_every_protocol() {
        check("GET", None, "", RequestIntent::Read);
        check("HEAD", None, "", RequestIntent::Read);
        check("PUT", None, "<Tagging/>", RequestIntent::Write);
        check("DELETE", None, "", RequestIntent::Write);
        check("POST", None, "Action=GetRole&Version=2010-05-08&RoleName=x", RequestIntent::Read);
        check("POST", None, "Action=AssumeRole&RoleArn=x", RequestIntent::Read);
        check("POST", None, "Action=CreateRole&RoleName=Get", RequestIntent::Write);
        check("POST", Some("TrentService.DescribeKey"), "{}", RequestIntent::Read);
        check("POST", Some("TrentService.ScheduleKeyDeletion"), "{}", RequestIntent::Write);
        check("POST", None, r#"{"roleArn": "x"}"#, RequestIntent::Write);
    }
}
