"""What the outside tests share: a farm started by `postroad up`, checks, and the closing report.

Each script defines functions `test_...(farm)`; `main()` starts one farm on ports of its own, runs
them in the order they stand in the file, prints `ok NAME` or `not ok NAME: why`, and stops it.
Only loopback addresses are spoken to; every wait has an end.
"""
import imaplib
import json
import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import uuid

BINARY = os.environ.get("POSTROAD", "target/release/postroad")
PORT_BASE = int(os.environ.get("PORT_BASE", "21000"))


class Farm:
    """A running `postroad up`, as its one JSON line describes it."""

    def __init__(self, base=PORT_BASE, data=None, extra=()):
        self.dir = data or tempfile.mkdtemp(prefix="postroad-outside-")
        self.owned = data is None
        self.base = base
        self.extra = list(extra)
        self.process = None
        self.start()

    def start(self, wait_s=int(os.environ.get("START_S", "30"))):
        self.log = open(os.path.join(self.dir, "up.log"), "ab")
        began = time.monotonic()
        self.process = subprocess.Popen(
            [BINARY, "up", "--data", os.path.join(self.dir, "farm"), "--port-base", str(self.base), "--json", *self.extra],
            stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL)
        line = read_line(self.process, wait_s)
        if not line:
            self.process.kill()
            raise RuntimeError("`postroad up` said nothing in %d s; its log ends:\n%s" % (wait_s, self.log_tail()))
        self.ready_s = time.monotonic() - began
        self.facts = json.loads(line)
        for key, value in self.facts.items():
            setattr(self, key, value)
        self.a, self.b = self.accounts[0], self.accounts[1]

    def log_tail(self, lines=30):
        with open(os.path.join(self.dir, "up.log"), errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def kill9(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, wait_s=20):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise RuntimeError("`postroad up` did not stop within %d s of SIGTERM" % wait_s)
        return self.process.returncode

    def close(self):
        try:
            self.stop()
        finally:
            if self.owned:
                shutil.rmtree(self.dir, ignore_errors=True)

    def rss_kib(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        return 0

    # -- clients -----------------------------------------------------------------------------
    def tls(self):
        context = ssl.create_default_context(cafile=self.ca)
        context.check_hostname = False
        return context

    def cli(self, *args, check=True, timeout=30, stdin=None):
        """Runs `postroad ARGS --data DIR` beside the running farm."""
        done = subprocess.run([BINARY, *args, "--data", self.data], capture_output=True, text=True, timeout=timeout,
                              input=stdin)
        if check and done.returncode != 0:
            raise AssertionError("postroad %s: exit %d\n%s%s" % (" ".join(args), done.returncode, done.stdout, done.stderr))
        return done.stdout if check else done.stdout + done.stderr

    def imap_client(self, account=None):
        account = account or self.a
        client = imaplib.IMAP4_SSL("127.0.0.1", self.imaps, ssl_context=self.tls(), timeout=30)
        client.login(account["address"], account["password"])
        return client

    def count(self, account=None, folder="INBOX"):
        client = self.imap_client(account)
        try:
            kind, data = client.status(folder, "(MESSAGES)")
            assert kind == "OK", data
            return int(data[0].rsplit(b"MESSAGES ", 1)[1].split(b")")[0])
        finally:
            client.logout()

    def send_in(self, text, sender="someone@outside.example", to=None, **kw):
        """From a stranger to port 25. Returns the reply to the end of the data."""
        with smtplib.SMTP("127.0.0.1", self.smtp, timeout=30, local_hostname="client.outside.example") as s:
            return say(s, text, sender, to or [self.a["address"]], **kw)

    def submit(self, text, account=None, to=None):
        account = account or self.a
        with smtplib.SMTP_SSL("127.0.0.1", self.submissions, context=self.tls(), timeout=30,
                              local_hostname="laptop.example") as s:
            s.login(account["address"], account["password"])
            return say(s, text, account["address"], to or [self.b["address"]])

    def find(self, token, account=None, folder="INBOX", wait_s=10):
        """The whole message whose header or body holds the token, waiting for it; None if it does not come."""
        hits = self.find_all(token, account, folder, wait_s)
        return hits[0] if hits else None

    def find_all(self, token, account=None, folder="INBOX", wait_s=10):
        until = time.monotonic() + wait_s
        while True:
            client = self.imap_client(account)
            try:
                kind, _ = client.select(folder, readonly=True)
                if kind == "OK":
                    kind, data = client.uid("SEARCH", "TEXT", token)
                    uids = data[0].split() if kind == "OK" and data and data[0] else []
                    if uids:
                        out = []
                        for uid in uids:
                            kind, got = client.uid("FETCH", uid, "(BODY.PEEK[])")
                            assert kind == "OK", got
                            out.append(got[0][1])
                        return out
            finally:
                client.logout()
            if time.monotonic() > until:
                return []
            time.sleep(0.1)

    def raw(self, port, timeout=10):
        return Raw(port, timeout)


def say(s, text, sender, to, mail_options=(), rcpt_options=()):
    s.ehlo_or_helo_if_needed()
    code, reply = s.mail(sender, list(mail_options))
    if code != 250:
        return code, reply
    for one in to:
        code, reply = s.rcpt(one, list(rcpt_options))
        if code not in (250, 251):
            return code, reply
    return s.data(text if isinstance(text, bytes) else text.replace("\r\n", "\n").replace("\n", "\r\n").encode())


class Raw:
    """A bare connection: for what no polite client would say."""

    def __init__(self, port, timeout=10):
        self.s = socket.create_connection(("127.0.0.1", port), timeout)
        self.s.settimeout(timeout)
        self.rest = b""

    def send(self, data):
        self.s.sendall(data)

    def line(self):
        while b"\n" not in self.rest:
            more = self.s.recv(65536)
            if not more:
                break
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return line.rstrip(b"\r")

    def reply(self):
        """All lines of one SMTP reply."""
        lines = []
        while True:
            line = self.line()
            lines.append(line)
            if len(line) < 4 or line[3:4] != b"-":
                return b"\n".join(lines)

    def ask(self, data):
        self.send(data)
        return self.reply()

    def gone(self):
        """Whether the other side has closed (waits for the time-out at most)."""
        try:
            while self.s.recv(65536):
                pass
            return True
        except (ConnectionError, OSError) as e:
            return not isinstance(e, socket.timeout)

    def close(self):
        self.s.close()


def read_line(process, wait_s):
    import select
    out = b""
    until = time.monotonic() + wait_s
    while time.monotonic() < until and not out.endswith(b"\n"):
        if process.poll() is not None and not select.select([process.stdout], [], [], 0)[0]:
            break
        if select.select([process.stdout], [], [], 0.2)[0]:
            more = os.read(process.stdout.fileno(), 65536)
            if not more:
                break
            out += more
    return out.decode(errors="replace").strip()


def token():
    return "tok" + uuid.uuid4().hex


def mail(tok, to="someone@demo.example", sender="someone@outside.example", subject="a test", body=None):
    return ("From: %s\r\nTo: %s\r\nSubject: %s %s\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
            "Message-ID: <%s@outside.example>\r\n\r\n%s\r\n" % (sender, to, subject, tok, tok, body or "the token is " + tok))


def run(command, timeout=60, **kw):
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **kw)


def wait_for(what, wait_s=10, every_s=0.05):
    until = time.monotonic() + wait_s
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > until:
            return got
        time.sleep(every_s)


def main(names, farm=True):
    tests = [(n, f) for n, f in names.items() if n.startswith("test_") and callable(f)]
    wanted = sys.argv[1:]
    failed = 0
    lab = Farm() if farm else None
    try:
        for name, test in tests:
            if wanted and name not in wanted:
                continue
            began = time.monotonic()
            try:
                test(lab) if farm else test()
                print("ok %s (%.1f s)" % (name[5:], time.monotonic() - began), flush=True)
            except Exception as e:  # each test stands alone: the next ones still run
                failed += 1
                print("not ok %s: %s" % (name[5:], str(e).splitlines()[0] if str(e) else type(e).__name__), flush=True)
                traceback.print_exc(file=sys.stdout)
                if lab:
                    print("log of the farm:\n" + lab.log_tail(), flush=True)
                    if lab.process.poll() is not None:
                        print("the farm had stopped with %s; starting it again" % lab.process.returncode, flush=True)
                        lab.start()
    finally:
        if lab:
            lab.close()
    sys.exit(1 if failed else 0)
