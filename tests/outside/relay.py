"""A relay of ours on a second host, its customers, and somebody else's relay: R37, the hop, R49."""
import base64
import hashlib
import os
import smtplib
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time

import lab
from lab import PORT_BASE, wait_for
from names import Names
from serving import Serving

MX_PORT = PORT_BASE + 25
A, B = "127.1.0.36", "127.1.0.23"


class Remote(socketserver.ThreadingTCPServer):
    """Somebody's mail host: keeps what it takes, and says what it is told to say."""
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, at, auth=None, data=None, tls=None):
        self.got, self.tried, self.auth, self.data, self.tls = [], [], auth, data, tls
        super().__init__(at, RemoteSession)
        threading.Thread(target=self.serve_forever, daemon=True).start()


    def get_request(self):
        connection, peer = super().get_request()
        return (self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) if self.tls else connection), peer

    def handle_error(self, request, address):
        """A peer that was killed is no fault of this one."""


def certificate(folder):
    """A key and a certificate for it, and the pin by which it is known."""
    key, pem = os.path.join(folder, "third.key"), os.path.join(folder, "third.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                    "-subj", "/CN=third.example", "-keyout", key, "-out", pem], check=True, capture_output=True)
    public = subprocess.run(["openssl", "x509", "-in", pem, "-noout", "-pubkey"], check=True, capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=public, check=True, capture_output=True).stdout
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return context, "sha256:" + hashlib.sha256(der).hexdigest()


class RemoteSession(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.say("220 remote.example ESMTP")
        sender = None
        while True:
            line = self.rfile.readline().decode(errors="replace").strip()
            verb = line[:4].upper()
            if not line or verb == "QUIT":
                return
            if verb == "EHLO":
                self.helo = line[5:]
                self.say("250-remote.example")
                self.say("250 AUTH PLAIN" if self.server.auth else "250 PIPELINING")
            elif verb == "AUTH":
                self.server.tried.append(base64.b64decode(line.split()[2]).split(b"\0")[1].decode())
                self.say(self.server.auth())
            elif verb == "MAIL":
                sender = line[line.index("<") + 1:line.index(">")]
                self.say("250 ok")
            elif verb == "DATA":
                self.say("354 go on")
                text = b""
                while not text.endswith(b"\r\n.\r\n"):
                    more = self.rfile.readline()
                    if not more:
                        return
                    text += more
                reply = self.server.data(sender) if self.server.data else "250 ok"
                if reply.startswith("250"):
                    self.server.got.append((self.client_address[0], sender, text.decode(errors="replace")))
                self.say(reply)
            else:
                self.say("250 ok")


class Host(Serving):
    def __init__(self, name, text):
        super().__init__(name)
        self.write(self.framed(text, "level = \"info\"\n"))

    def cli(self, *args, check=True, stdin=None):
        return self.order(*args, check=check, stdin=stdin)


class Farm:
    """A relay, and a mail host that sends through it."""

    def __init__(self):
        self.names = Names(PORT_BASE + 53, ttl=5)
        self.names.add("far.example", "MX", "mx.far.example")
        self.names.add("mx.far.example", "A", "127.9.0.25")
        self.names.add("relay.example", "A", "127.0.0.1")
        self.names.add("third.example", "A", "127.0.0.1")
        for n in range(10):
            self.names.add("d%d.example" % n, "TXT", "v=spf1 ip4:127.0.0.0/8 -all")
        self.far = Remote(("127.9.0.25", MX_PORT))
        self.common = "[queue]\nremote_port = %d\nprobe_domains = [\"far.example\"]\n[lists]\npublic = false\n[dns]\nservers = [\"127.0.0.1:%d\"]\n" % (MX_PORT, PORT_BASE + 53)
        self.relay_port = PORT_BASE + 87
        self.relay = Host("relay", """host_name = "relay.example"
role = "relay"
[[listener]]
front = "submission"
address = "127.0.0.1:%d"
[[egress]]
name = "B"
source = "%s"
helo = "relay.example"
%s""" % (self.relay_port, B, self.common))
        self.relay.start()
        pin = self.relay.cli("customer", "pin").stdout.strip()
        self.mail_port = PORT_BASE + 65
        self.third_port = PORT_BASE + 60
        self.third_says = {"auth": "235 ok", "bad": ()}
        third_tls, third_pin = certificate(self.relay.dir)
        self.third = Remote(("127.0.0.1", self.third_port), auth=lambda: self.third_says["auth"], data=self.third_data,
                            tls=third_tls)
        secret = tempfile.NamedTemporaryFile("w", delete=False)
        secret.write("hunter2\n")
        secret.close()
        self.secret = secret.name
        self.mail = Host("mail", """host_name = "mx.home.example"
[[listener]]
front = "submission"
address = "127.0.0.1:%d"
[[egress]]
name = "C"
relay = "third.example:%d"
relay_tls = "implicit"
relay_pin = "%s"
relay_user = "us"
relay_password_file = "%s"
relay_cnames = ["em1 return.third.example", "s1._domainkey dkim.third.example"]
[[egress]]
name = "B"
relay = "relay.example:%d"
relay_pin = "%s"
%s
[access]
trusted_networks = ["127.0.0.0/8"]
plain_on_trusted_network = true
""" % (self.mail_port, self.third_port, third_pin, self.secret, self.relay_port, pin, self.common))
        self.mail.start()
        for n in range(10):
            self.mail.cli("domain", "add", "d%d.example" % n)
            self.mail.cli("account", "add", "ann@d%d.example" % n, "--password-file", "-", stdin="secret\n")

    def third_data(self, sender):
        domain = sender.rsplit("@", 1)[-1]
        if domain in self.third_says["bad"]:
            return "550 From header sender domain not verified (%s)" % domain.upper()
        return "250 ok"

    def submit(self, n, token, to="bob@far.example"):
        with smtplib.SMTP("127.0.0.1", self.mail_port, timeout=30, local_hostname="laptop") as s:
            s.login("ann@d%d.example" % n, "secret")
            return s.sendmail("ann@d%d.example" % n, [to], "From: ann@d%d.example\r\nSubject: %s\r\n\r\n%s\r\n" % (n, token, token))

    def arrived(self, token):
        return [ip for ip, _, text in self.far.got if token in text]

    def notices(self, n):
        return self.mail.json("why", "ann@d%d.example" % n)

    def close(self):
        self.mail.close()
        self.relay.close()
        os.unlink(self.secret)


def relay_client(farm, name="win-server.local"):
    s = smtplib.SMTP("127.0.0.1", farm.relay_port, timeout=30, local_hostname=name)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    s.starttls(context=context)
    return s


def test_a_customer_signs_up_sends_is_billed_and_can_be_stopped(farm):
    """R37."""
    began = time.monotonic()
    done = farm.relay.cli("customer", "add", "acme", "--per-hour", "3", "--price", "30.00 USD", "--price", "36.00 CAD", "--price", "165.00 ZMW")
    password = done.stderr.split("password: ")[1].split()[0]
    letter = lambda token: "From: boss@acme.example\r\nSubject: %s\r\n\r\n%s\r\n" % (token, token)
    with relay_client(farm) as s:
        s.login("acme", password)
        s.sendmail("boss@acme.example", ["bob@far.example"], letter("R37-one"))
    assert time.monotonic() - began < 60
    assert wait_for(lambda: farm.arrived("R37-one") == [B], 20), farm.far.got
    with relay_client(farm) as s:
        try:
            s.login("acme", "wrong")
            assert False, "a wrong password was taken"
        except smtplib.SMTPAuthenticationError as e:
            assert e.smtp_code == 535, e
    with relay_client(farm) as s:
        s.ehlo()
        assert s.docmd("MAIL FROM:<x@y.example>")[0] == 530, "a stranger may send"
    with relay_client(farm) as s:
        s.login("acme", password)
        for n in range(2):
            s.sendmail("boss@acme.example", ["bob@far.example"], letter("R37-more%d" % n))
        code, reply = s.docmd("MAIL FROM:<boss@acme.example>")
        assert code == 450 and b"3 recipients of this hour" in reply, (code, reply)
    farm.relay.cli("customer", "stop", "acme", "--why", "sends spam")
    with relay_client(farm) as s:
        s.login("acme", password)
        code, reply = s.docmd("MAIL FROM:<boss@acme.example>")
        assert code == 450 and b"sends spam" in reply, (code, reply)
    farm.relay.cli("customer", "start", "acme")
    bills = farm.relay.json("customer", "bill")["bills"]
    assert [b["lines"] for b in bills] == [["30.00 USD", "36.00 CAD", "165.00 ZMW"]], bills
    assert (bills[0]["messages"], bills[0]["recipients"]) == (3, 3), bills


def test_a_third_relay_that_refuses_us_is_left_and_our_own_relay_carries_the_mail(farm):
    """R49: first one sender domain after another, then the whole account."""
    own = farm.mail.cli("egress", "pin").stdout.strip()
    farm.relay.cli("customer", "add", "mail-1", "--pin", own)
    farm.submit(0, "R49-fine")
    assert wait_for(lambda: any("R49-fine" in t for _, _, t in farm.third.got), 20), "the third relay carries mail"
    farm.third_says["bad"] = ("d1.example", "d2.example", "d3.example", "d4.example")
    for n in range(1, 7):
        farm.submit(n, "R49-bad%d" % n)
    for n in range(1, 5):
        assert wait_for(lambda: farm.arrived("R49-bad%d" % n) == [B], 20), (n, farm.far.got)
    for n in (5, 6):
        assert wait_for(lambda: any("R49-bad%d" % n in t for _, _, t in farm.third.got), 20), n
    refused = farm.mail.json("egress", "check", "C")
    missing = [f["fix"] for f in refused["faults"] if f["kind"] == "cname"]
    assert len(missing) == 20 and "em1.d1.example. IN CNAME return.third.example." in missing, missing[:3]
    assert refused["passes"], "missing records lock one sender domain, not the relay"
    farm.third_says["auth"] = "535 5.7.8 Account disabled"
    time.sleep(5)  # a session that was logged in may go on for a moment
    before = len(farm.third.tried)
    for n in range(10):
        farm.submit(5, "R49-off%d" % n)
        assert wait_for(lambda: farm.arrived("R49-off%d" % n) == [B], 20), (n, farm.far.got[-2:])
    assert len(farm.third.tried) - before <= 3, farm.third.tried
    assert "send.failed" not in farm.mail.cli("why", "bob@far.example").stdout, "nobody gets a notice"


def test_the_hop_loses_nothing_and_doubles_nothing_when_the_relay_is_killed(farm):
    farm.third_says["auth"] = "535 5.7.8 Account disabled"
    tokens = ["HOP-%03d" % n for n in range(60)]
    sender = threading.Thread(target=lambda: [farm.submit(5, t) for t in tokens])
    sender.start()
    for _ in range(3):
        time.sleep(0.7)
        farm.relay.kill9()
        farm.relay.start()
    sender.join(60)
    farm.mail.cli("queue", "retry")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not all(farm.arrived(t) for t in tokens):
        time.sleep(2)
        farm.mail.cli("queue", "retry")
        farm.relay.cli("queue", "retry")
    count = {t: len(farm.arrived(t)) for t in tokens}
    lost = [t for t in tokens if count[t] == 0]
    doubled = [t for t in tokens if count[t] > 1]
    # A relay that dies between the remote's 250 and its own note sends once more: SMTP's own window.
    assert not lost, (lost, farm.mail.cli("queue", "list").stdout, farm.relay.cli("queue", "list").stdout)
    assert len(doubled) <= 3, doubled


def test_the_host_looks_after_its_ways(farm):
    rows = farm.mail.json("egress", "list")["egresses"]
    assert [r["name"] for r in rows] == ["C", "B"], rows
    assert farm.mail.cli("lists", "show").stdout.startswith("No lists"), "none are asked here"
    assert "was never refused" in farm.mail.cli("dossier", "B").stdout


def all_tests():
    """Each test gets the same farm; the first failure of one does not end the others."""
    farm = Farm()
    try:
        tests = {n: (lambda f=f: f(farm)) for n, f in globals().items() if n.startswith("test_")}
        lab.main(tests, farm=False)
    finally:
        farm.close()


if __name__ == "__main__":
    all_tests()
