//! The S3 client of a region.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;

use crate::address::Scope;
use crate::provider::aws::account;
use crate::provider::aws::family::S3;
use crate::session::{Rates, Session, SessionError};

/// Low enough to leave most of the account's rate limit to others.
const RATES: Rates = Rates { reads: 400.0, writes: 100.0 };

/// Returns the S3 client of a scope. With a custom endpoint, it uses path-style addressing.
///
/// # Errors
/// When the caller is in the wrong account, or cannot be identified.
pub async fn client(cloud: &Session, scope: &Scope) -> Result<Client, SessionError> {
    let build = |config: &aws_config::SdkConfig, door| {
        let by_path = cloud.has_endpoint(S3) || config.endpoint_url().is_some();
        Client::from_conf(Builder::from(config).force_path_style(by_path).interceptor(door).build())
    };
    account::client(cloud, scope, (S3, RATES), build).await
}

/// Returns the account that must own a bucket. Names are global, so a bucket of that name may belong to others.
pub(super) fn expected_owner(scope: &Scope) -> Option<String> {
    scope.as_aws().map(|aws| aws.id.to_owned())
}
