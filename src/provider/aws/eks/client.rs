//! The EKS client of a region.

use aws_sdk_eks::Client;
use aws_sdk_eks::config::Builder;

use crate::address::Scope;
use crate::provider::aws::account;
use crate::provider::aws::family::EKS;
use crate::session::{Rates, Session, SessionError};

/// Low enough to leave most of the account's rate limit to others.
const RATES: Rates = Rates { reads: 30.0, writes: 10.0 };

/// Returns the EKS client of a scope.
pub(in crate::provider::aws) async fn client(cloud: &Session, scope: &Scope) -> Result<Client, SessionError> {
    let build = |config: &_, door| Client::from_conf(Builder::from(config).interceptor(door).build());
    account::client(cloud, scope, (EKS, RATES), build).await
}
