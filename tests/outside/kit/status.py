"""A status site started by `postroad serve`, and a monitor that tells it signed facts.

The monitor is ours alone: it seals parcels with Ed25519 (PyNaCl), as the hosts' own talk wants it,
so that the product's side is tested against another hand.
"""
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from nacl.signing import SigningKey

import lab

PARTS = ("receiving", "sending", "to.microsoft-consumer", "to.google", "reading", "webmail", "ports", "dns", "disk")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


class Site:
    """A site on a port of its own; `past` is a folder of rows to begin with."""

    def __init__(self, port, past=None, extra=""):
        self.dir = tempfile.mkdtemp(prefix="postroad-status-")
        self.data = os.path.join(self.dir, "data")
        self.folder = os.path.join(self.dir, "files")
        self.port = port
        self.url = "http://127.0.0.1:%d" % port
        self.key = SigningKey.generate()
        self.serial = int(time.time() * 1000)
        self.extra = extra
        if past:
            shutil.copytree(past, self.data, ignore=shutil.ignore_patterns("control", "lock"))
        self.config = os.path.join(self.dir, "status.toml")
        public = base64.b64encode(bytes(self.key.verify_key)).decode().rstrip("=")
        with open(self.config, "w") as f:
            f.write("""host_name = "status.demo.example"
role = "status"
data = "%s"
[[listener]]
front = "http"
address = "127.0.0.1:%d"
tls = "none"
[[peer]]
name = "monitor"
key = "%s"
[status]
company = "Demo Mail"
url = "%s"
support = "Questions? Write to postmaster@demo.example."
zones = ["Pacific = America/Los_Angeles", "Central Africa = Africa/Lusaka"]
folder = "%s"
%s
""" % (self.data, port, public, self.url, self.folder, extra))
        self.process = None
        self.start()

    def start(self, wait_s=60):
        self.log = open(os.path.join(self.dir, "serve.log"), "ab")
        self.process = subprocess.Popen([lab.BINARY, "serve", "--config", self.config], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            try:
                if self.get("/healthz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
            if self.process.poll() is not None:
                break
        raise RuntimeError("the status site did not start:\n" + open(self.log.name).read()[-2000:])

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(40)
        shutil.rmtree(self.dir, ignore_errors=True)

    def cli(self, *args, stdin=None, check=True):
        done = subprocess.run([lab.BINARY, "status", *args, "--config", self.config, "--json"], input=stdin or "", text=True, capture_output=True, timeout=120)
        if check and done.returncode != 0:
            raise AssertionError("status %s: %s" % (" ".join(args), done.stderr.strip()))
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    def request(self, path, data=None, headers=None):
        request = urllib.request.Request(self.url + path, data=data, headers=headers or {})
        opener = urllib.request.build_opener(NoRedirect)
        try:
            with opener.open(request, timeout=20) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as e:
            return e.code, dict(e.headers), e.read()

    def get(self, path, headers=None):
        status, head, body = self.request(path, headers=headers)
        return status, head, body.decode("utf-8")

    def page(self, path):
        status, _, body = self.get(path)
        assert status == 200, "%s answers %d" % (path, status)
        return body

    def parcel(self, facts):
        """Sealed as the hosts' talk wants it."""
        self.serial += 1
        body = json.dumps(facts).encode()
        head = ("postroad-link 1 monitor %d %d" % (self.serial, int(time.time() * 1000))).encode()
        signature = base64.b64encode(self.key.sign(head + b"\n" + body).signature).rstrip(b"=")
        return head + b" " + signature + b"\n" + body

    def tell(self, bad=None, ages=(40, 20, 0), points=("m1", "m2", "m3"), parts=PARTS, pings=()):
        """Tries of each part from each point; `bad` is {part: (look, says)} or {(part, point): …}."""
        bad, now, facts = bad or {}, int(time.time() * 1000), []
        for part in parts:
            for point in points:
                look, says = bad.get((part, point)) or bad.get(part) or ("good", "")
                for age in ages:
                    facts.append({"kind": "probe", "at": now - age * 1000, "probe": "loop." + part, "component": part, "point": point,
                                  "region": {"m1": "Europe", "m2": "North America", "m3": "Southern Africa"}[point], "look": look, "ms": 480, "says": says})
        for code, point, ms in pings:
            facts.append({"kind": "probe", "at": now, "probe": "ping." + code, "component": "ping." + code, "point": point, "region": "", "look": "good", "ms": ms, "says": ""})
        status, _, text = self.request("/link", data=self.parcel(facts))
        assert status == 200 and text.startswith(b"taken"), (status, text)

    def snapshot(self):
        return json.loads(self.page("/api/v2/summary.json"))

    def wait_for(self, what, is_so, wait_s=30):
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            if is_so():
                return
            time.sleep(0.2)
        raise AssertionError("not within %d s: %s" % (wait_s, what))


def free_port(base):
    """A port from the test's own range."""
    for port in range(base, base + 40):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no port is free above %d" % base)
