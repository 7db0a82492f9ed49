"""A real Postfix beside a real `postroad serve`: it sends to us, and we send to it."""
import glob
import imaplib
import json
import os
import re
import shutil
import smtplib
import ssl
import sys
import time
import traceback
import uuid

from lab import PORT_BASE, run, wait_for
from names import Names
from serving import Serving

SMTP, SUBMISSIONS, IMAPS, POSTFIX, DNS = (PORT_BASE + n for n in (25, 65, 93, 70, 53))
HOST, HERE, THERE = "mx.serve.example", "serve.example", "far.example"
ANNA, PASSWORD = "anna@" + HERE, "a password of anna"


class Farm(Serving):
    """A Postfix, and our host, which it sends to and takes mail from."""

    def __init__(self):
        super().__init__("postfix")
        self.names = Names(DNS, {
            (THERE, "MX"): [(10, "mx." + THERE)], ("mx." + THERE, "A"): ["127.0.0.1"],
            (THERE, "TXT"): ["v=spf1 ip4:127.0.0.1 -all"], (HERE, "MX"): [(10, HOST)], (HOST, "A"): ["127.0.0.1"],
            ("1.0.0.127.in-addr.arpa", "PTR"): ["mx." + THERE]})
        self.serve()
        self.postfix()

    def serve(self):
        self.write(self.framed("""host_name = "%s"
[[listener]]
front = "smtp"
address = "127.0.0.1:%d"
[[listener]]
front = "submission"
address = "127.0.0.1:%d"
tls = "implicit"
[[listener]]
front = "imap"
address = "127.0.0.1:%d"
tls = "implicit"
[queue]
remote_port = %d
[dns]
servers = ["127.0.0.1:%d"]
""" % (HOST, SMTP, SUBMISSIONS, IMAPS, POSTFIX, DNS)))
        self.start()
        self.person(HERE, ANNA, PASSWORD)

    def postfix(self):
        """A Postfix of its own: configuration, queue and log in our folder, no program of the system's touched."""
        for name in ("spool", "pfdata", "mail"):
            os.makedirs(self.path(name))
        shutil.chown(self.path("pfdata"), "postfix")
        os.chown(self.path("mail"), 5000, 5000)
        made = run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=mx." + THERE,
                    "-keyout", self.path("pf.key"), "-out", self.path("pf.pem")])
        assert made.returncode == 0, made.stderr
        os.makedirs(self.path("postfix"))
        self.put("postfix/users", "".join("%s@%s %s/\n" % (n, THERE, n) for n in ("joe", "grey", "sender")))
        self.put("postfix/access", "grey@%s 450 4.7.1 Greylisted, come back later\n" % THERE)
        self.put("postfix/transport", "%s smtp:[127.0.0.1]:%d\n" % (HERE, SMTP))
        for name in ("users", "access", "transport"):
            self.postmap(name)
        d = {"d": self.dir, "there": THERE}
        self.put("postfix/main.cf", """compatibility_level = 3.6
queue_directory = %(d)s/spool
data_directory = %(d)s/pfdata
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.%(there)s
mydestination =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = %(there)s
virtual_mailbox_maps = hash:%(d)s/postfix/users
virtual_mailbox_base = %(d)s/mail
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
transport_maps = hash:%(d)s/postfix/transport
smtpd_tls_security_level = may
smtpd_tls_cert_file = %(d)s/pf.pem
smtpd_tls_key_file = %(d)s/pf.key
smtpd_tls_received_header = yes
smtp_tls_security_level = encrypt
smtp_tls_CAfile = %(d)s/data/tls/ca.pem
smtp_tls_loglevel = 1
smtp_dns_support_level = disabled
smtputf8_enable = yes
smtpd_recipient_restrictions = check_recipient_access hash:%(d)s/postfix/access, permit_mynetworks, reject_unauth_destination
smtpd_discard_ehlo_keywords =
alias_maps =
local_recipient_maps =
message_size_limit = 52428800
virtual_mailbox_limit = 0
maillog_file = %(d)s/mail.log
maillog_file_prefixes = %(d)s
biff = no
smtpd_peername_lookup = no
""" % d)
        self.put("postfix/master.cf", """127.0.0.1:%d inet n - n - 50 smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
""" % POSTFIX)
        done = run(["postfix", "-c", self.path("postfix"), "start"])
        assert done.returncode == 0, done.stdout + done.stderr + self.read("mail.log")
        assert wait_for(self.greets, 15), self.read("mail.log")

    def greets(self):
        try:
            with smtplib.SMTP("127.0.0.1", POSTFIX, timeout=5) as s:
                return s.noop()[0] == 250
        except OSError:
            return False

    def postmap(self, name):
        done = run(["postmap", "-c", self.path("postfix") if os.path.exists(self.path("postfix/main.cf")) else "/etc/postfix",
                    "hash:" + self.path("postfix", name)])
        assert done.returncode == 0, done.stderr

    def cli(self, *args):
        return self.order(*args).stdout

    def walk(self, address):
        return self.json("why", address)

    def facts(self, address, kind):
        return [f for f in self.walk(address) if f["kind"] == kind]

    # -- mail ----------------------------------------------------------------------------------
    def from_there(self, text, to, sender="sender@" + THERE, options=(), rcpt_options=()):
        """Into Postfix, which sends it on to us."""
        with smtplib.SMTP("127.0.0.1", POSTFIX, timeout=60) as s:
            s.ehlo("client." + THERE)
            assert s.mail(sender, list(options))[0] == 250
            for one in to:
                assert s.rcpt(one, list(rcpt_options))[0] == 250
            code, reply = s.data(text)
        assert code == 250, reply
        return re.search(rb"queued as (\w+)", reply).group(1).decode()

    def from_here(self, text, to, options=(), rcpt_options=()):
        context = ssl.create_default_context(cafile=self.ca)
        with smtplib.SMTP_SSL("localhost", SUBMISSIONS, context=context, timeout=60) as s:
            s.ehlo("laptop." + HERE)
            s.login(ANNA, PASSWORD)
            assert s.mail(ANNA, list(options))[0] == 250
            for one in to:
                assert s.rcpt(one, list(rcpt_options))[0] == 250
            code, reply = s.data(text)
        assert code == 250, reply

    def inbox(self, token, wait_s=20):
        def look():
            client = imaplib.IMAP4_SSL("localhost", IMAPS, ssl_context=ssl.create_default_context(cafile=self.ca), timeout=30)
            try:
                client.login(ANNA, PASSWORD)
                client.select("INBOX", readonly=True)
                uids = client.uid("SEARCH", "TEXT", token)[1][0].split()
                return [client.uid("FETCH", uid, "(BODY.PEEK[])")[1][0][1] for uid in uids]
            finally:
                client.logout()
        return wait_for(look, wait_s, 0.3)

    def maildir(self, name, token, wait_s=20):
        def look():
            texts = [open(p, "rb").read() for p in glob.glob(self.path("mail", name, "new", "*"))]
            return [t for t in texts if token.encode() in t]
        return wait_for(look, wait_s, 0.2)

    def line(self, queue_id, words, wait_s=20):
        def look():
            return [line for line in self.read("mail.log").splitlines() if queue_id in line and words in line]
        found = wait_for(look, wait_s, 0.2)
        assert found, "no \"%s\" for %s in\n%s" % (words, queue_id, self.read("mail.log")[-3000:])
        return found

    def close(self):
        run(["postfix", "-c", self.path("postfix"), "stop"])
        self.names.close()
        super().close()


def letter(token, sender, to, body=None, subject="a letter"):
    head = ("From: %s\r\nTo: %s\r\nSubject: %s %s\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s@%s>\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            % (sender, to, subject, token, token, sender.split("@")[1]))
    return head.encode() + (body if body is not None else ("The token is %s.\r\n" % token).encode())


def token():
    return "tok" + uuid.uuid4().hex


def body_of(raw):
    return raw.replace(b"\r\n", b"\n").split(b"\n\n", 1)[1]


def test_postfix_sends_to_us_over_verified_tls_byte_for_byte(farm):
    tok = token()
    body = "Grüße, 8-bit, a dot:\r\n.\r\n..two\r\nend without newline fix\r\n".encode() + b"\xff\xfe raw\r\n"
    queue_id = farm.from_there(letter(tok, "sender@" + THERE, ANNA, body), [ANNA], options=["BODY=8BITMIME"])
    line = farm.line(queue_id, "status=sent")[0]
    assert "250 2.0.0 m=" in line, line
    assert "Verified TLS connection established to" in farm.read("mail.log") or \
        "Trusted TLS connection established to" in farm.read("mail.log"), farm.read("mail.log")[-2000:]
    got = farm.inbox(tok)[0]
    assert body_of(got) == body.replace(b"\r\n", b"\n"), body_of(got)
    head = got.split(b"\r\n\r\n")[0].decode()
    assert "Return-Path: <sender@%s>" % THERE in head and "ESMTPS" in head and "spf=pass" in head, head
    mid = re.search(r"m=(\w+)", line).group(1)
    assert "smtp.accepted" in farm.cli("why", "m=" + mid), "the id Postfix logged leads to the walk"


def test_an_unknown_recipient_among_several_comes_back_from_postfix(farm):
    tok = token()
    farm.cli("alias", "add", "info@" + HERE, ANNA) if "info@" not in farm.cli("alias", "list") else None
    queue_id = farm.from_there(letter(tok, "sender@" + THERE, ANNA), [ANNA, "info@" + HERE, "nobody@" + HERE])
    bounced = farm.line(queue_id, "status=bounced")[0]
    assert "nobody@" + HERE in bounced and "550 5.1.1" in bounced, bounced
    assert len(farm.line(queue_id, "status=sent")) == 2
    assert len(farm.inbox(tok)) >= 1
    notice = farm.maildir("sender", "nobody@" + HERE)
    assert notice and b"550 5.1.1" in notice[0], "Postfix told its sender"


def test_five_megabytes_arrive_whole(farm):
    tok = token()
    line = ("0123456789" * 7 + "\r\n").encode()
    body = tok.encode() + b"\r\n" + line * (5 * 1024 * 1024 // len(line))
    queue_id = farm.from_there(letter(tok, "sender@" + THERE, ANNA, body), [ANNA])
    farm.line(queue_id, "status=sent", 60)
    got = farm.inbox(tok, 60)[0]
    assert body_of(got) == body.replace(b"\r\n", b"\n"), (len(got), len(body))


def test_international_addresses_pass_both_ways(farm):
    tok = token()
    sender = "jürgen@" + THERE
    text = letter(tok, sender, ANNA)
    with smtplib.SMTP("127.0.0.1", POSTFIX, timeout=60) as s:
        s.ehlo("client." + THERE)
        s.command_encoding = "utf-8"
        assert s.mail(sender, ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
        assert s.rcpt(ANNA)[0] == 250
        assert s.data(text)[0] == 250
    got = farm.inbox(tok)
    assert got and ("Return-Path: <%s>" % sender).encode() in got[0], got
    assert b"UTF8SMTPS" in got[0], got[0][:800]
    out = token()
    with smtplib.SMTP_SSL("localhost", SUBMISSIONS, context=ssl.create_default_context(cafile=farm.ca), timeout=60) as s:
        s.ehlo("laptop." + HERE)
        s.login(ANNA, PASSWORD)
        s.command_encoding = "utf-8"
        assert s.mail(ANNA, ["SMTPUTF8"])[0] == 250
        assert s.rcpt("joe@" + THERE)[0] == 250
        assert s.data(letter(out, ANNA, "joe@" + THERE, subject="für Joe"))[0] == 250
    got = farm.maildir("joe", out)
    assert got and "für Joe".encode() in got[0], farm.cli("why", "joe@" + THERE)
    assert b"UTF8SMTPS" in got[0], got[0][:800]


def test_we_send_to_postfix_over_tls_byte_for_byte_and_signed_bytes_are_not_touched(farm):
    tok = token()
    body = "Grüße\r\n.\r\n..\r\n".encode() + tok.encode() + b"\r\n"
    farm.from_here(letter(tok, ANNA, "joe@" + THERE, body), ["joe@" + THERE], options=["BODY=8BITMIME"])
    got = farm.maildir("joe", tok)
    assert got, farm.cli("why", "joe@" + THERE)
    assert body_of(got[0]) == body.replace(b"\r\n", b"\n"), body_of(got[0])
    head = got[0].split(b"\n\n")[0].decode()
    assert "TLSv1.3" in head and "from %s" % HOST in head and "ESMTPS" in head, head
    assert "Return-Path: <%s>" % ANNA in head, head
    fact = farm.facts("joe@" + THERE, "send.delivered")[-1]
    assert fact["detail"]["tls"] == "TLSv1.3" and fact["detail"]["host"] == "mx." + THERE, fact
    assert "queued as" in json.dumps(fact), "the reply is on record word for word"
    report = json.loads(farm.cli("tls", "report", "--domain", THERE, "--json"))
    assert report["policies"][0]["policy"]["policy-type"] == "no-policy-found", report
    assert report["policies"][0]["summary"]["total-successful-session-count"] >= 1, report


def test_a_success_notice_is_postfix_to_write_and_comes_back_to_us(farm):
    tok = token()
    farm.from_here(letter(tok, ANNA, "joe@" + THERE), ["joe@" + THERE], options=["ENVID=abc+2B1", "RET=HDRS"],
                   rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;joe@" + THERE])
    assert farm.maildir("joe", tok)
    notices = wait_for(lambda: [n for n in farm.inbox(tok, 2) or [] if b"multipart/report" in n], 30, 0.5)
    assert notices, "no notice; " + farm.read("mail.log")[-1500:]
    text = notices[0].decode(errors="replace")
    assert "Action: delivered" in text and "Original-Envelope-Id: abc+1" in text, text
    assert "Reporting-MTA: dns; mx." + THERE in text, "Postfix promised DSN, so it writes the notice\n" + text
    assert len(notices) == 1, "one notice and not two"


def test_greylisted_mail_waits_and_is_taken_at_the_next_try(farm):
    tok, to = token(), "grey@" + THERE
    farm.from_here(letter(tok, ANNA, to), [to])
    assert wait_for(lambda: farm.facts(to, "send.deferred"), 20, 0.2), farm.cli("why", to)
    assert "450 4.7.1" in farm.cli("why", to)
    assert to in farm.cli("queue", "list")
    farm.put("postfix/access", "")
    farm.postmap("access")
    assert run(["postfix", "-c", farm.path("postfix"), "reload"]).returncode == 0
    time.sleep(5)  # the connection that was kept open ends, and with it the server that has the old table
    farm.cli("queue", "retry")
    assert farm.maildir("grey", tok, 30), farm.cli("why", to)
    assert wait_for(lambda: to not in farm.cli("queue", "list"), 10, 0.2)


def test_a_refusal_of_postfix_comes_back_in_plain_words_with_its_reply(farm):
    tok, to = token(), "nobody@" + THERE
    farm.from_here(letter(tok, ANNA, to), [to, "joe@" + THERE])
    assert farm.maildir("joe", tok), "the other recipient has it"
    notices = wait_for(lambda: [n for n in farm.inbox(tok, 2) or [] if b"multipart/report" in n], 30, 0.5)
    assert notices, farm.cli("why", to)
    text = notices[0].decode(errors="replace")
    assert "Action: failed" in text and "550 5.1.1" in text and "User unknown" in text, text
    failed = farm.facts(to, "send.failed")[-1]["detail"]
    assert failed["says"] and failed["status"] == "5.1.1" and "User unknown" in failed["reply"], failed


def main():
    wanted, failed = sys.argv[1:], 0
    if os.getuid() != 0:
        print("not ok postfix: a Postfix of one's own needs root")
        sys.exit(1)
    farm = Farm()
    try:
        for name, test in [(n, f) for n, f in globals().items() if n.startswith("test_")]:
            if wanted and name not in wanted:
                continue
            began = time.monotonic()
            try:
                test(farm)
                print("ok %s (%.1f s)" % (name[5:], time.monotonic() - began), flush=True)
            except Exception as e:  # each test stands alone: the next ones still run
                failed += 1
                print("not ok %s: %s" % (name[5:], str(e).splitlines()[0] if str(e) else type(e).__name__), flush=True)
                traceback.print_exc(file=sys.stdout)
    finally:
        farm.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
