#!/usr/bin/env python3
"""The main job from beginning to end, against an AWS emulator and a double of the Kubernetes API server.

    demo.py PATH/TO/bailiwick        (`make demo` does this)

Plans and applies cross-account S3 access for a KServe service account, plans again and finds nothing to do, sees drift
after someone widens the bucket policy by hand, repairs it, and destroys everything that it created. Everything runs on
loopback, in a temporary folder, and is stopped at the end, also after a failure.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
EMULATORS = HERE.parent / "tests" / "emulators"
BUCKET = "acme-model-weights-prod"
FOREIGN = {
    "Sid": "AuditorsOfAnotherTeam",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::333333333333:role/auditor"},
    "Action": "s3:ListBucket",
    "Resource": f"arn:aws:s3:::{BUCKET}",
}
SEED = {
    "clusters": [{"account": "111111111111", "region": "us-west-2", "name": "prod-eks"}],
    "keys": [{"account": "222222222222", "region": "us-west-2", "alias": "alias/model-weights-prod"}],
    "roles": [{"account": "333333333333", "name": "auditor"}],
    "buckets": [
        {
            "account": "222222222222",
            "region": "us-west-2",
            "name": BUCKET,
            "policy": {"Version": "2012-10-17", "Statement": [FOREIGN]},
        }
    ],
}


@contextlib.contextmanager
def started(*command):
    """A server that prints its address in its first line. It is stopped in any case."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line.startswith("Running on "):
            raise SystemExit(f"{command[0]} did not start: {line!r}")
        yield line.removeprefix("Running on ").strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def call(method, url, body=None, account=None):
    """One request; an account id stands for credentials of that account."""
    headers = {"content-type": "application/json"}
    if account:
        scope = f"{account}/20260101/us-west-2/s3/aws4_request"
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as answer:
        text = answer.read()
    return json.loads(text) if method == "GET" else None


def title(text):
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bailiwick-demo-")))
        for file in (HERE / "kserve-cross-account").glob("*.yaml"):
            shutil.copy(file, folder)
        kubeconfig = folder / "kubeconfig"
        aws = stack.enter_context(started(str(EMULATORS / "aws.py")))
        double = [str(EMULATORS / "kube_double.py"), "--kubeconfig", str(kubeconfig), "--context", "prod"]
        kubernetes = stack.enter_context(started(*double))
        call("POST", f"{aws}/bailiwick/seed", SEED)
        call("POST", f"{kubernetes}/api/v1/namespaces", {"metadata": {"name": "kserve"}})
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "AWS_ENDPOINT_URL": aws,
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_EC2_METADATA_DISABLED": "true",
            "KUBECONFIG": str(kubeconfig),
            "NO_COLOR": "" if sys.stdout.isatty() else "1",
        }

        def bailiwick(*arguments, expect=0):
            print(f"$ bailiwick -f base.yaml -f prod.yaml {' '.join(arguments)}", flush=True)
            command = [str(program), "-f", "base.yaml", "-f", "prod.yaml", *arguments]
            code = subprocess.run(command, cwd=folder, env=environment, stderr=subprocess.STDOUT).returncode
            if code != expect:
                raise SystemExit(f"the demo failed: exit code {code} instead of {expect}")
            print(f"[exit code {code}]", flush=True)

        def policy(change=None):
            url = f"{aws}/{BUCKET}?policy"
            document = call("GET", url, account="222222222222")
            if change:
                change(document)
                call("PUT", url, document, account="222222222222")
            return document

        title("Plan")
        bailiwick("plan", "--out", "plan.json")
        title("Apply exactly that")
        bailiwick("apply", "plan.json")
        title("A second plan has no changes")
        bailiwick("plan", "--detailed-exitcode")

        def widen(document):
            for statement in document["Statement"]:
                if statement["Action"] == "s3:GetObject":
                    statement["Resource"] = f"arn:aws:s3:::{BUCKET}/*"

        title("Someone widens the bucket policy by hand; drift reports it")
        policy(widen)
        bailiwick("drift", expect=2)
        title("Apply restores it")
        bailiwick("apply", "--yes")
        title("Destroy; the statements of others stay")
        bailiwick("destroy", "--yes")
        left = policy()["Statement"]
        if [statement["Sid"] for statement in left] != [FOREIGN["Sid"]]:
            raise SystemExit(f"the demo failed: the bucket policy holds {left}")
        print(f"\nThe bucket policy holds what it held before: {FOREIGN['Sid']}")


if __name__ == "__main__":
    main()
