#!/usr/bin/env python3
"""Measures Bailiwick, and Terraform if it is installed, on the same estate of N units against the AWS emulator.

    run.py PROGRAM [--units 200 2000] [--far 200]

Each estate is applied, planned with nothing changed, and destroyed; those of `--far` also through a proxy that adds 40 ms
to every request, and then lets IAM answer 20 requests a second. CPU is user and system time of the program and all its
children, memory the largest sampled sum of their resident sets. Ratios are to Terraform's figures on the same
machine, or to those that were recorded (`RECORDED`).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import estate

HERE = os.path.dirname(os.path.abspath(__file__))
EMULATOR = os.path.join(HERE, "../../tests/emulators/aws.py")
PAGE = os.sysconf("SC_PAGE_SIZE")
LATENCY = 0.04

# Terraform 1.11.4 with AWS provider 5.100.0 on two busy cores, November 2026: seconds, CPU seconds, MB, requests.
RECORDED = {
    (200, "apply"): (286, 169, 1625, 9117),
    (200, "plan"): (96, 49.6, 1308, 5709),
    (200, "plan, 40 ms"): (88, 50.9, 1422, 5709),
    (200, "plan, 40 ms, IAM 20/s"): (171, 59.5, 1343, 5944),
    (200, "destroy"): (533, 294, 2116, 9024),
}


class Server:
    """A server as a child process, which prints its address in its first line."""

    def __init__(self, *command):
        self.process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        self.port = self.url.rsplit(":", 1)[1]

    def ask(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Cloud:
    """An emulator with the cluster of the estate, and the proxy before it."""

    def __init__(self):
        self.aws = Server(EMULATOR)
        self.proxy = Server(os.path.join(HERE, "proxy.py"), self.aws.port)
        self.issuer = self.aws.ask("POST", "/bailiwick/seed", {"clusters": [estate.CLUSTER]})["clusters"][0]["issuer"]

    def set(self, latency=0, rates=None):
        self.proxy.ask("POST", "/bench", {"latency": latency, "rates": rates or {}})

    def stop(self):
        self.proxy.stop()
        self.aws.stop()


def resident(root):
    """The resident bytes of a process and its descendants."""
    total, open_ = 0, [root]
    while open_:
        pid = open_.pop()
        try:
            with open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * PAGE
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    open_ += file.read().split()
        except (OSError, IndexError):
            continue
    return total


def run(command, folder, environment, expected):
    """Runs a program to its end: seconds, CPU seconds, MB."""
    log = os.path.join(folder, "log")
    begun = time.monotonic()
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    most, ended = [0], threading.Event()

    def sample():
        while not ended.wait(0.05):
            most[0] = max(most[0], resident(process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    ended.set()
    sampler.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        with open(log) as file:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{file.read()[-4000:]}")
    most = max(most[0], usage.ru_maxrss * 1024)
    return seconds, usage.ru_utime + usage.ru_stime, most / 1e6


def environment(**more):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    if os.path.exists(mirror := os.environ.get("TF_CLI_CONFIG_FILE", "")):
        kept["TF_CLI_CONFIG_FILE"] = mirror
    keys = {"AWS_ACCESS_KEY_ID": estate.PLATFORM, "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true"}
    return kept | keys | more


class Bailiwick:
    name = "bailiwick"
    apply, plan, destroy = ["apply", "--yes"], ["plan", "--verbose", "--detailed-exitcode"], ["destroy", "--yes"]

    def __init__(self, program, cloud, folder, n, pace):
        self.command, self.folder = [program], folder
        self.environment = environment(AWS_ENDPOINT_URL=cloud.proxy.url)
        with open(os.path.join(folder, "bailiwick.yaml"), "w") as file:
            file.write(estate.spec(n, pace))

    def prepare(self):
        pass


class Terraform:
    name = "terraform"
    quiet = ["-no-color", "-input=false"]
    apply = ["apply", "-auto-approve", *quiet]
    plan = ["plan", "-detailed-exitcode", *quiet]
    destroy = ["destroy", "-auto-approve", *quiet]

    def __init__(self, program, cloud, folder, n, pace):
        self.command, self.folder = [program], folder
        self.environment = environment(CHECKPOINT_DISABLE="1")
        with open(os.path.join(folder, "main.tf.json"), "w") as file:
            file.write(estate.terraform(n, cloud.proxy.url, cloud.issuer))

    def prepare(self):
        done = subprocess.run(
            [*self.command, "init", "-input=false"], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if done.returncode == 0:
            return None
        told = [line.strip("│╷╵ ") for line in (done.stderr + done.stdout).splitlines()]
        why = next((line for line in told if line.startswith("Error:")), "its AWS provider cannot be had")
        return f"`terraform init` ends with {done.returncode}: {why}"


class Table:
    """Prints the figures as they come, each beside Terraform's."""

    def __init__(self):
        self.terraform = {}
        print("| who | N | what | wall s | CPU s | memory MB | requests | by service | throttled | share of Terraform's wall, CPU, memory, requests |")
        print("|---|---|---|---|---|---|---|---|---|---|")

    def add(self, who, n, what, figures, seen):
        requests = sum(seen["counts"].values())
        figures = (*figures, requests)
        if who == "terraform":
            self.terraform[n, what] = figures
        known = self.terraform.get((n, what)) or RECORDED.get((n, what))
        shares = " ".join(f"1/{theirs / ours:.1f}" for ours, theirs in zip(figures, known)) if known else ""
        recorded = "" if (n, what) in self.terraform or not known else " (recorded)"
        by = ", ".join(f"{service} {count}" for service, count in sorted(seen["counts"].items()))
        wall, cpu, memory, _ = figures
        throttled = sum(seen["throttled"].values())
        print(
            f"| {who} | {n} | {what} | {wall:.1f} | {cpu:.2f} | {memory:.0f} | {requests} | {by} | {throttled} "
            f"| {'' if who == 'terraform' else shares + recorded} |",
            flush=True,
        )


def measure(kind, program, n, far, table):
    """Runs all phases of one program on one estate. Prints the reason if the program cannot be prepared."""
    with tempfile.TemporaryDirectory() as folder:
        cloud = Cloud()
        try:
            # No other client uses this cloud: with the usual pace a big estate would only take longer to set up.
            fast = {service: {"reads": 10000, "writes": 10000} for service in ("iam", "s3", "eks", "sts")}
            tool = kind(program, cloud, folder, n, None if n in far else fast)
            if why := tool.prepare():
                return why

            def phase(what, arguments, expected=0, **knobs):
                cloud.set(**knobs)
                figures = run([*tool.command, *arguments], folder, tool.environment, expected)
                table.add(tool.name, n, what, figures, cloud.proxy.ask("GET", "/bench"))

            if n in far:
                phase("apply, 40 ms", tool.apply, latency=LATENCY)
                phase("plan", tool.plan)
                phase("plan, 40 ms", tool.plan, latency=LATENCY)
                phase("plan, 40 ms, IAM 20/s", tool.plan, latency=LATENCY, rates={"iam": 20})
            else:
                phase("apply", tool.apply)
                phase("plan", tool.plan)
            if n <= 200:
                phase("destroy", tool.destroy)
        finally:
            cloud.stop()
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--units", type=int, nargs="*", default=[200, 2000])
    parser.add_argument("--far", type=int, nargs="*", default=[200], help="estates that are also measured from afar")
    parser.add_argument("--no-terraform", action="store_true")
    options = parser.parse_args()
    table = Table()
    terraform = None if options.no_terraform else shutil.which("terraform")
    skipped = None if terraform else "it is not installed" if not options.no_terraform else "it was not asked for"
    if terraform:
        for n in options.far:
            if skipped := measure(Terraform, terraform, n, options.far, table):
                break
    for n in options.units:
        measure(Bailiwick, os.path.abspath(options.program), n, options.far, table)
    if skipped:
        print(f"\nTerraform was not measured: {skipped}")


if __name__ == "__main__":
    main()
