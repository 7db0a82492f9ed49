"""Incidents acted out against the real binary: a disk that fills (R07), one mailbox from a back-up (R42; the rest of it is in
backup.py), a restart under load (R27)."""
import imaplib
import json
import os
import random
import smtplib
import socket
import subprocess
import sys
import threading
import time

import lab
from lab import run, wait_for
from serve import Host

ANNA = "anna@serve.example"
PASSWORD = "a password"


def imap(host):
    client = imaplib.IMAP4_SSL("127.0.0.1", host.imaps, ssl_context=loose(), timeout=30)
    client.login(ANNA, PASSWORD)
    client.select("INBOX")
    return client


def loose():
    import ssl
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def send(host, token, size=2000):
    """Speaks one transaction. Returns (code, at which step)."""
    body = ("x" * 70 + "\r\n") * (size // 72)
    text = lab.mail(token, to=ANNA, body="the token is %s\r\n%s" % (token, body))
    with smtplib.SMTP("127.0.0.1", host.smtp, timeout=20, local_hostname="client.outside.example") as s:
        s.ehlo()
        code, reply = s.mail("x@outside.example", ["SIZE=%d" % len(text)])
        if code != 250:
            return code, "mail", reply
        code, reply = s.rcpt(ANNA)
        if code != 250:
            return code, "rcpt", reply
        code, reply = s.docmd("DATA")
        if code != 354:
            return code, "data", reply
        s.send(text.encode() + b".\r\n")
        code, reply = s.getreply()
        return code, "end", reply


def tokens(client):
    """Every token in the mailbox, each as often as it stands there."""
    kind, data = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    assert kind == "OK", data
    return [d[1].split(b"<")[1].split(b"@")[0].decode() for d in data if isinstance(d, tuple)]


def mounted(path, size):
    os.makedirs(path, exist_ok=True)
    done = run(["mount", "-t", "tmpfs", "-o", "size=%dm" % size, "tmpfs", path])
    return done.returncode == 0


def test_r07_a_full_disk_refuses_early_and_recovers_by_itself():
    host = Host(extra="[store]\nreserve = \"12 MiB\"")
    data = os.path.join(host.dir, "data")
    # The mail store alone lies on a disk of 64 MiB; the keys of `Host` put [store] before the listeners.
    if os.getuid() != 0 or not mounted(data, 64):
        print("SKIPPED, NOT TESTED: a small disk needs root and tmpfs")
        host.close()
        return
    try:
        host.people()
        host.start()
        acked, refused = [], None
        for _ in range(1500):
            token = lab.token()
            code, step, reply = send(host, token, 100_000)
            if code == 250:
                acked.append(token)
                continue
            refused = (code, step, reply)
            break
        assert refused, "64 MiB took %d messages of 100 KB" % len(acked)
        code, step, reply = refused
        assert code == 452 and reply.startswith(b"4.3.1"), refused
        assert step in ("mail", "rcpt", "data"), "refused only after the text was sent: %s" % (refused,)
        assert len(acked) > 100, len(acked)
        # Reading and deleting go on at once.
        client = imap(host)
        assert sorted(tokens(client)) == sorted(acked), "lost or doubled at the full disk"
        half = len(acked) // 2
        kind, _ = client.store("1:%d" % half, "+FLAGS.SILENT", "\\Deleted")
        assert kind == "OK"
        kind, gone = client.expunge()
        assert kind == "OK" and len(gone) == half, (kind, len(gone))
        client.logout()
        began = time.monotonic()
        token = lab.token()
        assert wait_for(lambda: send(host, token)[0] == 250, 60, 0.5), "space came back by deleting, intake did not"
        print("# intake again %.1f s after half of it was deleted" % (time.monotonic() - began))
        acked = acked[half:] + [token]
        # Fill again, then the operator adds space: no restart.
        for _ in range(1500):
            token = lab.token()
            if send(host, token, 100_000)[0] != 250:
                break
            acked.append(token)
        assert run(["mount", "-o", "remount,size=160m", data]).returncode == 0
        began = time.monotonic()
        token = lab.token()
        assert wait_for(lambda: send(host, token)[0] == 250, 10, 0.2), "space was added, intake did not resume in 10 s"
        print("# intake again %.1f s after space was added" % (time.monotonic() - began))
        acked.append(token)
        client = imap(host)
        assert sorted(tokens(client)) == sorted(acked), "lost or doubled"
        client.logout()
        host.cli("verify")
        host.process.kill()
        host.process.wait(10)
        os.remove(os.path.join(host.dir, "log"))
        host.start()
        client = imap(host)
        assert sorted(tokens(client)) == sorted(acked), "lost or doubled after kill -9"
        client.logout()
    finally:
        host.stop()
        run(["umount", "-l", data])
        host.close()


class Load(threading.Thread):
    """Sends at a steady rate from connections of its own, and retries what was not acknowledged."""

    def __init__(self, host, rate, seconds):
        super().__init__(daemon=True)
        self.host, self.rate, self.seconds = host, rate, seconds
        self.acked, self.refused, self.lost, self.times = [], [], 0, []

    def run(self):
        end = time.monotonic() + self.seconds
        pending = []
        while time.monotonic() < end or pending:
            token = pending.pop(0) if pending else lab.token()
            began = time.monotonic()
            try:
                code, _, reply = send(self.host, token)
            except ConnectionRefusedError:
                self.refused.append(time.monotonic())
                code = 0
            except (OSError, smtplib.SMTPException):
                code = 0
            if code == 250:
                self.acked.append(token)
                self.times.append(time.monotonic() - began)
            else:
                self.lost += 1
                pending.append(token)
                if self.lost > 2000:
                    return
            time.sleep(max(0.0, 1.0 / self.rate - (time.monotonic() - began)))


def test_r42_one_mailbox_or_one_folder_comes_back_into_the_running_host():
    host = Host()
    try:
        host.people()
        host.start()
        sent = []
        for n in range(40):
            token = lab.token()
            # Two are large enough to lie in a file of their own.
            assert send(host, token, 700_000 if n in (3, 30) else 3000)[0] == 250
            sent.append(token)
        client = imap(host)
        assert client.create("Work")[0] == "OK"
        assert client.copy("1:20", "Work")[0] == "OK"
        client.store("1:5", "+FLAGS.SILENT", "(\\Flagged Important)")
        client.select("Work")
        texts = {m: client.fetch(m, "(BODY.PEEK[])")[1][0][1] for m in ("1", "4", "20")}
        backup = os.path.join(host.dir, "backup")
        host.cli("backup", backup)
        # Everything of Work and half of the INBOX is deleted by mistake.
        client.store("1:*", "+FLAGS.SILENT", "\\Deleted")
        client.expunge()
        client.select("INBOX")
        client.store("1:20", "+FLAGS.SILENT", "\\Deleted")
        client.expunge()
        began = time.monotonic()
        says = json.loads(host.cli("restore", backup, "--mailbox", ANNA, "--folder", "Work", "--json").stdout)
        assert (says["taken"], says["there"], says["failed"]) == (20, 0, []), says
        client.select("INBOX")
        assert len(tokens(client)) == 20, "another folder was touched"
        says = json.loads(host.cli("restore", backup, "--mailbox", ANNA, "--json").stdout)
        took = time.monotonic() - began
        assert (says["taken"], says["there"]) == (20, 40), says
        client.select("INBOX")
        assert sorted(tokens(client)) == sorted(sent), "the mailbox is not as it was"
        flagged = client.uid("SEARCH", "FLAGGED", "KEYWORD", "Important")[1][0].split()
        assert len(flagged) == 5, flagged
        client.select("Work")
        assert sorted(tokens(client)) == sorted(sent[:20])
        back = [client.fetch(str(m), "(BODY.PEEK[])")[1][0][1] for m in range(1, 21)]
        assert all(text in back for text in texts.values()), "a text came back changed"
        client.logout()
        assert took < 60, took
        print("# one folder and one mailbox of %d messages in %.1f s" % (len(sent), took))
        doctor = host.cli("doctor", check=False).stdout
        assert "a restore was tried" in doctor, doctor
        bad = host.cli("restore", backup, "--mailbox", ANNA, "--folder", "Nowhere", check=False)
        assert bad.returncode != 0 and "no folder Nowhere" in bad.stderr, bad.stderr
        assert "sound" in host.cli("verify").stdout
    finally:
        host.close()


def test_r41_a_read_error_names_the_damaged_body_and_the_others_are_served():
    host = Host()
    try:
        host.people()
        host.start()
        sent = []
        for _ in range(30):
            token = lab.token()
            assert send(host, token, 5000)[0] == 250
            sent.append(token)
        host.stop()
        # One sector of one message cannot be read any more: it reads as something else.
        segments = os.path.join(host.dir, "data", "segments")
        path = os.path.join(segments, sorted(n for n in os.listdir(segments) if n.endswith(".log"))[-1])
        with open(path, "r+b") as f:
            whole = f.read()
            at = whole.index(b"the token is " + sent[11].encode())
            f.seek(at)
            f.write(b"\0" * 64)
        os.remove(os.path.join(host.dir, "log"))
        host.start()
        client = imap(host)
        served, broken = 0, []
        for n in range(1, 31):
            try:
                kind, data = client.uid("FETCH", str(n), "(BODY.PEEK[])")
                text = data[0][1] if kind == "OK" and data and isinstance(data[0], tuple) else b""
            except imaplib.IMAP4.error:
                client, text = imap(host), b""
            if sent[n - 1].encode() in text and b"the token is " + sent[n - 1].encode() in text:
                served += 1
            else:
                broken.append(n)
        assert served == 29 and broken == [12], (served, broken)
        found = host.cli("verify", check=False)
        assert found.returncode != 0 and "is damaged" in found.stderr + found.stdout, found.stderr + found.stdout
        token = lab.token()
        assert send(host, token)[0] == 250, "mail goes on"
    finally:
        host.close()


def test_r27_a_restart_under_load_refuses_nobody():
    held, host = [], Host(extra="[limits]\nsessions_per_address = 1000")
    try:
        for port in (host.smtp, host.imap, host.imaps):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
            s.listen(1024)
            held.append(s)
        host.sockets = held
        host.people()
        host.start()
        idle = [socket.create_connection(("127.0.0.1", host.imap), 5) for _ in range(200)]
        for s in idle:
            s.recv(200)
        loads = [Load(host, 10, 8) for _ in range(5)]
        for load in loads:
            load.start()
        time.sleep(2)
        began = time.monotonic()
        host.stop()
        stopped = time.monotonic() - began
        os.remove(os.path.join(host.dir, "log"))
        host.start()
        whole = time.monotonic() - began
        for load in loads:
            load.join(60)
        refused = sum(len(load.refused) for load in loads)
        print("# stop %.2f s, back %.2f s after the order; %d sessions cut, %d connections refused" % (
            stopped, whole, sum(load.lost for load in loads), refused))
        assert refused == 0, "%d connections were refused" % refused
        said = 0
        for s in idle:
            s.settimeout(5)
            said += b"BYE" in s.recv(400)
            s.close()
        assert said == len(idle), "%d of %d idle sessions heard BYE" % (said, len(idle))
        acked = [t for load in loads for t in load.acked]
        client = imap(host)
        found = tokens(client)
        client.logout()
        assert sorted(found) == sorted(acked), "lost %d, doubled %d" % (
            len(set(acked) - set(found)), len(found) - len(set(found)))
        assert whole < 10, "back only after %.1f s" % whole
    finally:
        host.close()
        for s in held:
            s.close()


FAKE = """#!%(python)s
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["POSTROAD_TAKEOVER"])
s.recvmsg(1, 4096)
s.sendall(b"waiting some=1\\n")
assert s.recv(10) == b"go\\n"
%(then)s
"""


def version(host, name, then):
    """A program that takes over as far as the store and then does not serve."""
    path = os.path.join(host.dir, name)
    with open(path, "w") as f:
        f.write(FAKE % {"python": sys.executable, "then": then})
    os.chmod(path, 0o755)
    return path


def test_r27_an_upgrade_under_load_refuses_nobody_and_a_bad_version_is_rolled_back():
    host = Host(extra="[limits]\nsessions_per_address = 1000")
    successor = None
    try:
        host.people()
        host.start()
        idle = [socket.create_connection(("127.0.0.1", host.imap), 5) for _ in range(500)]
        for s in idle:
            s.recv(200)
        loads = [Load(host, 10, 20) for _ in range(5)]
        for load in loads:
            load.start()
        time.sleep(1)
        # What is no version at all disturbs nobody.
        bad = host.cli("upgrade", "--binary", "/bin/false", check=False)
        assert bad.returncode != 0 and "Nothing has changed" in bad.stderr, bad.stderr
        assert sum(len(load.refused) for load in loads) == 0
        idle[0].settimeout(0.2)
        try:
            assert not idle[0].recv(100), "an idle session heard of it"
        except TimeoutError:
            pass
        # One that ends once it has the store, and one that hangs.
        for name, then in (("ends", "sys.exit(3)"), ("hangs", "time.sleep(60)")):
            began = time.monotonic()
            bad = host.cli("upgrade", "--binary", version(host, name, then), check=False)
            took = time.monotonic() - began
            assert bad.returncode != 0 and "rolled back" in bad.stderr, bad.stderr
            assert took < 10, "%s: rolled back only after %.1f s" % (name, took)
            print("# a version that %s was rolled back after %.1f s" % (name, took))
            assert "220" in host.greeting()
        said = 0
        for s in idle:
            s.settimeout(5)
            said += b"BYE" in s.recv(400)
            s.close()
        assert said == len(idle), "%d of %d idle sessions heard BYE" % (said, len(idle))
        # And a good one.
        began = time.monotonic()
        good = json.loads(host.cli("upgrade", "--binary", lab.BINARY, "--json").stdout)
        took = time.monotonic() - began
        successor = good["pid"]
        assert host.process.wait(10) == 0, "the old version ended badly"
        for load in loads:
            load.join(60)
        refused, cut = sum(len(load.refused) for load in loads), sum(load.lost for load in loads)
        sent = sum(len(load.acked) for load in loads)
        worst = max(max(load.times) for load in loads)
        print("# the change took %.1f s; %d messages, %d connections refused, %d sessions cut, longest transaction %.1f s" % (
            took, sent, refused, cut, worst))
        assert refused == 0, "%d connections were refused" % refused
        # Three changes: two there and back, one for good.
        assert cut <= 3 * sent * 0.01, "%d of %d sessions were cut" % (cut, sent)
        client = imap(host)
        found = tokens(client)
        client.logout()
        acked = [t for load in loads for t in load.acked]
        assert sorted(found) == sorted(acked), "lost %d, doubled %d" % (
            len(set(acked) - set(found)), len(found) - len(set(found)))
        assert "sound" in host.cli("verify").stdout
    finally:
        if successor:
            try:
                os.kill(successor, 15)
            except ProcessLookupError:
                pass
            wait_for(lambda: not os.path.exists("/proc/%d" % successor), 30, 0.1)
        host.close()


if __name__ == "__main__":
    names = {k: v for k, v in globals().items() if k.startswith("test_r")}
    lab.main(names, farm=False)
