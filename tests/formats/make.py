#!/usr/bin/env python3
"""Writes the files of `1/` with a program of format 1, against the emulators.

    make.py PATH/TO/bailiwick FOLDER

It applies `spec.yaml`, then the same with other names for the role `loader`, and ends the program in the middle: a proxy
in front of the AWS emulator kills it, or refuses a call, when a certain request comes.
"""

import contextlib
import http.client
import http.server
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
# demo.py knows how to start the emulators.
location = importlib.util.spec_from_file_location("demo", REPOSITORY / "examples" / "demo.py")
demo = importlib.util.module_from_spec(location)
location.loader.exec_module(demo)

SEED = {
    "clusters": [{"account": "111111111111", "region": "us-west-2", "name": "prod-eks"}],
    "keys": [{"account": "222222222222", "region": "us-west-2", "alias": "alias/shared"}],
    "buckets": [{"account": "222222222222", "region": "us-west-2", "name": "found-weights"}],
}


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on. The one that holds `at` is refused, or ends the program before it is passed on."""

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), Passing)
        self.upstream, self.at, self.program = upstream.removeprefix("http://"), None, None

    def handle_error(self, request, address):
        """The program was killed and does not read the response."""


class Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        server, text = self.server, f"{self.command} {self.path} {body.decode('latin-1')}"
        status, headers, answer = 403, [], b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
        if server.at and server.at in text:
            if server.program:
                server.program.kill()
                self.close_connection = True
                return
        else:
            upstream = http.client.HTTPConnection(server.upstream)
            upstream.request(self.command, self.path, body, dict(self.headers))
            response = upstream.getresponse()
            status, headers, answer = response.status, response.getheaders(), response.read()
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do


def main():
    program, made = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    made.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bailiwick-formats-")))
        kubeconfig = folder / "kubeconfig"
        aws = stack.enter_context(demo.started(str(demo.EMULATORS / "aws.py")))
        double = [str(demo.EMULATORS / "kube_double.py"), "--kubeconfig", str(kubeconfig), "--context", "prod"]
        stack.enter_context(demo.started(*double))
        demo.call("POST", f"{aws}/bailiwick/seed", SEED)
        proxy = Proxy(aws)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        stack.callback(proxy.shutdown)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "made",
            "AWS_SECRET_ACCESS_KEY": "made",
            "AWS_EC2_METADATA_DISABLED": "true",
            "KUBECONFIG": str(kubeconfig),
            "NO_COLOR": "1",
        }
        text = (HERE / "spec.yaml").read_text()
        specs = {"spec.yaml": text, "renamed.yaml": text.replace("name: model-loader,", "name: weights-reader,")}
        for name, spec in specs.items():
            (folder / name).write_text(spec)

        def run(spec, *arguments, expect=0, kill_at=None, refuse=None):
            process = subprocess.Popen(
                [str(program), "-f", spec, *arguments],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            proxy.at, proxy.program = kill_at or refuse, process if kill_at else None
            output, _ = process.communicate()
            proxy.at = proxy.program = None
            if process.returncode != expect:
                raise SystemExit(f"{arguments} ended with {process.returncode}:\n{output}")

        def keep(kind, name):
            shutil.copyfile(folder / "state" / f"serving.{kind}", made / name)

        run("spec.yaml", "plan", "--out", str(made / "plan.json"))
        # The new bucket is the first that a key encrypts: its creation is in progress.
        run("spec.yaml", "apply", "--yes", expect=-9, kill_at="PUT /made-weights/?encryption")
        keep("journal", "created.journal")
        run("spec.yaml", "apply", "--yes")
        keep("json", "applied.state.json")
        shutil.copytree(folder / "state", folder / "applied")
        # The new role exists, the parts of the old one are deleted, and it is about to be deleted itself.
        run("renamed.yaml", "apply", "--yes", expect=-9, kill_at="Action=DeleteRole&")
        keep("journal", "renamed.journal")
        run("renamed.yaml", "apply", "--yes", expect=1, refuse="Action=DeleteRole&")
        keep("json", "deposed.state.json")
        for name in ("applied", "state"):
            print(name, sorted(path.name for path in (folder / name).iterdir()))


if __name__ == "__main__":
    main()
