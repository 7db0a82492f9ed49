"""A `postroad serve` of any role, in a folder of its own: its configuration, its life, its orders.

What a script's host is like (ports, role, people) stands in that script, in a class on top of this one.
"""
import json
import os
import shutil
import signal
import subprocess
import tempfile

from lab import BINARY, run, wait_for


class Serving:
    def __init__(self, kind):
        self.dir = tempfile.mkdtemp(prefix="postroad-%s-" % kind)
        os.chmod(self.dir, 0o755)
        self.conf = self.path("postroad.toml")
        self.process = None

    # -- files -----------------------------------------------------------------------------------
    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def put(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def read(self, name):
        try:
            with open(self.path(name), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def write(self, text):
        """The whole configuration."""
        self.put("postroad.toml", text)

    def framed(self, text, log=""):
        """A configuration with the data folder in front and the log behind."""
        return "data = \"%s\"\n%s\n[log]\n%sfile = \"%s\"\n" % (self.path("data"), text, log, self.path("log"))

    def log(self):
        return self.read("log")

    def err(self):
        return self.read("err")

    @property
    def ca(self):
        return self.path("data", "tls", "ca.pem")

    # -- life ------------------------------------------------------------------------------------
    def start(self, command=None, wait_s=40, **how):
        """Starts it and waits until its log says that it is ready, once more than before."""
        before = self.log().count("ready")
        with open(self.path("err"), "ab") as err:
            self.process = subprocess.Popen(command or [BINARY, "serve", "--config", self.conf], stdout=subprocess.DEVNULL,
                                            stderr=err, stdin=subprocess.DEVNULL, **how)
        assert wait_for(lambda: self.log().count("ready") > before, wait_s), self.log() + self.err()

    def memory_kib(self):
        """Now, and at its highest."""
        with open("/proc/%d/status" % self.process.pid) as f:
            found = dict(line.split(":", 1) for line in f)
        return int(found["VmRSS"].split()[0]), int(found["VmHWM"].split()[0])

    def kill9(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, wait_s=40):
        """Its exit code; killed if it does not stop in time."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self.kill9()
        return self.process.returncode if self.process else None

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    # -- orders ----------------------------------------------------------------------------------
    def order(self, *args, check=True, stdin=None, timeout=120):
        """`postroad ARGS`, as it ended."""
        done = run([BINARY, *args, "--config", self.conf], timeout=timeout, input=stdin)
        assert not check or done.returncode == 0, (args, done.stdout + done.stderr)
        return done

    def json(self, *args):
        return json.loads(self.order(*args, "--json").stdout)

    def key(self):
        """The public half of its key, as peers name it."""
        return self.order("link", "key").stdout.split()[-1]

    def person(self, domain, address, password):
        self.order("domain", "add", domain)
        self.order("account", "add", address, "--password-file", self.put("pw", password + "\n"))
