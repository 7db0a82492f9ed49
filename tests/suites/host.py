"""A fresh mail host for the public suites, and a connection that reads whole responses.

Plain text on loopback ports of its own: what is asked here is the protocol, not TLS. Begin with `Host`.
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

BINARY = os.environ.get("POSTROAD", "target/release/postroad")
PORT_BASE = int(os.environ.get("PORT_BASE", "23500"))
PASSWORD = "password"
WAIT_S = 10

CONFIG = """host_name = "mx.suite.example"
data = "{dir}/data"
[[listener]]
front = "imap"
address = "127.0.0.1:{imap}"
tls = "none"
[limits]
sessions_per_address = 1000
message_size = "{message_size}"
[access]
trusted_networks = ["127.0.0.0/8"]
plain_on_trusted_network = true
login_without_domain = true
[dns]
servers = ["127.0.0.1:9"]
"""


class Gone(Exception):
    """The server closed the connection, or said nothing for too long."""


class Host:
    """`postroad serve` on a folder made for it, with these accounts."""

    def __init__(self, accounts, domain="suite.example", message_size="50 MiB"):
        self.dir = tempfile.mkdtemp(prefix="postroad-suite-")
        self.port = PORT_BASE + 43
        self.domain = domain
        self.config = os.path.join(self.dir, "postroad.toml")
        with open(self.config, "w") as f:
            f.write(CONFIG.format(dir=self.dir, imap=self.port, message_size=message_size))
        self.cli("domain", "add", domain)
        for account in accounts:
            self.account(*account)
        self.seed = os.path.join(self.dir, "seed")
        shutil.copytree(os.path.join(self.dir, "data"), self.seed)
        self.start()

    def start(self):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen([BINARY, "serve", "--config", self.config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def reset(self):
        """Everything as it was before the first log-in."""
        self.process.kill()
        self.process.wait(20)
        shutil.rmtree(os.path.join(self.dir, "data"))
        shutil.copytree(self.seed, os.path.join(self.dir, "data"))
        self.start()

    def cli(self, *args):
        done = subprocess.run([BINARY, *args, "--config", self.config], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError("postroad %s: %s%s" % (" ".join(args), done.stdout, done.stderr))
        return done.stdout

    def account(self, name, password=PASSWORD, *more):
        path = os.path.join(self.dir, "password")
        with open(path, "w") as f:
            f.write(password + "\n")
        address = "%s@%s" % (name, self.domain)
        self.cli("account", "add", address, "--password-file", path, *more)
        return address

    def connect(self):
        return Connection(self.port)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.tags = 0

    def send(self, data):
        self.socket.sendall(data)

    def _more(self, wait_s):
        self.socket.settimeout(wait_s)
        try:
            more = self.socket.recv(65536)
        except (OSError, socket.timeout) as e:
            raise Gone(str(e) or "timed out")
        if not more:
            raise Gone("connection closed")
        self.rest += more

    def line(self, wait_s=WAIT_S):
        while b"\r\n" not in self.rest:
            self._more(wait_s)
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    def response(self, wait_s=WAIT_S):
        """One whole response: its line and, where that ends in a literal, the literal and what follows."""
        out = b""
        while True:
            line = self.line(wait_s)
            out += line
            literal = re.search(rb"\{(\d+)\}$", line)
            if not literal:
                return out
            size = int(literal[1])
            while len(self.rest) < size:
                self._more(wait_s)
            out += b"\r\n" + self.rest[:size]
            self.rest = self.rest[size:]

    def command(self, text):
        """Sends one command and reads to its tagged line: (untagged responses, tagged line without the tag)."""
        self.tags += 1
        tag = b"r%d" % self.tags
        self.send(tag + b" " + (text if isinstance(text, bytes) else text.encode()) + b"\r\n")
        untagged = []
        while True:
            got = self.response()
            if got.startswith(tag + b" "):
                return untagged, got[len(tag) + 1:]
            untagged.append(got)

    def append(self, folder, message, flags="", date=""):
        extra = (" (%s)" % flags if flags else "") + (' "%s"' % date if date else "")
        head = 'APPEND "%s"%s {%d+}\r\n' % (folder, extra, len(message))
        return self.command(head.encode() + message)

    def close(self):
        self.socket.close()


def report(rows, suite):
    """Prints the table and says whether nothing failed. A row: (name, 'passed'|'failed'|'skipped', why)."""
    for name, result, why in rows:
        if result != "passed" or "-v" in sys.argv:
            print("%-8s %-34s %s" % (result, name, why))
    count = lambda what: sum(1 for r in rows if r[1] == what)
    kinds = [k for k in ("passed", "failed", "differs", "skipped") if count(k) or k in ("passed", "failed")]
    print("%s: %s of %d" % (suite, ", ".join("%d %s" % (count(k), k) for k in kinds), len(rows)))
    return count("failed") == 0
