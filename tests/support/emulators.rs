//! The basis of the end-to-end tests: an AWS and a Kubernetes API for each test, a folder, and the built program with
//! only the environment that is set here.
//!
//! With `BAILIWICK_TEST_KUBECONFIG` the contexts lead to that API server instead of the double. Its namespaces are then
//! created for one test and deleted after it; run with `--test-threads=1`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::schema::python;

pub const PLATFORM: &str = "111111111111";
pub const MODELS: &str = "222222222222";
pub const RESEARCH: &str = "333333333333";

/// The contexts of every kubeconfig. All lead to the same API server.
const CONTEXTS: [&str; 7] = ["dev", "my-context", "prod", "serving", "staging", "test", "training"];
/// A context whose user may do nothing.
pub const FORBIDDEN: &str = "forbidden";
/// A context whose server does not respond.
pub const UNREACHABLE: &str = "unreachable";

const ADMIN_TOKEN: &str = "admin";
const LIMITED_TOKEN: &str = "limited";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An emulator. It ends when this is dropped, and when the test's process ends in any way: its standard input
/// closes then, and the shell between the two ends it.
struct Emulator {
    shell: Child,
    leash: Option<ChildStdin>,
    /// `127.0.0.1:PORT`
    address: String,
}

impl Emulator {
    fn start(script: &str, arguments: &[&str]) -> Self {
        const LEASH: &str = r#""$@" </dev/null & emulator=$!; read -r _; kill "$emulator"; wait "$emulator""#;
        let mut shell = Command::new("sh")
            .args(["-c", LEASH, "sh"])
            .arg(python())
            .arg(repository().join("tests/emulators").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let leash = shell.stdin.take();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Running on http://").expect("the emulator starts").to_owned();
        Self { shell, leash, address }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.leash.take();
        let _ = self.shell.wait();
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn ok(self) -> String {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.text
    }

    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }
}

fn http(address: &str, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, text: text.to_owned() }
}

/// The AWS of one test. Calls act in the account with the given id.
pub struct Aws(Emulator);

impl Aws {
    pub fn start() -> Self {
        Self(Emulator::start("aws.py", &["--as-it-is"]))
    }

    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Creates resources; the body is described in aws.py.
    pub fn seed(&self, body: &Value) -> Value {
        http(self.address(), "POST /bailiwick/seed", &[], &body.to_string()).json()
    }

    /// The requests since the start or [`Aws::forget_requests`].
    pub fn requests(&self) -> Value {
        http(self.address(), "GET /bailiwick/requests", &[], "").json()
    }

    /// Sets the rules, which are described in aws.py.
    pub fn rules(&self, body: &Value) {
        http(self.address(), "POST /bailiwick/rules", &[], &body.to_string()).ok();
    }

    /// How often each rule was applied, and to which calls.
    pub fn rules_applied(&self) -> Value {
        http(self.address(), "GET /bailiwick/rules", &[], "").json()
    }

    pub fn forget_requests(&self) {
        http(self.address(), "DELETE /bailiwick/requests", &[], "").ok();
    }

    /// Limits the pages of all lists to this many entries.
    pub fn pages_of(&self, most: usize) {
        http(self.address(), "POST /bailiwick/pages", &[], &json!({ "most": most }).to_string()).ok();
    }

    /// How often each operation of a service was called.
    pub fn asked(&self, service: &str) -> BTreeMap<String, u64> {
        let operations = self.requests()["services"][service].as_object().cloned().unwrap_or_default();
        operations.into_iter().map(|(name, count)| (name, count.as_u64().unwrap())).collect()
    }

    /// How often operations of a service were called whose names begin with one of the words.
    pub fn count(&self, service: &str, words: &[&str]) -> u64 {
        let requests = self.requests();
        let operations = requests["services"][service].as_object().cloned().unwrap_or_default();
        let counted = operations.iter().filter(|(name, _)| words.iter().any(|word| name.starts_with(word)));
        counted.map(|(_, count)| count.as_u64().unwrap()).sum()
    }

    /// The number of requests that could change something.
    pub fn writes(&self) -> u64 {
        let words = [
            "Create",
            "Put",
            "Delete",
            "Attach",
            "Detach",
            "Update",
            "Tag",
            "Untag",
            "Enable",
            "Disable",
            "Schedule",
            "Associate",
            "Disassociate",
        ];
        ["iam", "s3", "kms", "eks"].iter().map(|service| self.count(service, &words)).sum()
    }

    fn signed(
        &self,
        account: &str,
        service: &str,
        region: &str,
        line: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={account}/20260101/{region}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let mut headers = vec![("Authorization", authorization.as_str()), ("X-Amz-Date", "20260101T000000Z")];
        headers.extend(more);
        http(self.address(), line, &headers, body)
    }

    /// An S3 request, such as `PUT /bucket?policy`.
    pub fn s3(&self, account: &str, line: &str, body: &str) -> Answer {
        self.signed(account, "s3", "us-west-2", line, &[], body)
    }

    pub fn bucket_policy(&self, account: &str, bucket: &str) -> Option<Value> {
        let answer = self.s3(account, &format!("GET /{bucket}?policy"), "");
        if answer.status == 404 { None } else { Some(answer.json()) }
    }

    pub fn put_bucket_policy(&self, account: &str, bucket: &str, policy: &Value) {
        self.s3(account, &format!("PUT /{bucket}?policy"), &policy.to_string()).ok();
    }

    /// An IAM request; the response is XML.
    pub fn iam(&self, account: &str, action: &str, parameters: &[(&str, &str)]) -> Answer {
        let mut body = format!("Action={action}&Version=2010-05-08");
        for (name, value) in parameters {
            let _ = write!(body, "&{name}={}", escaped(value));
        }
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        self.signed(account, "iam", "us-east-1", "POST /", &form, &body)
    }

    /// The texts of all elements of a name, in all pages of a list.
    fn listed(&self, account: &str, action: &str, parameters: &[(&str, &str)], element: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut marker = String::new();
        loop {
            let mut asked = parameters.to_vec();
            if !marker.is_empty() {
                asked.push(("Marker", &marker));
            }
            let page = self.iam(account, action, &asked).ok();
            found.extend(elements(&page, element));
            match elements(&page, "Marker").pop() {
                Some(next) => marker = next,
                None => return found,
            }
        }
    }

    /// The names of all roles of an account.
    pub fn roles(&self, account: &str) -> Vec<String> {
        self.listed(account, "ListRoles", &[], "RoleName")
    }

    /// The trust policy of a role.
    pub fn trust(&self, account: &str, role: &str) -> Value {
        document(&self.iam(account, "GetRole", &[("RoleName", role)]).ok(), "AssumeRolePolicyDocument")
    }

    /// The inline policies of a role by name.
    pub fn inline_policies(&self, account: &str, role: &str) -> BTreeMap<String, Value> {
        let listed = self.listed(account, "ListRolePolicies", &[("RoleName", role)], "member");
        let read = |name: String| {
            let asked = [("RoleName", role), ("PolicyName", name.as_str())];
            let policy = document(&self.iam(account, "GetRolePolicy", &asked).ok(), "PolicyDocument");
            (name, policy)
        };
        listed.into_iter().map(read).collect()
    }

    /// The names of the customer managed policies of an account.
    pub fn managed_policies(&self, account: &str) -> Vec<String> {
        self.listed(account, "ListPolicies", &[("Scope", "Local")], "PolicyName")
    }

    /// A KMS request in us-west-2.
    pub fn kms(&self, account: &str, operation: &str, body: &Value) -> Answer {
        let target = format!("TrentService.{operation}");
        let headers = [("X-Amz-Target", target.as_str()), ("Content-Type", "application/x-amz-json-1.1")];
        self.signed(account, "kms", "us-west-2", "POST /", &headers, &body.to_string())
    }

    /// An EKS request in us-west-2.
    pub fn eks(&self, account: &str, line: &str, body: &Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.signed(account, "eks", "us-west-2", line, &[("Content-Type", "application/json")], &text)
    }
}

/// The path of an access entry of the cluster `prod-eks`.
pub fn access_entry(principal: &str) -> String {
    format!("/clusters/prod-eks/access-entries/{}", escaped(principal))
}

/// An IAM request where there is no [`Aws`], such as in a gate's rule.
pub fn iam_at(address: &str, account: &str, body: &str) -> Answer {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={account}/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    );
    let headers = [
        ("Authorization", authorization.as_str()),
        ("X-Amz-Date", "20260101T000000Z"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    http(address, "POST /", &headers, body)
}

/// An S3 request to the account of unknown keys.
pub fn s3_at(address: &str, line: &str) -> Answer {
    let authorization =
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    http(address, line, &[("Authorization", authorization), ("X-Amz-Date", "20260101T000000Z")], "")
}

/// The texts of all elements of a name.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close)).map(|(text, _)| text.to_owned()).collect()
}

/// A policy document in an element: percent-encoded JSON, as IAM sends it.
fn document(xml: &str, name: &str) -> Value {
    let text = elements(xml, name).remove(0).replace("&quot;", "\"").replace("&amp;", "&");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8().unwrap().into_owned();
    serde_json::from_str(&decoded).unwrap_or_else(|e| panic!("{e}: {decoded}"))
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The Kubernetes API that the contexts lead to.
pub struct Kube {
    runtime: tokio::runtime::Runtime,
    /// The server of most contexts first, then the separate servers of single contexts.
    clients: Vec<kube::Client>,
    /// Whether it is a real API server, which others use too.
    real: bool,
    made: Mutex<Vec<String>>,
    doubles: Vec<Emulator>,
}

impl Kube {
    /// Starts doubles, one for each context in `apart` and one for all others, and writes the kubeconfig.
    fn start(kubeconfig: &Path, apart: &[&str]) -> Self {
        let arguments = ["--controllers", "--token", ADMIN_TOKEN, "--limited-token", LIMITED_TOKEN];
        let start = |_| Emulator::start("kube_double.py", &arguments);
        let doubles: Vec<Emulator> = (0..=apart.len()).map(start).collect();
        let server = |n: usize| format!("http://{}", doubles[n].address);
        let real = std::env::var_os("BAILIWICK_TEST_KUBECONFIG").filter(|_| apart.is_empty());
        let mut config = match &real {
            Some(path) => serde_json::to_value(Kubeconfig::read_from(path).unwrap()).unwrap(),
            None => json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "admin",
                "clusters": [{ "name": "double", "cluster": { "server": server(0) } }],
                "users": [{ "name": "admin", "user": { "token": ADMIN_TOKEN } }],
                "contexts": [{ "name": "admin", "context": { "cluster": "double", "user": "admin" } }],
            }),
        };
        let current = config["current-context"].clone();
        let context = config["contexts"].as_array().unwrap().iter().find(|c| c["name"] == current).unwrap().clone();
        let mut add = |list: &str, entry: Value| config[list].as_array_mut().unwrap().push(entry);
        for name in CONTEXTS.iter().filter(|name| !apart.contains(name)) {
            add("contexts", json!({ "name": name, "context": context["context"] }));
        }
        let others = apart.iter().enumerate().map(|(n, name)| (*name, server(n + 1), "admin"));
        let closed = (UNREACHABLE, format!("http://{}", closed_port()), FORBIDDEN);
        for (name, server, user) in others.chain([(FORBIDDEN, server(0), FORBIDDEN), closed]) {
            add("clusters", json!({ "name": name, "cluster": { "server": server } }));
            add("contexts", json!({ "name": name, "context": { "cluster": name, "user": user } }));
        }
        add("users", json!({ "name": FORBIDDEN, "user": { "token": LIMITED_TOKEN } }));
        fs::write(kubeconfig, config.to_string()).unwrap();

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connect = |context: Option<&str>| {
            let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
            runtime.block_on(async {
                let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig).unwrap(), &options);
                kube::Client::try_from(config.await.unwrap()).unwrap()
            })
        };
        let clients = [None].into_iter().chain(apart.iter().map(|name| Some(*name))).map(connect).collect();
        Self { runtime, clients, real: real.is_some(), made: Mutex::default(), doubles }
    }

    /// Limits the pages of all lists to this many objects, and lets every list expire before its second page.
    /// Returns false for a real API server, which cannot do that.
    pub fn pages_of(&self, most: usize, expire: bool) -> bool {
        if self.real {
            return false;
        }
        let authorization = format!("Bearer {ADMIN_TOKEN}");
        for double in &self.doubles {
            let body = json!({ "most": most, "expire": expire }).to_string();
            http(&double.address, "POST /bailiwick/pages", &[("Authorization", &authorization)], &body).ok();
        }
        true
    }

    fn client(&self) -> kube::Client {
        self.clients[0].clone()
    }

    fn accounts(&self, namespace: &str) -> Api<ServiceAccount> {
        Api::namespaced(self.client(), namespace)
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client())
    }

    /// The name of a namespace that no other test uses.
    pub fn own_name(&self, wanted: &str) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        if !self.real {
            return wanted.to_owned();
        }
        let name = format!("{wanted}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.made.lock().unwrap().push(name.clone());
        name
    }

    /// Creates a namespace in every cluster.
    pub fn create_namespace(&self, name: &str) {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        for client in &self.clients {
            let namespaces: Api<Namespace> = Api::all(client.clone());
            self.runtime.block_on(namespaces.create(&PostParams::default(), &namespace)).unwrap();
        }
    }

    /// Whether a namespace exists and is not terminating.
    pub fn has_namespace(&self, name: &str) -> bool {
        let found = self.runtime.block_on(self.namespaces().get_opt(name)).unwrap();
        found.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none())
    }

    pub fn service_account(&self, namespace: &str, name: &str) -> Option<ServiceAccount> {
        self.runtime.block_on(self.accounts(namespace).get_opt(name)).unwrap()
    }

    /// The annotations of a service account that exists.
    #[track_caller]
    pub fn annotations(&self, namespace: &str, name: &str) -> BTreeMap<String, String> {
        self.service_account(namespace, name).unwrap().metadata.annotations.unwrap_or_default()
    }

    /// Server-side apply of annotations by another manager.
    pub fn annotate(&self, namespace: &str, name: &str, field_manager: &str, annotations: &Value) {
        let object = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "annotations": annotations }
        });
        let parameters = PatchParams::apply(field_manager).force();
        let applied = self.accounts(namespace);
        self.runtime.block_on(applied.patch(name, &parameters, &Patch::Apply(&object))).unwrap();
    }

    async fn remove_namespace(&self, name: &str) -> kube::Result<()> {
        let Some(_) = self.namespaces().get_opt(name).await? else { return Ok(()) };
        self.accounts(name).delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        let _ = self.namespaces().delete(name, &DeleteParams::default()).await?;
        // Without a controller, a namespace stays in Terminating until it is finalized.
        if let Some(mut namespace) = self.namespaces().get_opt(name).await? {
            namespace.spec = Some(k8s_openapi::api::core::v1::NamespaceSpec { finalizers: Some(Vec::new()) });
            self.namespaces().replace_subresource("finalize", name, &PostParams::default(), &namespace).await?;
        }
        Ok(())
    }
}

impl Drop for Kube {
    fn drop(&mut self) {
        for name in self.made.lock().unwrap().drain(..) {
            let removed = self.runtime.block_on(self.remove_namespace(&name));
            assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
        }
    }
}

/// An address without a listener.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The result of a run of the program.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// stdout, which must be exactly one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}:\n{}\n{}", self.stdout, self.stderr))
    }

    /// Asserts that stdout has all of these texts, ignoring line breaks.
    #[track_caller]
    pub fn shows(self, texts: &[&str]) -> Self {
        let flat = unbroken(&self.stdout);
        for text in texts {
            assert!(flat.contains(text), "no `{text}` in\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        }
        self
    }

    /// Asserts that stderr has all of these texts, ignoring line breaks.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        let flat = unbroken(&self.stderr);
        for text in texts {
            assert!(flat.contains(text), "no `{text}` in\n{}\n--- stdout\n{}", self.stderr, self.stdout);
        }
        self
    }
}

fn unbroken(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn finish(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A run in progress. Ended when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    heard: String,
    stdout: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut stdout = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        Self { child, lines, heard: String::new(), stdout: Some(stdout) }
    }

    /// Waits until stderr contains this text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        while !self.heard.contains(text) {
            let Ok(line) = self.lines.recv() else { panic!("it ended without saying `{text}`:\n{}", self.heard) };
            self.heard.push_str(&(line + "\n"));
        }
    }

    /// Sends a signal: `INT`, `KILL`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Cancels a run as CI does: SIGINT, after 7.5 s SIGTERM, after another 2.5 s SIGKILL, until the run
    /// has ended. A run that had to be killed has the code -1.
    pub fn cancel(mut self) -> Ran {
        for (signal, patience) in [("INT", 7_500), ("TERM", 2_500)] {
            self.signal(signal);
            if self.ends_within(Duration::from_millis(patience)) {
                return self.end();
            }
        }
        self.signal("KILL");
        self.end()
    }

    /// Waits for the end, but not longer than this; returns whether it came. stderr closes with the process.
    fn ends_within(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.heard.push_str(&(line + "\n")),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// Waits for the end. A killed run has the code -1.
    pub fn end(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        self.heard.extend(self.lines.iter().map(|line| line + "\n"));
        let stdout = self.stdout.take().unwrap().join().unwrap();
        Ran { code: status.code().unwrap_or(-1), stdout, stderr: std::mem::take(&mut self.heard) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a gate does with a request.
pub enum Verdict {
    Pass,
    /// Holds it until [`Gate::release`].
    Hold,
    /// Responds in place of AWS.
    Answer(u16, String),
}

/// A proxy between the program and AWS that lets a test hold or answer requests.
pub struct Gate {
    address: String,
    held: Receiver<()>,
    release: Sender<()>,
    closed: Arc<Mutex<bool>>,
}

impl Gate {
    /// `rule` gets each request as text: the line, the headers and the body.
    pub fn open(aws: &Aws, rule: impl Fn(&str) -> Verdict + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let upstream = aws.address().to_owned();
        let rule = Arc::new(rule);
        let (tell, held) = channel();
        let (release, released) = channel();
        let released = Arc::new(Mutex::new(released));
        let closed = Arc::new(Mutex::new(false));
        let is_closed = closed.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if *is_closed.lock().unwrap() {
                    return;
                }
                let (upstream, rule, tell, released) = (upstream.clone(), rule.clone(), tell.clone(), released.clone());
                // A client that disconnects is not a failure of the gate.
                std::thread::spawn(move || pass(stream, &upstream, &*rule, &tell, &released).ok());
            }
        });
        Self { address, held, release, closed }
    }

    /// Holds the first request that creates a role.
    pub fn before_the_role(aws: &Aws) -> Self {
        let held = AtomicBool::new(false);
        Self::open(aws, move |request| {
            let role = request.contains("Action=CreateRole&");
            if role && !held.swap(true, Ordering::Relaxed) { Verdict::Hold } else { Verdict::Pass }
        })
    }

    /// Waits until a request of the run is held.
    #[track_caller]
    pub fn wait(&self, run: &mut Running) {
        if !self.holds(run) {
            let lines: Vec<String> = run.lines.iter().collect();
            panic!("it ended before it sent that request:\n{}", lines.join("\n"));
        }
    }

    /// Waits until a request of the run is held, or the run has ended; returns which.
    pub fn holds(&self, run: &mut Running) -> bool {
        loop {
            match self.held.recv_timeout(Duration::from_millis(100)) {
                Ok(()) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {
                    if run.child.try_wait().unwrap().is_some() {
                        return false;
                    }
                }
            }
        }
    }

    /// The address of its listener.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Releases one held request.
    pub fn release(&self) {
        self.release.send(()).unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        *self.closed.lock().unwrap() = true;
        let _ = TcpStream::connect(&self.address);
    }
}

/// One request of one connection, and its response.
fn pass(
    mut client: TcpStream,
    upstream: &str,
    rule: &(dyn Fn(&str) -> Verdict + Send + Sync),
    tell: &Sender<()>,
    released: &Mutex<Receiver<()>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        assert!(!lower.starts_with("transfer-encoding:"), "the gate does not read chunks");
        if line == "\r\n" {
            break;
        }
        if !lower.starts_with("connection:") {
            request.push_str(&line);
        }
    }
    request.push_str("Connection: close\r\n\r\n");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request.push_str(&String::from_utf8_lossy(&body));
    match rule(&request) {
        Verdict::Pass => {}
        Verdict::Hold => {
            let _ = tell.send(());
            let _ = released.lock().unwrap().recv();
        }
        Verdict::Answer(status, body) => {
            let length = body.len();
            return write!(
                client,
                "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        }
    }
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let line = answer.iter().position(|b| *b == b'\n').map_or(0, |n| n + 1);
    client.write_all(&answer[..line])?;
    client.write_all(b"Connection: close\r\n")?;
    client.write_all(&answer[line..])
}

/// The world of one test. When it is dropped, AWS must have understood every request.
pub struct World {
    pub aws: Aws,
    pub kube: Kube,
    /// A namespace that exists.
    pub namespace: String,
    folder: tempfile::TempDir,
    home: tempfile::TempDir,
    endpoint: String,
}

impl World {
    pub fn new() -> Self {
        let world = Self::bare("kserve");
        world.kube.create_namespace(&world.namespace);
        world
    }

    /// A world with the name of a namespace that does not exist yet.
    pub fn bare(namespace: &str) -> Self {
        Self::with_clusters(namespace, &[])
    }

    /// A world in which these contexts lead to separate clusters.
    pub fn with_clusters(namespace: &str, apart: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let aws = Aws::start();
        let kube = Kube::start(&home.path().join("kubeconfig"), apart);
        let namespace = kube.own_name(namespace);
        let endpoint = format!("http://{}", aws.address());
        Self { aws, kube, namespace, folder: tempfile::tempdir().unwrap(), home, endpoint }
    }

    /// Sends the program's requests through a gate from now on.
    pub fn through(&mut self, gate: &Gate) {
        self.endpoint = format!("http://{}", gate.address);
    }

    /// Sends the program's requests straight to AWS again.
    pub fn without_gate(&mut self) {
        self.endpoint = format!("http://{}", self.aws.address());
    }

    /// The folder in which the program runs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the spec, with `NAMESPACE` replaced by the test's own.
    pub fn spec(&self, text: &str) {
        self.write("bailiwick.yaml", &text.replace("NAMESPACE", &self.namespace));
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.folder().join(name), text).unwrap();
    }

    /// Writes the credentials file of the AWS configuration.
    pub fn credentials(&self, text: &str) {
        fs::create_dir_all(self.home.path().join(".aws")).unwrap();
        fs::write(self.home.path().join(".aws/credentials"), text).unwrap();
    }

    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder().join(name)).unwrap()
    }

    /// The stored state of a project.
    #[track_caller]
    pub fn state(&self, project: &str) -> Value {
        serde_json::from_str(&self.read(&format!("state/{project}.json"))).unwrap()
    }

    /// The finished run of the program.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.surrounded(env!("CARGO_BIN_EXE_bailiwick"));
        command.args(arguments);
        command
    }

    /// Runs a line in the shell, in which `bailiwick` is the program.
    pub fn shell(&self, line: &str) -> Ran {
        finish(self.surrounded("sh").args(["-c", line]))
    }

    /// The program with only the environment that is set here.
    fn surrounded(&self, program: &str) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_bailiwick")).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([built].into_iter().chain(std::env::split_paths(&path))).unwrap();
        let mut command = Command::new(program);
        command
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    pub fn bailiwick(&self, arguments: &[&str]) -> Ran {
        finish(&mut self.command(arguments))
    }

    /// Starts the program without waiting for its end.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Starts a command of [`World::command`] without waiting for its end.
    #[expect(clippy::unused_self, reason = "a running program needs its world")]
    pub fn started(&self, command: Command) -> Running {
        Running::start(command)
    }

    /// Applies without a prompt; everything must be done.
    #[track_caller]
    pub fn apply(&self) -> Ran {
        self.bailiwick(&["apply", "--yes"]).exits(0)
    }

    /// Asserts that there is nothing to do and no drift.
    #[track_caller]
    pub fn converged(&self) {
        self.bailiwick(&["plan", "--detailed-exitcode"]).exits(0);
        self.bailiwick(&["drift", "--fail-on", "foreign"]).exits(0);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.aws.requests()["faults"], json!([]), "requests that AWS's double does not understand");
        }
    }
}
