//! Policy documents as IAM returns them.

use crate::iam::Policy;

/// Parses a policy document as IAM returns it: percent-encoded (RFC 3986), or plain from some emulators and stores.
pub(super) fn policy_text(text: &str) -> Result<Policy, String> {
    let decoded = if text.trim_start().starts_with('{') {
        std::borrow::Cow::Borrowed(text)
    } else {
        percent_encoding::percent_decode_str(text).decode_utf8().map_err(|e| format!("the policy is not text: {e}"))?
    };
    Policy::parse(&decoded).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}
