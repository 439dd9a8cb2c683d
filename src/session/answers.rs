//! Reads the error code and throttling hints from a raw AWS response.

use std::time::Duration;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// The error codes for throttling. KMS's `LimitExceededException` is not one: it is a quota, and waiting does not help.
///
/// Source: the throttling codes of the AWS SDKs (`aws-runtime`, `THROTTLING_ERRORS`).
const THROTTLES: [&str; 13] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

/// Whether an error code means throttling.
#[must_use]
pub fn is_throttle(code: &str) -> bool {
    THROTTLES.contains(&code)
}

/// Whether a response means throttling. IAM throttles with status 400. A response to HEAD has no code. A 503 with
/// `Retry-After` is treated the same (RFC 9110, 15.6.4).
pub(super) fn asks_to_slow_down(status: u16, code: Option<&str>, after: Option<Duration>) -> bool {
    match code {
        Some(code) => status == 429 || is_throttle(code) || (status == 503 && after.is_some()),
        None => matches!(status, 429 | 503),
    }
}

/// Returns the error code of a response, from any wire format: a header, JSON or XML.
pub(super) fn error_code<'a>(header: Option<&'a str>, body: &'a [u8]) -> Option<&'a str> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let found = if let Some(header) = header {
        header
    } else if text.trim_start().starts_with('{') {
        let (_, rest) = text.split_once("\"__type\"").or_else(|| text.split_once("\"code\""))?;
        rest.split('"').nth(1)?
    } else {
        text.split_once("<Code>")?.1.split_once("</Code>")?.0
    };
    // Format: `com.amazonaws.kms#NotFoundException:http://...`
    let code = found.split(':').next().unwrap_or_default();
    code.rsplit('#').next().map(str::trim).filter(|code| !code.is_empty())
}

/// Parses `Retry-After`: a number of seconds, or a date, which is compared with the date of the response.
///
/// Source: RFC 9110, 10.2.3.
pub(super) fn retry_after(header: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let header = header?.trim();
    let moment = |text| DateTime::from_str(text, Format::HttpDate).ok().map(|moment| moment.secs());
    header.parse().ok().map(Duration::from_secs).or_else(|| {
        let seconds = moment(header)?.saturating_sub(moment(date?.trim())?);
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_in_every_wire_format() {
        let cases: [(Option<&str>, &str, Option<&str>); 7] = [
            (None, "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>", Some("Throttling")),
            (None, "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code></Error>", Some("SlowDown")),
            (None, r#"{"__type": "com.amazonaws.kms#ThrottlingException"}"#, Some("ThrottlingException")),
            (None, r#"{"code":"TooManyRequestsException"}"#, Some("TooManyRequestsException")),
            (Some("ThrottlingException:http://internal.amazon.com/"), "{}", Some("ThrottlingException")),
            (None, "", None),
            (None, "<html>", None),
        ];
        for (header, body, code) in cases {
            assert_eq!(error_code(header, body.as_bytes()), code, "{header:?} {body}");
        }
    }

    #[test]
    fn throttling_responses_ask_to_slow_down() {
        for (status, code) in [
            (400, Some("Throttling")),
            (400, Some("ThrottlingException")),
            (503, Some("SlowDown")),
            (429, Some("TooManyRequestsException")),
            (429, Some("WhateverException")),
            (503, None),
            (429, None),
        ] {
            assert!(asks_to_slow_down(status, code, None), "{status} {code:?}");
        }
        for (status, code) in
            [(400, Some("LimitExceededException")), (503, Some("ServiceUnavailable")), (400, None), (404, None)]
        {
            assert!(!asks_to_slow_down(status, code, None), "{status} {code:?}");
        }
    }

    #[test]
    fn unavailable_with_retry_after_asks_to_slow_down() {
        let after = Some(Duration::from_secs(4));
        assert!(asks_to_slow_down(503, Some("ServiceUnavailable"), after));
        assert!(!asks_to_slow_down(500, Some("InternalFailure"), after));
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_time() {
        let (sent, later) = ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:05 GMT");
        for (header, date, expected) in [
            (Some(" 3 "), None, Some(3)),
            (Some(later), Some(sent), Some(5)),
            (Some(sent), Some(later), Some(0)),
            (Some(later), None, None),
            (Some("soon"), Some(sent), None),
            (Some("-1"), Some(sent), None),
            (None, Some(sent), None),
        ] {
            assert_eq!(retry_after(header, date), expected.map(Duration::from_secs), "{header:?} {date:?}");
        }
    }
}
