#!/usr/bin/env python3
"""Start a real kube-apiserver with its etcd for tests, and stop both again.

    kube_apiserver.py --assets DIR [--kubeconfig PATH] [--context NAME]
    kube_apiserver.py --assets DIR --run cargo test --test cloud

DIR holds the programs `etcd` and `kube-apiserver`; without --assets the folder in KUBEBUILDER_ASSETS is
used. Both listen on free loopback ports and keep everything in one temporary folder. The InferenceService
custom resource is installed. Once the server answers, `Running on https://127.0.0.1:PORT` is printed.
It ends, and takes both programs with it, on SIGTERM, on SIGINT and when the process that started it ends.

With --run the command runs with KUBECONFIG and BAILIWICK_TEST_KUBECONFIG set to the written kubeconfig,
and its exit code becomes the exit code of this script. The kubeconfig's user may do everything (group system:masters);
the token in --limited-token belongs to a user who may do nothing. No controller runs: namespaces stay in
Terminating, no default service account appears, and claims stay Pending.
"""

import argparse
import base64
import ctypes
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

PROGRAMS = ("etcd", "kube-apiserver")
START_ATTEMPTS = 5

INFERENCE_SERVICE = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "inferenceservices.serving.kserve.io"},
    "spec": {
        "group": "serving.kserve.io",
        "scope": "Namespaced",
        "names": {
            "plural": "inferenceservices",
            "singular": "inferenceservice",
            "kind": "InferenceService",
            "listKind": "InferenceServiceList",
            "shortNames": ["isvc"],
        },
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["predictor"],
                                "properties": {
                                    "predictor": {
                                        "type": "object",
                                        "x-kubernetes-preserve-unknown-fields": True,
                                        "properties": {
                                            "minReplicas": {"type": "integer", "minimum": 0},
                                            "serviceAccountName": {"type": "string"},
                                        },
                                    }
                                },
                            },
                            "status": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            },
                        },
                    }
                },
            }
        ],
    },
}


class StartError(Exception):
    """The server did not come up; the text gives the reason."""


class PortTaken(Exception):
    """Another process took the port before the program could bind it."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_with_parent():
    """Runs in the child before exec: Linux ends it when this process ends in any way."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def write_certificates(folder):
    """A CA, a server certificate for loopback and a key for service account tokens, by openssl."""
    (folder / "openssl.cnf").write_text(
        "[req]\ndistinguished_name = name\n[name]\n"
        "[ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n"
        "subjectKeyIdentifier = hash\n"
        "[server]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n"
        "extendedKeyUsage = serverAuth\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
        "subjectAltName = IP:127.0.0.1, DNS:localhost\n"
    )

    def openssl(*args):
        done = subprocess.run(["openssl", *args], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise StartError(f"`openssl {args[0]}` failed: {done.stderr.strip()}")

    for key in ("ca.key", "server.key", "service-account.key"):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    config = ("-config", "openssl.cnf")
    openssl(
        "req",
        "-x509",
        "-new",
        "-key",
        "ca.key",
        "-subj",
        "/CN=bailiwick-test-ca",
        "-days",
        "30",
        *config,
        "-extensions",
        "ca",
        "-out",
        "ca.crt",
    )
    openssl("req", "-new", "-key", "server.key", "-subj", "/CN=kube-apiserver", *config, "-out", "server.csr")
    openssl(
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-set_serial",
        "1",
        "-days",
        "30",
        "-extfile",
        "openssl.cnf",
        "-extensions",
        "server",
        "-out",
        "server.crt",
    )


def kubeconfig(server, context, token=None, ca=None):
    """The text of a kubeconfig with one cluster, one user and one context, all named `context`."""
    authority = f"    certificate-authority-data: {base64.b64encode(ca).decode()}\n" if ca else ""
    user = f"\n    token: {token}" if token else " {}"
    return (
        "apiVersion: v1\n"
        "kind: Config\n"
        "clusters:\n"
        f"- name: {context}\n"
        "  cluster:\n"
        f"    server: {server}\n"
        f"{authority}"
        "users:\n"
        f"- name: {context}\n"
        f"  user:{user}\n"
        "contexts:\n"
        f"- name: {context}\n"
        "  context:\n"
        f"    cluster: {context}\n"
        f"    user: {context}\n"
        f"current-context: {context}\n"
    )


def write_private(path, text):
    """Readers see the whole file or none; only the owner may read it."""
    path = pathlib.Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(draft, path)


class Cluster:
    """etcd and kube-apiserver in one temporary folder. Use as a context; leaving it stops both."""

    def __init__(self, assets, port, tokens, log_dir, timeout, flags):
        self.assets = assets
        self.wanted_port = port
        self.tokens = tokens
        self.flags = flags
        self.deadline = time.monotonic() + timeout
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kube-apiserver-"))
        self.logs = pathlib.Path(log_dir) if log_dir else self.folder
        self.logs.mkdir(parents=True, exist_ok=True)
        self.children = {}
        self.port = None

    def __enter__(self):
        try:
            write_certificates(self.folder)
            token_file = "".join(f'{token},{user},{user},"{group}"\n' for token, user, group in self.tokens)
            write_private(self.folder / "tokens.csv", token_file)
            etcd_url = self.attempt(self.start_etcd)
            self.attempt(lambda: self.start_apiserver(etcd_url))
            self.wait_for("namespace `default`", lambda: self.call("GET", "/api/v1/namespaces/default")[0] == 200)
            self.install_crd()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in reversed(PROGRAMS):
            child = self.children.get(name)
            if child and child.poll() is None:
                child.terminate()
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def attempt(self, start):
        for _ in range(START_ATTEMPTS):
            try:
                return start()
            except PortTaken:
                if self.wanted_port:
                    break
        taken = f"port {self.wanted_port} is" if self.wanted_port else "every port that was chosen was"
        raise StartError(f"{taken} taken by another program")

    def spawn(self, name, *args):
        with open(self.logs / f"{name}.log", "wb") as log:
            self.children[name] = subprocess.Popen(
                [str(self.assets / name), *args],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
                start_new_session=True,
            )

    def wait_for(self, what, ready):
        """Asks every 50 ms until `ready` is true; fails when a program ends or the time is up."""
        while True:
            for name, child in self.children.items():
                if child.poll() is not None:
                    log = (self.logs / f"{name}.log").read_text(errors="replace")
                    if "address already in use" in log:
                        raise PortTaken
                    tail = "\n".join(log.splitlines()[-15:])
                    raise StartError(f"`{name}` ended with {child.returncode} before {what}:\n{tail}")
            try:
                if ready():
                    return
            except (OSError, http.client.HTTPException):
                pass
            if time.monotonic() > self.deadline:
                raise StartError(f"the time was up before {what}; --log-dir keeps the logs, --timeout gives more")
            time.sleep(0.05)

    def start_etcd(self):
        client, peer = free_port(), free_port()
        url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)
        self.spawn(
            "etcd",
            "--name=test",
            "--data-dir=etcd",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=test={peer_url}",
        )

        def healthy():
            connection = http.client.HTTPConnection("127.0.0.1", client, timeout=5)
            try:
                connection.request("GET", "/health")
                return json.loads(connection.getresponse().read()).get("health") == "true"
            finally:
                connection.close()

        self.wait_for("etcd was healthy", healthy)
        return url

    def start_apiserver(self, etcd_url):
        self.port = self.wanted_port or free_port()
        self.spawn(
            "kube-apiserver",
            f"--etcd-servers={etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder}",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--token-auth-file=tokens.csv",
            "--anonymous-auth=false",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=service-account.key",
            "--service-account-signing-key-file=service-account.key",
            "--disable-admission-plugins=ServiceAccount",
            *self.flags,
        )
        self.wait_for("kube-apiserver was ready", lambda: self.call("GET", "/readyz")[0] == 200)

    def call(self, method, path, body=None):
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=5)
        headers = {"Authorization": f"Bearer {self.tokens[0][0]}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def install_crd(self):
        code, text = self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", INFERENCE_SERVICE)
        if code not in (201, 409):
            raise StartError(
                f"the InferenceService definition was refused with {code}: {text.decode(errors='replace')}"
            )
        listing = "/apis/serving.kserve.io/v1beta1/inferenceservices"
        self.wait_for("InferenceService was served", lambda: self.call("GET", listing)[0] == 200)


def ended_by_signal(signum, _frame):
    sys.exit(128 + signum)


def run_command(command, kubeconfig_path):
    environment = {**os.environ, "KUBECONFIG": kubeconfig_path, "BAILIWICK_TEST_KUBECONFIG": kubeconfig_path}
    try:
        child = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise StartError(f"cannot run `{command[0]}`: {error}") from error
    try:
        code = child.wait()
        return code if code >= 0 else 128 - code
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()


def wait_for_parent_to_end(parent):
    while os.getppid() == parent:
        time.sleep(0.5)


def main():
    parent = os.getppid()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", default=os.environ.get("KUBEBUILDER_ASSETS"), metavar="DIR")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--kubeconfig", metavar="PATH", help="where to write a kubeconfig")
    parser.add_argument("--context", default="bailiwick-test", help="the context's name in the kubeconfig")
    parser.add_argument("--token", default=secrets.token_hex(16), help="default: a random one")
    parser.add_argument("--limited-token", help="token of a user who may do nothing")
    parser.add_argument("--ca-out", metavar="PATH", help="where to write the CA certificate")
    parser.add_argument("--log-dir", metavar="DIR", help="keep the logs of both programs here")
    parser.add_argument("--timeout", type=float, default=120, help="seconds to come up (default 120)")
    parser.add_argument(
        "--flag",
        action="append",
        default=[],
        metavar="FLAG",
        help="one more flag for kube-apiserver, as in --flag=--v=2",
    )
    parser.add_argument("--run", nargs=argparse.REMAINDER, metavar="CMD", help="run CMD, then stop; must come last")
    args = parser.parse_args()

    if not args.assets:
        parser.error("no --assets and no KUBEBUILDER_ASSETS: name the folder with etcd and kube-apiserver")
    assets = pathlib.Path(args.assets).resolve()
    missing = [name for name in PROGRAMS if not os.access(assets / name, os.X_OK)]
    if missing:
        parser.error(f"`{assets}` has no program `{'`, `'.join(missing)}`")
    if args.run is not None and not args.run:
        parser.error("--run needs a command")

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, ended_by_signal)
    tokens = [(args.token, "admin", "system:masters")]
    if args.limited_token:
        tokens.append((args.limited_token, "limited", "limited"))
    try:
        with Cluster(assets, args.port, tokens, args.log_dir, args.timeout, args.flag) as cluster:
            url = f"https://127.0.0.1:{cluster.port}"
            ca = (cluster.folder / "ca.crt").read_bytes()
            if args.ca_out:
                pathlib.Path(args.ca_out).write_bytes(ca)
            path = str(pathlib.Path(args.kubeconfig or cluster.folder / "kubeconfig").resolve())
            write_private(path, kubeconfig(url, args.context, args.token, ca))
            if args.run:
                print(f"Running on {url}", file=sys.stderr, flush=True)
                return run_command(args.run, path)
            print(f"Running on {url}", flush=True)
            wait_for_parent_to_end(parent)
            return 0
    except StartError as error:
        print(f"kube_apiserver: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
