//! The KMS client of a region.

use aws_sdk_kms::Client;
use aws_sdk_kms::config::Builder;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

use crate::address::Scope;
use crate::provider::aws::account;
use crate::provider::aws::family::KMS;
use crate::session::{Rates, Session, SessionError, code_of};

/// Low enough to leave most of the account's rate limit to others.
const RATES: Rates = Rates { reads: 50.0, writes: 10.0 };

/// Returns the KMS client of a scope.
pub(in crate::provider::aws) async fn client(cloud: &Session, scope: &Scope) -> Result<Client, SessionError> {
    let build = |config: &_, door| {
        Client::from_conf(Builder::from(config).interceptor(door).retry_classifier(QuotaIsFinal).build())
    };
    account::client(cloud, scope, (KMS, RATES), build).await
}

/// Prevents retries for KMS's quota of keys and aliases, which the SDK treats as a throttle.
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
