//! The IAM client of an account.

use aws_sdk_iam::Client;
use aws_sdk_iam::config::Builder;

use crate::address::Scope;
use crate::provider::aws::account;
use crate::provider::aws::family::IAM;
use crate::session::{Rates, Session, SessionError};

/// Low enough to leave most of the account's rate limit to others.
const RATES: Rates = Rates { reads: 40.0, writes: 20.0 };

/// Returns the IAM client of a scope's account.
pub(in crate::provider::aws) async fn client(cloud: &Session, scope: &Scope) -> Result<Client, SessionError> {
    let build = |config: &_, door| Client::from_conf(Builder::from(config).interceptor(door).build());
    account::client(cloud, scope, (IAM, RATES), build).await
}
