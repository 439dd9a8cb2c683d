#!/usr/bin/env python3
"""Start a Ceph RADOS Gateway for tests, and stop it again: an object store whose conditional writes are atomic.

    rgw.py --assets DIR --run cargo test --test cloud backends::

DIR is the result of rgw_assets.sh. A monitor, an object store in memory and the gateway listen on free loopback ports
and keep everything in one temporary folder. The command runs with BAILIWICK_TEST_S3 set to the gateway's URL, whose
user has the access key `test` and the secret key `test`; the command's exit code becomes that of this script.
Everything stops when this script ends in any way.
"""

import argparse
import ctypes
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

START_ATTEMPTS = 5
# Outgoing connections take their ports from above.
PORTS = range(20000, 32000)

CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{mon1}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = true
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
log_to_stderr = false
err_to_stderr = true
mon_cluster_log_file = {folder}/cluster.log
pid_file = {folder}/$name.pid
plugin_dir = {library}/ceph
erasure_code_dir = {library}/ceph/erasure-code
osd_class_dir = {library}/rados-classes
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 2
osd_pool_default_pgp_num = 2
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 4000
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_op_num_shards = 2
ms_mon_client_mode = crc
ms_bind_port_min = {osd}
ms_bind_port_max = {osd_last}
[mon.a]
mon_data = {folder}/mon
mon_initial_members = a
[osd.0]
osd_data = {folder}/osd
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
rgw_enable_ops_log = false
rgw_thread_pool_size = 64
rgw_usage_max_user_shards = 1
rgw_gc_max_objs = 2
rgw_lc_max_objs = 2
rgw_data_log_num_shards = 1
rgw_md_log_max_shards = 1
rgw_reshard_num_logs = 1
rgw_objexp_hints_num_shards = 1
"""


class StartError(Exception):
    """The gateway did not come up; the text gives the reason."""


def end_with_parent():
    """Runs in the child before exec: Linux ends it when this process ends in any way."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def free_ports(count):
    """The first of `count` free ports in a row."""
    for _ in range(100):
        first = random.choice(PORTS)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise StartError("no free ports")


class Gateway:
    """Monitor, store and gateway in one temporary folder. Use as a context; leaving it stops all."""

    def __init__(self, assets, timeout):
        self.root = pathlib.Path(assets).resolve() / "root"
        self.deadline = time.monotonic() + timeout
        self.children = []
        self.folder = None

    def __enter__(self):
        try:
            for attempt in range(START_ATTEMPTS):
                try:
                    self.start()
                    return self
                except StartError:
                    # Another process may have taken a port meanwhile.
                    if attempt == START_ATTEMPTS - 1 or time.monotonic() > self.deadline:
                        raise
                    self.__exit__()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for _, child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
        for _, child in reversed(self.children):
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children = []
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rgw-"))
        for name in ("mon", "osd"):
            (self.folder / name).mkdir()
        library = next(self.root.glob("usr/lib/*-linux-gnu"))
        triple = library.name
        paths = [library, library / "ceph", self.root / "lib" / triple, self.root / "usr/lib"]
        self.environment = {
            "PATH": f"{self.root}/usr/bin:{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": ":".join(map(str, paths)),
            "PYTHONPATH": str(self.root / "usr/lib/python3/dist-packages"),
            "CEPH_CONF": str(self.folder / "ceph.conf"),
            "HOME": str(self.folder),
        }
        first = free_ports(24)
        mon, self.port, osd = first, first + 2, first + 3
        fsid, store = str(uuid.uuid4()), str(uuid.uuid4())
        settings = {
            "fsid": fsid,
            "mon": mon,
            "mon1": mon + 1,
            "gateway": self.port,
            "osd": osd,
            "osd_last": first + 23,
            "folder": self.folder,
            "library": library,
        }
        (self.folder / "ceph.conf").write_text(CONFIGURATION.format(**settings))
        monitors = f"[v2:127.0.0.1:{mon},v1:127.0.0.1:{mon + 1}]"
        self.run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", monitors, "monmap")
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--mon-data", "mon")
        self.spawn("mon", "ceph-mon", "-f", "-i", "a")
        self.wait_for("the monitor listened", lambda: self.listens(mon))
        self.ceph("osd", "new", store)
        self.run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", store, "--no-mon-config")
        self.spawn("osd", "ceph-osd", "-f", "-i", "0")
        self.wait_for("the store was up", lambda: "1 up" in self.ceph("osd", "stat"))
        self.spawn("gateway", "radosgw", "-f", "-n", "client.rgw")
        self.wait_for("the gateway answered", self.answers)
        keys = ("--access-key=test", "--secret-key=test")
        self.run("radosgw-admin", "user", "create", "--uid=test", "--display-name=test", *keys)

    def run(self, *command):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise StartError(f"`{command[0]}` ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def ceph(self, *command):
        # Debian's interpreter: the bindings are made for it.
        return self.run("/usr/bin/python3", str(self.root / "usr/bin/ceph"), "--connect-timeout", "30", *command)

    def spawn(self, name, *command):
        with open(self.folder / f"{name}.out", "wb") as log:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
                start_new_session=True,
            )
        self.children.append((name, child))

    def wait_for(self, what, ready):
        while not ready():
            for name, child in self.children:
                if child.poll() is not None:
                    tail = (self.folder / f"{name}.out").read_text(errors="replace")[-2000:]
                    raise StartError(f"the {name} ended with {child.returncode} before {what}:\n{tail}")
            if time.monotonic() > self.deadline:
                raise StartError(f"the time was up before {what}; --timeout gives more")
            time.sleep(0.1)

    @staticmethod
    def listens(port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def answers(self):
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", required=True)
    parser.add_argument("--timeout", type=float, default=180)
    parser.add_argument("--run", metavar="COMMAND", help="everything after it is the command", required=True)
    ours, command = sys.argv[1:], []
    if "--run" in ours:
        at = ours.index("--run")
        ours, command = ours[: at + 2], ours[at + 1 :]
    arguments = parser.parse_args(ours)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    try:
        with Gateway(arguments.assets, arguments.timeout) as gateway:
            print(f"Running on {gateway.url}", file=sys.stderr)
            environment = {**os.environ, "BAILIWICK_TEST_S3": gateway.url}
            return subprocess.run(command, env=environment).returncode
    except StartError as error:
        print(f"rgw.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
