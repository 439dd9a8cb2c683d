//! A loopback HTTP server with recorded responses, for the tests of kinds: real client and wire format, no emulator.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where it fails")]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[cfg(feature = "cloud")]
use crate::address::{AccountId, Region, Scope};
use crate::session::{Environment, Session};
use crate::spec::{SourceFile, load};

const IDENTITY: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
    <Arn>arn:aws:iam::111111111111:user/t</Arn><UserId>AIDA</UserId><Account>111111111111</Account>\
    </GetCallerIdentityResult></GetCallerIdentityResponse>";

/// IAM's response to a write without a result.
pub(super) const DONE: &str = "<Response><ResponseMetadata/></Response>";
/// IAM's 403 response for a denied caller.
pub(super) const DENIED: &str =
    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
/// IAM's 404 response for a missing object.
pub(super) const MISSING: &str =
    "<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>gone</Message></Error></ErrorResponse>";
/// IAM's 409 response for an existing name.
pub(super) const EXISTS: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>EntityAlreadyExists</Code><Message>there</Message></Error></ErrorResponse>";

/// A part of a request, with the status and text of the response.
pub(super) type Exchange = (&'static str, u16, &'static str);

/// The running server. It stops with the test's runtime.
pub(super) struct Recorded {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

/// The scope of the server.
#[cfg(feature = "cloud")]
pub(super) fn scope() -> Scope {
    Scope::account("a", AccountId("111111111111".into()), Region("us-east-1".into()))
}

/// Formats method, path and body of each request, with T in place of the client's random token.
#[cfg(feature = "cloud")]
pub(super) fn lines(requests: &[String]) -> Vec<String> {
    let line = |request: &String| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").replace("?&", "?");
        let token = body.split("\"clientRequestToken\":\"").nth(1).and_then(|t| t.split('"').next());
        let body = token.map_or_else(|| body.to_owned(), |token| body.replace(token, "T"));
        format!("{line} {body}").trim_end().to_owned()
    };
    requests.iter().map(line).collect()
}

impl Recorded {
    /// Starts a server. The first exchange whose part occurs in a request's text (`METHOD path?query`, a newline,
    /// headers, an empty line, body) gives the response; without one, it is 501. Requests for the caller's identity are
    /// answered too. A response to HEAD has no body: its text is header lines.
    pub(super) async fn start(exchanges: &[Exchange]) -> Self {
        Self::start_changing(&[exchanges]).await
    }

    /// Starts a server whose responses change: the second time a request arrives, it is answered from the second stage,
    /// and so on. The last stage is repeated.
    pub(super) async fn start_changing(stages: &[&[Exchange]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let identity: Exchange = ("Action=GetCallerIdentity", 200, IDENTITY);
        let stages: Vec<Vec<Exchange>> = stages.iter().map(|stage| [stage, [identity].as_slice()].concat()).collect();
        let stages = Arc::new(stages);
        tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let (stages, seen) = (stages.clone(), seen.clone());
                tokio::spawn(async move {
                    let text = read_request(&mut stream).await;
                    let earlier = {
                        let mut seen = seen.lock().unwrap();
                        let earlier = seen.iter().filter(|other: &&String| asked(other) == asked(&text)).count();
                        seen.push(text.clone());
                        earlier
                    };
                    let (status, body) = stages[earlier.min(stages.len() - 1)]
                        .iter()
                        .find(|(part, ..)| text.contains(part))
                        .map_or((501, "<Error><Code>NotRecorded</Code></Error>"), |(_, status, body)| (*status, *body));
                    let (headers, body) = if text.starts_with("HEAD ") { (body, "") } else { ("", body) };
                    let length = body.len();
                    let kind = if body.starts_with('{') { "application/json" } else { "text/xml" };
                    let answer = format!(
                        "HTTP/1.1 {status} Recorded\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { port, requests }
    }

    /// Returns a session whose only account, `a`, is this server.
    pub(super) fn session(&self) -> Session {
        let text = format!(
            "version: 1\nproject: p\naccounts:\n  a: {{ id: \"111111111111\", region: us-east-1, endpoint: \"http://127.0.0.1:{}\" }}\n",
            self.port
        );
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        Session::new(&spec.unwrap(), Environment { endpoints: [super::S3].into(), concurrency: None })
    }

    /// Returns a session whose only cluster, `prod`, is this server.
    #[cfg(feature = "cloud")]
    pub(super) fn cluster_session(&self) -> Session {
        super::kubernetes::with_cluster(self.session(), "prod", &format!("http://127.0.0.1:{}", self.port))
    }

    /// Returns the received requests, without those for the caller's identity.
    pub(super) fn requests(&self) -> Vec<String> {
        let all = self.requests.lock().unwrap();
        all.iter().filter(|r| !r.contains("GetCallerIdentity")).cloned().collect()
    }

    /// Returns the received forms of a query API such as IAM's, decoded: `Action=GetRole&RoleName=loader`.
    pub(super) fn forms(&self) -> Vec<String> {
        let requests = self.requests();
        let bodies = requests.iter().filter_map(|r| r.split_once("\r\n\r\n")).map(|(_, body)| body);
        bodies
            .map(|body| {
                percent_encoding::percent_decode_str(body).decode_utf8().unwrap().replace("&Version=2010-05-08", "")
            })
            .collect()
    }
}

/// Returns the exchanges of a list with these pages. `answer` builds a page from its entries and the token of the next
/// page. The tokens are `NAME.1.`, `NAME.2.` and so on; a request that contains `first` and no token gets the first
/// page.
pub(super) fn paged(
    first: &'static str,
    name: &str,
    pages: &[&[&str]],
    answer: impl Fn(&[&str], Option<&str>) -> String,
) -> Vec<Exchange> {
    let token = |n: usize| format!("{name}.{n}.");
    let write = |(n, entries): (usize, &&[&str])| -> Exchange {
        let next = (n + 1 < pages.len()).then(|| token(n + 1));
        let asked = if n == 0 { first } else { token(n).leak() };
        (asked, 200, answer(entries, next.as_deref()).leak())
    };
    pages.iter().enumerate().map(write).rev().collect()
}

/// Returns the first line and the body of a request; the rest varies with each request.
fn asked(request: &str) -> Option<(&str, &str)> {
    let (head, body) = request.split_once("\r\n\r\n")?;
    Some((head.lines().next()?, body))
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 8192];
    while let Ok(n) = stream.read(&mut buffer).await {
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.to_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse::<usize>()))
                .and_then(Result::ok)
                .unwrap_or(0);
            if body.len() >= length {
                break;
            }
        }
        if n == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
