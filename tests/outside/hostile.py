"""Bad input on every port: a clear refusal each, memory bounded, other sessions unharmed."""
import os
import random
import socket
import ssl
import time

import lab
from lab import token


def well(farm):
    """The farm still serves an honest client."""
    tok = token()
    code, reply = farm.send_in(lab.mail(tok))
    assert code == 250, reply
    assert farm.find(tok), "honest mail did not arrive"


def session(farm):
    raw = farm.raw(farm.smtp)
    raw.reply()
    raw.ask(b"EHLO client.outside.example\r\n")
    raw.ask(b"MAIL FROM:<x@outside.example>\r\n")
    assert raw.ask(b"RCPT TO:<%s>\r\n" % farm.a["address"].encode()).startswith(b"250")
    assert raw.ask(b"DATA\r\n").startswith(b"354")
    return raw


def test_no_end_of_data_but_crlf_dot_crlf(farm):
    variants = {
        "lf.lf": b"\n.\n", "crlf.lf": b"\r\n.\n", "lf.crlf": b"\n.\r\n", "cr.cr": b"\r.\r", "cr.crlf": b"\r.\r\n",
        "crlf.cr": b"\r\n.\r", "lf.cr": b"\n.\r", "crlf.crcrlf": b"\r\n.\r\r\n", "nul before": b"\r\n\0.\r\n",
        "nul after": b"\r\n.\0\r\n",
    }
    for name, end in variants.items():
        tok, smuggled = token(), token()
        raw = session(farm)
        raw.send(lab.mail(tok).encode() + b"text" + end)
        raw.send(b"MAIL FROM:<evil@outside.example>\r\nRCPT TO:<%s>\r\nDATA\r\n" % farm.a["address"].encode())
        raw.send(lab.mail(smuggled).encode() + b".\r\n")
        reply = raw.reply()
        # One reply for one message: refused whole, or taken whole with the rest as its text.
        assert reply[:1] in (b"2", b"5"), (name, reply)
        assert raw.ask(b"NOOP\r\n").startswith(b"250"), name
        raw.close()
        hits = farm.find_all(smuggled, wait_s=0.3)
        assert len(hits) <= 1, name
        if hits:
            assert tok.encode() in hits[0], "%s: a second message was smuggled in" % name


def test_what_comes_behind_starttls_is_dropped(farm):
    for port in (farm.smtp, farm.submission):
        raw = farm.raw(port)
        raw.reply()
        raw.ask(b"EHLO a.example\r\n")
        raw.send(b"STARTTLS\r\nMAIL FROM:<injected@outside.example>\r\n")
        assert raw.reply().startswith(b"220")
        tls = farm.tls().wrap_socket(raw.s, server_hostname="localhost")
        tls.sendall(b"NOOP\r\n")
        reply = tls.recv(4096)
        assert reply.startswith(b"250") and b"sender" not in reply.lower(), reply
        tls.sendall(b"RCPT TO:<%s>\r\n" % farm.a["address"].encode())
        assert tls.recv(4096)[:3] in (b"503", b"530"), "the injected MAIL was obeyed"
        tls.close()


def test_no_password_without_tls(farm):
    raw = farm.raw(farm.submission)
    raw.reply()
    assert b"AUTH" not in raw.ask(b"EHLO a.example\r\n")
    assert raw.ask(b"AUTH PLAIN AGEAYg==\r\n")[:1] == b"5"
    raw = farm.raw(farm.imap)
    raw.line()
    raw.send(b"a CAPABILITY\r\n")
    assert b"LOGINDISABLED" in raw.line()
    raw.send(b"b LOGIN %s x\r\n" % farm.a["address"].encode())
    lines = [raw.line(), raw.line()]
    assert any(l.startswith((b"b NO", b"b BAD")) for l in lines), lines
    raw = farm.raw(farm.pop3)
    raw.line()
    raw.send(b"USER %s\r\n" % farm.a["address"].encode())
    assert raw.line().startswith(b"-ERR")


def test_garbage_on_every_port(farm):
    dice = random.Random(1)
    plain = [farm.smtp, farm.submission, farm.imap, farm.pop3]
    implicit = [farm.submissions, farm.imaps, farm.pop3s]
    blobs = [
        b"\0" * 5000, bytes(dice.randrange(256) for _ in range(20000)), b"A" * 300000, b"A" * 1000 + b"\r\n",
        b"\r\n" * 500, b"\xff\xfe\xfd\r\n" * 50, b"EHLO " + b"a." * 5000 + b"\r\n", b"a SELECT {99999999999}\r\n",
        b"a LOGIN {5}\r\n", b"* * * *\r\n" * 30, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    for port in plain + implicit:
        for blob in blobs:
            raw = farm.raw(port, timeout=3)
            try:
                raw.send(blob)
                raw.s.shutdown(socket.SHUT_WR)
                raw.gone()
            except OSError:
                pass
            raw.close()
    assert farm.process.poll() is None, "it died"
    well(farm)


def test_an_endless_line_is_refused_within_bounds(farm):
    before = farm.rss_kib()
    for port in (farm.smtp, farm.submission, farm.imap, farm.pop3):
        raw = farm.raw(port, timeout=10)
        sent = 0
        try:
            while sent < 64 << 20:
                raw.send(b"x" * 65536)
                sent += 65536
        except OSError:
            pass
        raw.close()
        assert sent < 64 << 20, "port %d read 64 MiB of one line" % port
    assert farm.rss_kib() - before < 30 * 1024, "memory grew by %d KiB" % (farm.rss_kib() - before)
    well(farm)


def test_half_open_tls_and_silence_do_not_hold_others(farm):
    held = [farm.raw(port) for port in (farm.imaps, farm.submissions, farm.pop3s, farm.smtp) for _ in range(50)]
    for raw in held[:100]:
        raw.send(b"\x16\x03\x01\x02\x00\x01\x00")
    well(farm)
    for raw in held:
        raw.close()


def test_a_slow_sender_does_not_hold_others(farm):
    slow = [session(farm) for _ in range(20)]
    for i in range(5):
        for raw in slow:
            raw.send(b"x")
        time.sleep(0.05)
    well(farm)
    for raw in slow:
        raw.close()


def test_a_thousand_connections(farm):
    before = farm.rss_kib()
    held, refused = [], 0
    for i in range(1000):
        s = socket.socket()
        s.bind(("127.%d.%d.9" % (1 + i % 100, i % 250), 0))
        s.settimeout(10)
        try:
            s.connect(("127.0.0.1", (farm.smtp, farm.imap, farm.pop3)[i % 3]))
            held.append(s)
        except OSError:
            refused += 1
    assert len(held) >= 900, "%d refused" % refused
    well(farm)
    grown = farm.rss_kib() - before
    for s in held:
        s.close()
    assert grown < 100 * 1024, "a thousand connections cost %d KiB" % grown
    well(farm)


def test_many_errors_end_the_session(farm):
    raw = farm.raw(farm.smtp)
    raw.reply()
    ended = False
    for _ in range(200):
        try:
            reply = raw.ask(b"NONSENSE\r\n")
        except OSError:
            ended = True
            break
        if reply.startswith(b"421") or not reply:
            ended = True
            break
    assert ended, "200 errors and still talking"


def test_a_relay_for_strangers_is_refused(farm):
    for to in ("victim@elsewhere.example", "victim%elsewhere.example@" + farm.a["address"].split("@")[1],
               "@" + farm.a["address"].split("@")[1] + ":victim@elsewhere.example"):
        raw = farm.raw(farm.smtp)
        raw.reply()
        raw.ask(b"EHLO a.outside.example\r\n")
        raw.ask(b"MAIL FROM:<x@outside.example>\r\n")
        reply = raw.ask(b"RCPT TO:<%s>\r\n" % to.encode())
        assert reply.startswith(b"55"), (to, reply)


def test_the_sender_must_be_ones_own(farm):
    tok = token()
    import smtplib
    with smtplib.SMTP_SSL("127.0.0.1", farm.submissions, context=farm.tls(), timeout=20) as s:
        s.login(farm.a["address"], farm.a["password"])
        code, reply = lab.say(s, lab.mail(tok), farm.b["address"], [farm.b["address"]])
        assert code // 100 == 5, (code, reply)
    with smtplib.SMTP_SSL("127.0.0.1", farm.submissions, context=farm.tls(), timeout=20) as s:
        s.login(farm.a["address"], farm.a["password"])
        code, reply = lab.say(s, lab.mail(tok, sender=farm.b["address"]), farm.a["address"], [farm.b["address"]])
        assert code // 100 == 5, (code, reply)
    assert not farm.find(tok, farm.b, wait_s=0.3)


def test_a_message_over_the_limit_is_refused_early_and_late(farm):
    raw = farm.raw(farm.smtp)
    raw.reply()
    ehlo = raw.ask(b"EHLO a.outside.example\r\n")
    limit = int(ehlo.split(b"SIZE ")[1].split()[0])
    assert raw.ask(b"MAIL FROM:<x@outside.example> SIZE=%d\r\n" % (limit + 1)).startswith(b"552")
    raw.close()


def test_loops_end(farm):
    tok = token()
    text = "".join("Received: from a by b; Sun, 22 Nov 2026 10:00:00 +0000\r\n" for _ in range(120)) + lab.mail(tok)
    code, reply = farm.send_in(text)
    assert code // 100 == 5, (code, reply)


if __name__ == "__main__":
    lab.main(globals())
