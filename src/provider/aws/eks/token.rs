//! The bearer token of EKS: a presigned STS request, created without a subprocess.
//!
//! Source: aws-iam-authenticator, "API Authorization from Outside a Cluster": `k8s-aws-v1.` and the base64url text of a
//! presigned `GetCallerIdentity` URL, whose signed header `x-k8s-aws-id` names the cluster.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;

use crate::address::{Region, Scope};

const PRESIGNED_FOR: Duration = Duration::from_mins(1);

/// Creates the token for a cluster.
pub(super) async fn make(config: &SdkConfig, cluster: &str, scope: &Scope) -> Result<String, String> {
    let region = scope.as_aws().ok_or("only an AWS account has STS")?.region;
    let credentials = config
        .credentials_provider()
        .ok_or("no credentials")?
        .provide_credentials()
        .await
        .map_err(|e| format!("no credentials: {e}"))?;
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(PRESIGNED_FOR);
    // STS accepts the token for 15 minutes from this time, so a wrong clock makes it invalid.
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .map_err(|e| e.to_string())?
        .into();
    let suffix = Region(region.to_owned()).dns_suffix();
    let url = format!("https://sts.{region}.{suffix}/?Action=GetCallerIdentity&Version=2011-06-15");
    let headers = [("host", url.split('/').nth(2).unwrap_or_default()), ("x-k8s-aws-id", cluster)];
    let request =
        SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::Bytes(&[])).map_err(|e| e.to_string())?;
    let (instructions, _) = sign(request, &params).map_err(|e| e.to_string())?.into_parts();
    let mut signed = url.clone();
    for (name, value) in instructions.params() {
        signed.push('&');
        signed.push_str(name);
        signed.push('=');
        signed.extend(percent_encoding::utf8_percent_encode(value, QUERY));
    }
    Ok(format!("k8s-aws-v1.{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signed)))
}

/// RFC 3986: unreserved characters are not encoded.
const QUERY: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AccountId;

    #[tokio::test]
    async fn the_token_is_a_presigned_url_that_names_the_cluster_in_a_signed_header() {
        let credentials =
            aws_credential_types::Credentials::new("AKID", "secret", Some("tok/en=".into()), None, "test");
        let config = SdkConfig::builder()
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(credentials))
            .build();
        let scope = Scope::account("a", AccountId("111111111111".into()), Region("us-west-2".into()));
        let token = make(&config, "prod-eks", &scope).await.unwrap();
        let encoded = token.strip_prefix("k8s-aws-v1.").unwrap();
        let url = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded).unwrap();
        let url = String::from_utf8(url).unwrap();
        assert!(url.starts_with("https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&"));
        assert!(url.contains("X-Amz-SignedHeaders=host%3Bx-k8s-aws-id"), "{url}");
        assert!(url.contains("X-Amz-Expires=60") && url.contains("X-Amz-Security-Token=tok%2Fen%3D"), "{url}");
        assert!(!url.contains("secret"));
    }
}
