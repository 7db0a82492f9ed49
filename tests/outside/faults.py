"""What a client was told is what happened: submission while the disk fails (R08), lost replies on the wire (R08), a message
to three of which one fails (R08), and one text that cannot be read (R41)."""
import glob
import imaplib
import os
import random
import smtplib
import socket
import ssl
import struct
import threading
import time

import lab
from disk import READS, Failing, again, as_root
from lab import PORT_BASE, wait_for
from replays import ANNA, PASSWORD, imap, loose, send, tokens
from serve import Host

SUBMIT = PORT_BASE + 65


def submission_host():
    return Host(extra="[limits]\nsessions_per_address = 1000\n[[listener]]\nfront = \"submission\"\naddress = \"127.0.0.1:%d\"\n"
                      "tls = \"implicit\"" % SUBMIT)


class Client(threading.Thread):
    """A mail program: sends each message once and believes what it is told."""

    def __init__(self, host, pause=0.0):
        super().__init__(daemon=True)
        self.host, self.pause = host, pause
        self.accepted, self.refused, self.unsure, self.stop_now = [], [], [], False

    def run(self):
        while not self.stop_now:
            try:
                with smtplib.SMTP_SSL("127.0.0.1", SUBMIT, context=loose(), timeout=20, local_hostname="laptop.example") as s:
                    s.login(ANNA, PASSWORD)
                    while not self.stop_now:
                        self.one(s)
                        time.sleep(self.pause)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.1)

    def one(self, s):
        token = lab.token()
        text = lab.mail(token, to=ANNA, sender=ANNA).encode()
        last = False
        try:
            for say in (lambda: s.mail(ANNA), lambda: s.rcpt(ANNA), lambda: s.docmd("DATA")):
                code, _ = say()
                if code >= 400:
                    self.refused.append(token)
                    s.rset()
                    time.sleep(0.05)
                    return
            last = True
            s.send(text + b".\r\n")
            code, _ = s.getreply()
            (self.accepted if code == 250 else self.refused).append(token)
            if code != 250:
                time.sleep(0.05)
        except (OSError, smtplib.SMTPException):
            # Nobody told it anything about a message whose last dot it had sent.
            (self.unsure if last else self.refused).append(token)
            raise


def told_the_truth(host, clients):
    client = imap(host)
    found = tokens(client)
    client.logout()
    accepted, refused = ([t for c in clients for t in getattr(c, kind)] for kind in ("accepted", "refused"))
    lost, wrong = set(accepted) - set(found), set(refused) & set(found)
    assert not lost, "%d messages that were accepted are not there" % len(lost)
    assert not wrong, "%d messages that were refused are there" % len(wrong)
    assert len(found) == len(set(found)), "%d doubled" % (len(found) - len(set(found)))
    return len(accepted), len(refused)


# Calls, error, which of each thread's: the first, or all while it lasts. The last ones leave no way to begin a new segment.
FAULTS = (
    ("pwritev", "ENOSPC", "1"),
    ("pwritev", "EIO", "1"),
    ("fdatasync", "EIO", "1"),
    ("fdatasync", "ENOSPC", "1"),
    ("pwritev", "ENOSPC", "1+"),
    ("pwritev", "EIO", "1+"),
    ("pwrite64", "ENOSPC", "1+"),
    ("pwrite64", "EIO", "1+"),
    ("fdatasync,fsync", "EIO", "1+"),
)


@as_root
def test_r08_what_a_mail_program_is_told_is_what_happens_while_the_disk_fails():
    host = submission_host()
    try:
        host.people()
        host.start()
        clients = [Client(host, 0.01) for _ in range(5)]
        for c in clients:
            c.start()
        accepted = lambda: sum(len(c.accepted) for c in clients)
        assert wait_for(lambda: accepted() > 50, 20), "nothing is accepted"
        hits, kills = {}, 0
        for calls, error, when in FAULTS:
            # Once the process goes on afterwards, once it is killed while its disk fails.
            for killed in (False, True):
                # Of the last one no file at all can be made durable, also none that is made meanwhile.
                with Failing(host, calls, error, when, () if "," in calls else ("*", "segments/*")) as failing:
                    time.sleep(3.5 if calls == "pwrite64" else 1.0)
                    if killed:
                        host.process.kill()
                        host.process.wait(10)
                hits[calls, error, when] = hits.get((calls, error, when), 0) + failing.met()
                if killed:
                    kills += 1
                    os.remove(os.path.join(host.dir, "log"))
                    host.start()
                before = accepted()
                assert wait_for(lambda: accepted() > before + 5, 15), "nothing is accepted after %s of %s; the log ends:\n%s" % (
                    error, calls, host.log()[-1500:])
        for c in clients:
            c.stop_now = True
        for c in clients:
            c.join(30)
        print("# faults met: " + ", ".join("%s of %s (%s) %d" % (e, c, w, n) for (c, e, w), n in hits.items()))
        assert all(hits.values()), "some faults were never met: %s" % hits
        good, bad = told_the_truth(host, clients)
        again(host)
        told_the_truth(host, clients)
        print("# %d accepted and delivered, %d refused and not, %d of which nobody was told; %d kills" % (
            good, bad, sum(len(c.unsure) for c in clients), kills + 1))
        assert bad > 50, "only %d were refused" % bad
        assert "sound" in host.cli("verify").stdout
    finally:
        host.close()


def talk(host, text, recipients, pipelined=b""):
    """Speaks up to and with the last dot, and leaves without a word read behind it, as a broken line does."""
    s = socket.create_connection(("127.0.0.1", host.smtp), 10)
    s.settimeout(10)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    replies = s.makefile("rb")
    assert replies.readline().startswith(b"220")
    s.sendall(b"EHLO client.outside.example\r\n")
    while replies.readline()[3:4] == b"-":
        pass
    s.sendall(b"MAIL FROM:<x@outside.example>\r\n" + b"".join(b"RCPT TO:<%s>\r\n" % r for r in recipients) + b"DATA\r\n")
    for _ in range(len(recipients) + 1):
        assert replies.readline().startswith(b"250")
    assert replies.readline().startswith(b"354")
    s.sendall(text + b".\r\n" + pipelined)
    return s


def test_r08_a_line_cut_behind_the_last_dot_makes_no_second_copy():
    host = Host(extra="[limits]\nsessions_per_address = 1000")
    try:
        host.people()
        host.start()
        dice, sent, cuts = random.Random(5), [], 0
        for n in range(150):
            token = lab.token()
            text = lab.mail(token, to=ANNA).encode()
            # At once, within the commit, or with the answer already on its way; a QUIT sent along confirms nothing.
            for _ in range(dice.randrange(1, 4)):
                s = talk(host, text, [ANNA.encode()], dice.choice([b"", b"QUIT\r\n"]))
                time.sleep(dice.choice([0, 0, 0.001, 0.003, 0.01, 0.05]))
                s.close()
                cuts += 1
            if n % 30 == 29:
                again(host)
            # Like a sender's queue, until it is told.
            with smtplib.SMTP("127.0.0.1", host.smtp, timeout=20, local_hostname="client.outside.example") as s:
                code, _ = lab.say(s, text, "x@outside.example", [ANNA])
                assert code == 250, code
            sent.append(token)
        client = imap(host)
        found = tokens(client)
        client.logout()
        lost, doubled = set(sent) - set(found), len(found) - len(set(found))
        print("# %d messages, %d lines cut behind the last dot, 5 kills: %d lost, %d doubled" % (len(sent), cuts, len(lost), doubled))
        assert not lost and not doubled, (lost, doubled)
    finally:
        host.close()


def test_r08_of_three_recipients_one_fails_and_the_sender_hears_of_that_one_alone():
    farm = lab.Farm()
    try:
        token = lab.token()
        three = [farm.b["address"], "someone@friendly.example", "nobody@friendly.example"]
        code, said = farm.submit(lab.mail(token, to=", ".join(three), sender=farm.a["address"]), to=three)
        assert code == 250, said
        id = said.decode().split("m=")[1].split()[0]
        why = lambda: farm.cli("why", "m=" + id)
        assert wait_for(lambda: "550" in why() and "someone@friendly.example" in why(), 30, 0.3), why()
        notices = farm.find_all("nobody@friendly.example", farm.a, wait_s=30)
        assert len(notices) == 1, "%d notices" % len(notices)
        report = notices[0].split(b"Content-Type: message/delivery-status")[1].split(b"\r\n--")[0]
        assert b"nobody@friendly.example" in report and b"User unknown" in report, notices[0]
        assert b"someone@friendly.example" not in report and three[0].encode() not in report, "others are named as failed"
        assert len(farm.find_all(token, farm.b)) == 1
        farm.kill9()
        farm.start()
        time.sleep(3)
        assert len(farm.find_all("nobody@friendly.example", farm.a)) == 1, "told again after a crash"
        assert len(farm.find_all(token, farm.b)) == 1
        walk = why()
        print("# " + "; ".join(line.strip() for line in walk.splitlines() if "friendly" in line or "250" in line)[:300])
    finally:
        farm.close()


@as_root
def test_r41_a_text_that_cannot_be_read_is_named_wherever_the_operator_looks():
    host = Host()
    try:
        host.people()
        host.start()
        sent = [lab.token() for _ in range(12)]
        for token in sent:
            assert send(host, token, 5000)[0] == 250
        client = imap(host)
        # A mail program's first look: what it shows is remembered, so the Message-ID is known without the text.
        client.fetch("1:*", "(ENVELOPE)")
        backup = os.path.join(host.dir, "backup")
        host.cli("backup", backup)
        time.sleep(3)
        client.logout()
        host.stop()
        os.remove(os.path.join(host.dir, "log"))
        host.start()
        # Every read of the segments fails for a moment.
        client = imap(host)
        with Failing(host, READS, "EIO", "1+", ["segments/*"]) as failing:
            kind, said = client.fetch("5", "(BODY.PEEK[])")
            assert kind == "NO" and b"damaged" in said[0], (kind, said)
        assert failing.met() > 0
        mid = "<%s@outside.example>" % sent[4]
        assert wait_for(lambda: "store.text_damaged" in host.cli("why", mid, check=False).stdout, 10, 0.3), host.cli("why", mid).stdout
        assert "INBOX, UID 5" in host.cli("why", mid).stdout and "INBOX, UID 5" in host.log(), host.log()
        # It can be read again: nothing is left to do.
        text = client.fetch("5", "(BODY.PEEK[])")[1][0][1]
        assert sent[4].encode() in text
        assert "cannot be read" not in host.cli("doctor", check=False).stdout
        client.logout()
        host.stop()
        # Now a sector is gone for good.
        path = sorted(glob.glob(os.path.join(host.dir, "data", "segments", "*.log")))[-1]
        with open(path, "r+b") as f:
            at = f.read().index(b"the token is " + sent[7].encode())
            f.seek(at)
            f.write(b"\0" * 512)
        os.remove(os.path.join(host.dir, "log"))
        host.start()
        client = imap(host)
        served = []
        for n in range(1, 13):
            try:
                kind, data = client.fetch(str(n), "(BODY.PEEK[])")
            except imaplib.IMAP4.error:
                client, kind = imap(host), "NO"
            if kind == "OK" and isinstance(data[0], tuple) and sent[n - 1].encode() in data[0][1]:
                served.append(n)
        assert served == [n for n in range(1, 13) if n != 8], served
        mid = "<%s@outside.example>" % sent[7]
        assert wait_for(lambda: "INBOX, UID 8" in host.cli("why", mid, check=False).stdout, 10, 0.3), host.cli("why", mid).stdout
        assert "INBOX, UID 8" in host.cli("why", ANNA).stdout
        says = host.cli("doctor", check=False).stdout
        assert "cannot be read" in says and "INBOX, UID 8" in says and mid in says and "restore BACKUP" in says, says
        found = host.cli("verify", check=False)
        assert found.returncode != 0 and "is damaged" in found.stderr + found.stdout, found.stderr + found.stdout
        # What doctor says helps: the text comes back out of the back-up, and the ruin of it is deleted.
        done = host.cli("restore", backup, "--mailbox", ANNA).stdout
        assert done.startswith("1 messages"), done
        client.store("8", "+FLAGS.SILENT", "\\Deleted")
        client.expunge()
        assert sorted(tokens(client)) == sorted(sent)
        client.logout()
        says = host.cli("doctor", check=False).stdout
        assert "cannot be read" not in says, says
        assert "sound" in host.cli("verify").stdout
    except Exception:
        print(host.log()[-3000:])
        raise
    finally:
        host.close()


if __name__ == "__main__":
    lab.main({k: v for k, v in globals().items() if k.startswith("test_") and "start_with" not in k}, farm=False)
