"""Twelve ways in which an old mail program may be set up (some of them wrong), against a real `postroad serve`: what fails is on
record with the right cause, and each tolerance switch lets its client in without touching it."""
import base64
import imaplib
import json
import os
import poplib
import smtplib
import socket
import ssl
import sys
import time
import traceback

from lab import PORT_BASE, wait_for
from serving import Serving

SMTP, SUBMISSION, SUBMISSIONS, IMAP, IMAPS, POP3, POP3S = (PORT_BASE + n for n in (25, 87, 65, 44, 93, 11, 95))
HOST, DOMAIN = "mx.settings.example", "settings.example"
ANNA, PASSWORD = "anna@" + DOMAIN, "a password of anna"
TOLERANT = """[access]
trusted_networks = ["127.0.0.0/8"]
plain_on_trusted_network = true
login_without_domain = true
login_in_capitals = true
tls_on_any_port = true
"""


class Host(Serving):
    def __init__(self, extra=""):
        super().__init__("settings")
        listeners = "".join("[[listener]]\nfront = \"%s\"\naddress = \"127.0.0.1:%d\"\ntls = \"%s\"\n" % one for one in (
            ("smtp", SMTP, "starttls"), ("submission", SUBMISSION, "starttls"), ("submission", SUBMISSIONS, "implicit"),
            ("imap", IMAP, "starttls"), ("imap", IMAPS, "implicit"), ("pop3", POP3, "starttls"), ("pop3", POP3S, "implicit")))
        self.write(self.framed("host_name = \"%s\"\n%s%s" % (HOST, listeners, extra)))
        self.start()
        self.person(DOMAIN, ANNA, PASSWORD)

    def cli(self, *args):
        return self.order(*args).stdout

    def tls(self):
        context = ssl.create_default_context(cafile=self.ca)
        context.check_hostname = False
        return context

    def logins(self, *args):
        return self.json("logins", *args)


# -- the twelve clients: each ends quietly if it got what it wants, and raises otherwise -----------
def pop3_plain(host):
    p = poplib.POP3("127.0.0.1", POP3, timeout=20)
    p.user(ANNA)
    p.pass_(PASSWORD)
    p.quit()


def pop3_stls(host):
    p = poplib.POP3("127.0.0.1", POP3, timeout=20)
    p.stls(host.tls())
    p.user(ANNA)
    p.pass_(PASSWORD)
    p.quit()


def imap_plain(host):
    c = imaplib.IMAP4("127.0.0.1", IMAP, timeout=20)
    c.login(ANNA, PASSWORD)
    c.logout()


def imap_starttls(host):
    c = imaplib.IMAP4("127.0.0.1", IMAP, timeout=20)
    c.starttls(host.tls())
    c.login(ANNA, PASSWORD)
    c.logout()


def implicit_tls_on_587(host):
    with smtplib.SMTP_SSL("127.0.0.1", SUBMISSION, context=host.tls(), timeout=20, local_hostname="pc.example") as s:
        s.login(ANNA, PASSWORD)


def port_25_for_sending(host):
    with smtplib.SMTP("127.0.0.1", SMTP, timeout=20, local_hostname="pc.example") as s:
        s.sendmail(ANNA, ["friend@elsewhere.example"], "Subject: x\r\n\r\nx\r\n")


def submission_465(host):
    with smtplib.SMTP_SSL("127.0.0.1", SUBMISSIONS, context=host.tls(), timeout=20, local_hostname="pc.example") as s:
        s.login(ANNA, PASSWORD)


def old_name(host):
    raw = socket.create_connection(("127.0.0.1", IMAPS), 20)
    with host.tls().wrap_socket(raw, server_hostname="mail27." + DOMAIN) as t:
        t.recv(500)
        t.sendall(("a LOGIN %s \"%s\"\r\n" % (ANNA, PASSWORD)).encode())
        assert b"a OK" in t.recv(2000)


def without_domain(host):
    c = imaplib.IMAP4_SSL("127.0.0.1", IMAPS, ssl_context=host.tls(), timeout=20)
    c.login("anna", PASSWORD)
    c.logout()


def in_capitals(host):
    c = imaplib.IMAP4_SSL("127.0.0.1", IMAPS, ssl_context=host.tls(), timeout=20)
    c.login("Anna@Settings.Example", PASSWORD)
    c.logout()


def cram_md5_only(host):
    c = imaplib.IMAP4_SSL("127.0.0.1", IMAPS, ssl_context=host.tls(), timeout=20)
    try:
        c.login_cram_md5(ANNA, PASSWORD)
    finally:
        c.logout()


def tls_10_only(host):
    """A ClientHello of TLS 1.0, as the programs of 2010 sent it; no extension speaks of anything newer."""
    body = (b"\x03\x01" + os.urandom(32) + b"\x00" + b"\x00\x08" + b"\x00\x2f\x00\x35\x00\x0a\xc0\x13" + b"\x01\x00")
    hello = b"\x01" + len(body).to_bytes(3, "big") + body
    with socket.create_connection(("127.0.0.1", IMAPS), 20) as s:
        s.settimeout(20)
        s.sendall(b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
        answer = s.recv(100)
        assert answer[:1] == b"\x16", "no ServerHello: %r" % answer


# Client, the cause that is to be on record, whether a switch exists that lets it in.
CLIENTS = [
    (pop3_plain, "no_tls", True), (pop3_stls, None, True), (imap_plain, "no_tls", True), (imap_starttls, None, True),
    (implicit_tls_on_587, "tls_on_plain_port", True), (port_25_for_sending, "port_25", True), (submission_465, None, True),
    (old_name, None, True), (without_domain, "no_domain", True), (in_capitals, "capitals", True),
    (cram_md5_only, "mechanism", False), (tls_10_only, "tls_too_old", False),
]


def tried(client, host):
    try:
        client(host)
        return None
    except (OSError, AssertionError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto) as why:
        return str(why) or type(why).__name__


def failures(host):
    return sum(r["times"] for r in host.logins("--failed"))


def test_each_failing_setting_is_on_record_with_its_cause():
    host = Host()
    try:
        assert tried(submission_465, host) is None
        for client, cause, _ in CLIENTS:
            before = host.logins()
            seen = {json.dumps({k: v for k, v in r.items() if k != "last"}, sort_keys=True) for r in before}
            why = tried(client, host)
            assert (why is None) == (cause is None), (client.__name__, why)
            fresh = lambda: [r for r in host.logins() if json.dumps({k: v for k, v in r.items() if k != "last"}, sort_keys=True) not in seen]
            rows = wait_for(fresh, 10, 0.2)
            assert rows, "%s left no record" % client.__name__
            assert any(r["cause"] == (cause or "") for r in rows), (client.__name__, cause, rows)
            row = next(r for r in rows if r["cause"] == (cause or ""))
            assert row["account"] == ANNA, (client.__name__, row)
            assert cause is None or row["says"], row
            print("# %-22s %s" % (client.__name__, row["says"] or "ok, %s %s" % (row["tls"], row["mechanism"])))
        old = [r for r in host.logins("--account", ANNA) if r["name"] == "mail27." + DOMAIN]
        assert old and old[0]["ok"] and old[0]["port"] == IMAPS and old[0]["tls"] == "TLSv1.3", old
        assert all(not r["ok"] for r in host.logins("--failed"))
        text = host.cli("logins", "--account", ANNA)
        assert "mail27." + DOMAIN in text and "switch on STARTTLS" in text, text
    finally:
        host.close()


def test_each_switch_lets_its_client_in_untouched():
    host = Host(TOLERANT)
    try:
        for client, cause, tolerable in CLIENTS:
            if client is port_25_for_sending:
                # Relaying for a trusted network needs no log-in at all.
                assert tried(client, host) is None
            elif tolerable:
                why = tried(client, host)
                assert why is None, (client.__name__, why)
            else:
                assert tried(client, host), "%s cannot be let in: we hold no password in the clear, and speak no TLS 1.0" % client.__name__
        odd = {r["odd"] for r in host.logins("--account", ANNA) if r["ok"]}
        assert {"no_domain", "capitals"} <= odd, odd
        plain = [r for r in host.logins() if r["ok"] and r["tls"] == "none"]
        assert {r["front"] for r in plain} == {"imap", "pop3"}, plain
    finally:
        host.close()


def test_an_attempt_without_tls_names_its_user_where_it_shows_it():
    host = Host()
    try:
        with smtplib.SMTP("127.0.0.1", SUBMISSION, timeout=20, local_hostname="pc.example") as s:
            s.ehlo()
            first = base64.b64encode(("\0%s\0%s" % (ANNA, "secret-in-the-clear")).encode()).decode()
            code, reply = s.docmd("AUTH PLAIN " + first)
        assert code == 538 and b"switch on TLS" in reply, reply
        rows = wait_for(lambda: host.logins("--failed"), 10, 0.2)
        assert [(r["account"], r["cause"], r["mechanism"], r["client"]) for r in rows] == [(ANNA, "no_tls", "PLAIN", "pc.example")], rows
        assert "secret-in-the-clear" not in host.cli("logins", "--json") + host.log()
        with smtplib.SMTP("127.0.0.1", SMTP, timeout=20, local_hostname="pc.example") as s:
            s.ehlo()
            s.starttls(context=host.tls())
            s.ehlo()
            code, reply = s.docmd("AUTH PLAIN " + first)
        assert code == 502 and b"465" in reply, reply
        assert wait_for(lambda: [r for r in host.logins("--failed") if r["cause"] == "port_25" and r["account"] == ANNA], 10, 0.2)
    finally:
        host.close()


def main():
    wanted, failed = sys.argv[1:], 0
    for name, test in [(n, f) for n, f in globals().items() if n.startswith("test_")]:
        if wanted and name not in wanted:
            continue
        began = time.monotonic()
        try:
            test()
            print("ok %s (%.1f s)" % (name[5:], time.monotonic() - began), flush=True)
        except Exception as e:  # each test stands alone: the next ones still run
            failed += 1
            print("not ok %s: %s" % (name[5:], str(e).splitlines()[0] if str(e) else type(e).__name__), flush=True)
            traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
