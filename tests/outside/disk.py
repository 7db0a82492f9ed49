"""Disks that fill or fail under the real binary: logs (R07 a), mail (R07 b, d), the index (R07 c), single errors (R08, R41);
and a start with a long queue."""
import glob
import imaplib
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time

import lab
import postfix
from lab import PORT_BASE, run, wait_for
from names import Names
from replays import ANNA, PASSWORD, imap, mounted, send, tokens
from serve import Host

QUEUED = int(os.environ.get("QUEUED", "50000"))
FORWARDS = 10


def small_disk(path, mib):
    assert mounted(path, mib), "no small disk could be mounted on %s" % path


def as_root(test):
    def run_it():
        if os.getuid() == 0:
            return test()
        print("SKIPPED, NOT TESTED: %s needs root (a small tmpfs, or strace of another process)" % test.__name__)
    return run_it


def unmount(*paths):
    for path in paths:
        run(["umount", "-l", path])


def fill(path, leave):
    """Takes the room of a file system but for so many bytes, as another program would."""
    space = os.statvfs(os.path.dirname(path))
    size = space.f_bavail * space.f_frsize - leave
    with open(path, "ab") as f:
        while size > 0:
            try:
                done = os.write(f.fileno(), b"\0" * min(size, 1 << 20))
            except OSError:
                return
            size -= done


class Queue(threading.Thread):
    """A sender that keeps what was not acknowledged and tries it again, as a mail host does."""

    def __init__(self, host, messages, pause=0.0, size=2000):
        super().__init__(daemon=True)
        self.host, self.pause, self.size = host, pause, size
        self.waiting, self.acked, self.put_off, self.late = [lab.token() for _ in range(messages)], [], 0, []
        self.stop_now = False

    def run(self):
        while self.waiting and not self.stop_now:
            token = self.waiting[0]
            try:
                code, step, _ = send(self.host, token, self.size)
            except (OSError, smtplib.SMTPException):
                code, step = 0, "connection"
            if code == 250:
                self.acked.append(self.waiting.pop(0))
            else:
                self.put_off += 1
                if code and step == "end":
                    self.late.append(code)
                self.waiting.append(self.waiting.pop(0))
                time.sleep(0.2)
            time.sleep(self.pause)


def settle_accounts(host, acked, others=()):
    """What was acknowledged is there once; nothing is there that was never sent."""
    client = imap(host)
    found = tokens(client)
    client.logout()
    lost, doubled = set(acked) - set(found), len(found) - len(set(found))
    assert not lost and not doubled, "%d lost, %d doubled" % (len(lost), doubled)
    strange = set(found) - set(acked) - set(others)
    assert not strange, "%d messages that nobody sent" % len(strange)


def again(host):
    """kill -9 and a start."""
    host.process.kill()
    host.process.wait(10)
    os.remove(os.path.join(host.dir, "log"))
    began = time.monotonic()
    host.start()
    return time.monotonic() - began


def test_a_start_with_a_long_queue_takes_three_seconds_at_most():
    # Ports that the Postfix of another test does not use.
    dns, remote = PORT_BASE + 54, PORT_BASE + 71
    names, zones = None, {}
    for n in range(FORWARDS):
        zones[("far%d.example" % n, "MX")] = [(10, "mx.far%d.example" % n)]
        zones[("mx.far%d.example" % n, "A")] = ["127.9.1.%d" % (n + 1)]
    silent = []
    for n in range(FORWARDS):
        # Takes connections and never says a word.
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.9.1.%d" % (n + 1), remote))
        s.listen(256)
        silent.append(s)
    host = Host(extra="[queue]\nremote_port = %d\n[dns]\nservers = [\"127.0.0.1:%d\"]\n[lists]\npublic = false\n"
                      "[limits]\nsessions_per_address = 1000" % (remote, dns))
    try:
        names = Names(dns, zones)
        host.people()
        for n in range(FORWARDS):
            host.cli("alias", "add", "away%d@serve.example" % n, "joe@far%d.example" % n)
        host.start()
        began = time.monotonic()
        sources = [subprocess.Popen(
            ["smtp-source", "-d", "-s", "8", "-m", str(QUEUED // FORWARDS), "-l", "1024", "-M", "client.outside.example",
             "-f", "x@outside.example", "-t", "away%d@serve.example" % n, "127.0.0.1:%d" % host.smtp]) for n in range(FORWARDS)]
        assert all(s.wait(300) == 0 for s in sources)
        filled = time.monotonic() - began
        waiting = lambda: queued(host)
        assert waiting() >= QUEUED, waiting()
        took = again(host)
        assert "220" in host.greeting()
        print("# %d messages queued in %.1f s; ready %.2f s after kill -9" % (QUEUED, filled, took))
        assert took <= 3, "ready only after %.2f s" % took
        assert waiting() == QUEUED, "%d of %d wait after the start" % (waiting(), QUEUED)
        began = time.monotonic()
        assert send(host, lab.token())[0] == 250
        assert time.monotonic() - began < 2, "mail waits for the queue"
    finally:
        # An orderly stop would wait for the silent ones.
        host.process.kill()
        host.close()
        if names:
            names.close()
        for s in silent:
            s.close()


def queued(host):
    import sqlite3
    # The index follows the log within three seconds.
    time.sleep(4)
    with sqlite3.connect("file:%s/data/index.sqlite?mode=ro" % host.dir, uri=True) as conn:
        return conn.execute("SELECT count(*) FROM spool").fetchone()[0]


def chatter(host, until, kind):
    """What an attacker's program says all day."""
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", host.smtp if kind else host.imap), 5) as s:
                s.settimeout(5)
                s.recv(500)
                for n in range(20):
                    if kind:
                        s.sendall(b"EHLO x%d.example\r\nMAIL FROM:<a%d@b.example>\r\nRCPT TO:<nobody%d@serve.example>\r\n"
                                  b"AUTH PLAIN AGFubmEAd3Jvbmc=\r\nXYZZY %s\r\nRSET\r\n" % (n, n, n, b"y" * 400))
                    else:
                        s.sendall(b"a%d LOGIN anna@serve.example wrong%d\r\nb NOSUCH %s\r\n" % (n, n, b"z" * 400))
                    s.recv(4000)
        except OSError:
            continue


@as_root
def test_r07a_logs_stay_within_their_budget_and_a_full_log_disk_stops_no_mail():
    budget = 40 << 10
    host = Host(extra="[limits]\nsessions_per_address = 1000")
    logs = os.path.join(host.dir, "logs")
    small_disk(logs, 32)
    try:
        host.write(host.text.replace("file = \"%s/log\"\nbudget = \"1 MiB\"" % host.dir,
                                     "level = \"debug\"\nfile = \"%s/log\"\nbudget = \"40 KiB\"" % logs))
        host.log = lambda: "".join(open(p, errors="replace").read() for p in glob.glob(logs + "/log*"))
        host.people()
        host.start()
        until = time.monotonic() + 12
        talkers = [threading.Thread(target=chatter, args=(host, until, n % 2), daemon=True) for n in range(6)]
        for t in talkers:
            t.start()
        largest, acked, seen = 0, [], set()
        while time.monotonic() < until:
            files = {}
            for path in glob.glob(logs + "/*"):
                try:
                    stat = os.stat(path)
                except FileNotFoundError:
                    continue
                # A file being renamed is met under both names.
                files[stat.st_ino] = stat.st_size
            largest = max(largest, sum(files.values()))
            seen.update(files)
            token = lab.token()
            assert send(host, token)[0] == 250, "an honest message was refused"
            acked.append(token)
            time.sleep(0.1)
        for t in talkers:
            t.join(10)
        print("# largest size of all logs %d KiB of %d KiB, %d files written" % (largest >> 10, budget >> 10, len(seen)))
        assert len(seen) > 5, "the logs never rolled over: the attacker was too quiet for this test"
        assert largest <= budget, "the logs took %d bytes" % largest
        # Somebody else fills the disk of the logs: mail goes on, and so does the log afterwards.
        fill(os.path.join(logs, "other"), 0)
        for _ in range(20):
            token = lab.token()
            assert send(host, token)[0] == 250, "the log's disk is full and mail stopped"
            acked.append(token)
        os.remove(os.path.join(logs, "other"))
        before = len(host.log())
        chatter(host, time.monotonic() + 1, 1)
        assert wait_for(lambda: len(host.log()) != before, 5), "the log does not go on after its disk was full"
        settle_accounts(host, acked)
    finally:
        host.stop()
        unmount(logs)
        host.close()


@as_root
def test_r07c_a_full_disk_under_the_index_refuses_early_while_the_segments_have_room():
    host = Host(extra="[store]\nreserve = \"12 MiB\"")
    data = os.path.join(host.dir, "data")
    segments, other = os.path.join(data, "segments"), os.path.join(data, "other")
    small_disk(data, 64)
    small_disk(segments, 256)
    try:
        host.people()
        host.start()
        acked = []
        for n in range(100):
            acked.append(lab.token())
            assert send(host, acked[-1])[0] == 250
        fill(other, 10 << 20)
        time.sleep(1.2)
        code, step, reply = send(host, lab.token())
        assert code == 452 and reply.startswith(b"4.3.1") and step in ("mail", "rcpt", "data"), (code, step, reply)
        # At 100 % reading and deleting go on.
        fill(other, 0)
        settle_accounts(host, acked)
        client = imap(host)
        kind, _ = client.store("1:50", "+FLAGS.SILENT", "\\Deleted")
        assert kind == "OK"
        kind, gone = client.expunge()
        assert kind == "OK" and len(gone) == 50, (kind, len(gone))
        client.logout()
        acked = acked[50:]
        assert send(host, lab.token())[0] == 452
        os.remove(other)
        began = time.monotonic()
        token = lab.token()
        assert wait_for(lambda: send(host, token)[0] == 250, 10, 0.2), "the index has room again, intake did not resume in 10 s"
        print("# intake again %.1f s after the index had room" % (time.monotonic() - began))
        acked.append(token)
        settle_accounts(host, acked)
        again(host)
        settle_accounts(host, acked)
        assert "sound" in host.cli("verify").stdout
    finally:
        host.stop()
        unmount(segments, data)
        host.close()


class SmallFarm(postfix.Farm):
    """A Postfix that tries again every few seconds, and our host on a small disk."""

    def serve(self):
        small_disk(self.path("data"), 64)
        super().serve()

    def put(self, name, text):
        if name == "postroad.toml":
            text = text.replace("[queue]", "[limits]\nsessions_per_address = 1000\n[queue]") + "[store]\nreserve = \"12 MiB\"\n"
        if name == "postfix/main.cf":
            text += ("minimal_backoff_time = 3s\nmaximal_backoff_time = 6s\nqueue_run_delay = 3s\n"
                     "default_destination_concurrency_limit = 20\nsmtpd_client_connection_count_limit = 0\n")
        return super().put(name, text)

    def close(self):
        try:
            super().close()
        finally:
            unmount(self.path("data"))


@as_root
def test_r07d_a_thousand_queued_messages_are_taken_within_a_minute_after_space_returns():
    farm = SmallFarm()
    try:
        other = farm.path("data", "other")
        fill(other, 8 << 20)
        time.sleep(1.2)
        done = run(["smtp-source", "-s", "10", "-m", "1000", "-l", "4000", "-f", "sender@" + postfix.THERE, "-t", ANNA,
                    "127.0.0.1:%d" % postfix.POSTFIX])
        assert done.returncode == 0, done.stderr
        put_off = lambda: [line for line in farm.read("mail.log").splitlines() if "status=deferred" in line]
        assert wait_for(lambda: len(set(line.split(": ")[1] for line in put_off())) == 1000, 60, 0.5), len(put_off())
        wrong = [line for line in put_off() if "452 4.3.1" not in line and "delivery temporarily suspended" not in line]
        assert not wrong, wrong[:3]
        late = [line for line in put_off() if "end of DATA" in line]
        assert not late, "refused only after the text: %s" % late[0]
        assert "status=sent" not in farm.read("mail.log") and "status=bounced" not in farm.read("mail.log")
        os.remove(other)
        began = time.monotonic()
        sent = lambda: farm.read("mail.log").count("status=sent")
        assert wait_for(lambda: sent() == 1000, 60, 0.3), "%d of 1000 taken 60 s after space returned" % sent()
        print("# 1,000 messages of a Postfix taken %.1f s after space returned" % (time.monotonic() - began))
        client = imaplib.IMAP4_SSL("localhost", postfix.IMAPS, ssl_context=ssl.create_default_context(cafile=farm.ca))
        client.login(ANNA, postfix.PASSWORD)
        client.select("INBOX", readonly=True)
        kind, data = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        ids = [d[1] for d in data if isinstance(d, tuple)]
        client.logout()
        assert len(ids) == 1000 and len(set(ids)) == 1000, "%d found, %d different" % (len(ids), len(set(ids)))
    finally:
        farm.close()


FAULTS = (
    ("pwritev", "ENOSPC"),   # a group into the log
    ("pwritev", "EIO"),
    ("fdatasync", "EIO"),    # the group's sync
    ("fdatasync", "ENOSPC"),
    ("pwrite64", "ENOSPC"),  # the index
    ("pwrite64", "EIO"),
)


class Failing:
    """Calls of the host on files of its data folder fail while it lasts; `when` counts in each thread."""

    def __init__(self, host, calls, error, when, folders=("*", "segments/*")):
        self.out = os.path.join(host.dir, "strace.%s.%s.%d" % (calls, error, len(folders)))
        files = []
        for path in [p for folder in folders for p in glob.glob(os.path.join(host.dir, "data", folder))]:
            if os.path.isfile(path):
                files += ["-P", path]
        self.command = ["strace", "-f", "-p", str(host.process.pid), "-o", self.out, "-e", "trace=" + calls,
                        "-e", "inject=%s:error=%s:when=%s" % (calls, error, when)] + files

    def __enter__(self):
        self.tracer = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # It says "attached" once the calls are watched.
        assert "attached" in self.tracer.stderr.readline(), "strace cannot attach"
        return self

    def __exit__(self, *_):
        self.tracer.send_signal(signal.SIGINT)
        self.tracer.communicate(timeout=10)

    def met(self):
        with open(self.out, errors="replace") as f:
            return f.read().count("(INJECTED)")


def inject(host, call, error, seconds=1.2):
    """Every thread's first such call fails once. Returns how many did."""
    with Failing(host, call, error, "1") as failing:
        time.sleep(seconds)
    return failing.met()


@as_root
def test_r08_single_errors_of_the_disk_lose_and_double_nothing():
    host = Host(extra="[limits]\nsessions_per_address = 1000")
    try:
        host.people()
        host.start()
        senders = [Queue(host, 100_000, 0.02) for _ in range(6)]
        for s in senders:
            s.start()
        time.sleep(1)
        hits = {}
        for call, error in FAULTS:
            # The index follows the log within three seconds.
            hits[call, error] = inject(host, call, error, 4 if call == "pwrite64" else 1.2)
            assert host.process.poll() is None, "the host ended at %s of %s" % (error, call)
            token, before = lab.token(), sum(len(s.acked) for s in senders)
            assert wait_for(lambda: sum(len(s.acked) for s in senders) > before + 5, 15), \
                "mail did not go on after %s of %s; the log ends:\n%s" % (error, call, host.log()[-1500:])
        print("# faults met: " + ", ".join("%s of %s %d" % (e, c, n) for (c, e), n in hits.items()))
        assert all(hits.values()), "some faults were never met: %s" % hits
        for s in senders:
            s.stop_now = True
        for s in senders:
            s.join(30)
        # What was refused and not yet sent again is sent now, as its sender would.
        tried = [s for s in senders if s.put_off]
        acked = [t for s in senders for t in s.acked]
        unsure = [t for s in senders for t in s.waiting[-s.put_off - 1:]]
        for token in unsure:
            assert send(host, token)[0] == 250
        acked += unsure
        print("# %d messages, %d put off by %d of %d senders" % (len(acked), sum(s.put_off for s in senders), len(tried), len(senders)))
        settle_accounts(host, acked)
        assert "sound" in host.cli("verify").stdout
        took = again(host)
        assert took <= 3, took
        settle_accounts(host, acked)
        assert "sound" in host.cli("verify").stdout
    finally:
        host.close()


READS = "preadv2,preadv,pread64"


def fetched(host, count):
    """The text of each message, or None where the host said that it cannot."""
    out, client = [], imap(host)
    for n in range(1, count + 1):
        try:
            kind, data = client.fetch(str(n), "(BODY.PEEK[])")
            out.append(data[0][1] if kind == "OK" and data and isinstance(data[0], tuple) else None)
        except (imaplib.IMAP4.error, OSError):
            client = imap(host)
            out.append(None)
    client.logout()
    return out


def serves(host):
    try:
        imap(host).logout()
        return True
    except (imaplib.IMAP4.error, OSError):
        return False


@as_root
def test_r41_read_errors_are_told_as_such_and_nothing_wrong_is_served():
    host = Host()
    try:
        host.people()
        host.start()
        sent = [lab.token() for _ in range(20)]
        for token in sent:
            assert send(host, token, 5000)[0] == 250
        # What was just delivered is still in memory; after a start it is not.
        host.stop()
        os.remove(os.path.join(host.dir, "log"))
        host.start()
        # First the segments alone: the index answers, the texts cannot be had, and mail goes on.
        new = lab.token()
        with Failing(host, READS, "EIO", "1+", ["segments/*"]) as failing:
            during = fetched(host, len(sent))
            assert send(host, new)[0] == 250, "texts cannot be read, and mail stopped"
        assert failing.met() >= len(sent), "only %d reads were made to fail" % failing.met()
        wrong = [n for n, text in enumerate(during) if text is not None and b"the token is " + sent[n].encode() not in text]
        assert not wrong, "wrong or empty texts were served: %s" % wrong
        print("# %d reads failed; %d of %d texts could not be had then" % (failing.met(), during.count(None), len(during)))
        sent.append(new)
        assert all(text and sent[n].encode() in text for n, text in enumerate(fetched(host, len(sent)))), "a text stayed away"
        # Then the index too: no session is better than a wrong one, and a 4xx better than a 250.
        new = lab.token()
        with Failing(host, READS, "EIO", "1+") as failing:
            serves(host)
            try:
                code = send(host, new)[0]
            except (OSError, smtplib.SMTPException):
                code = 0
        assert failing.met() > 0, "no read was made to fail"
        assert host.process.poll() is None, "the host ended"
        assert code < 500, "errors of our disk are nobody's fault: %d" % code
        print("# with the index unreadable mail was answered %d" % code)
        began = time.monotonic()
        assert wait_for(lambda: serves(host), 10, 0.2), "the disk can be read again, the host cannot; its log ends:\n" + host.log()[-2000:]
        print("# serves again %.1f s after the errors ended" % (time.monotonic() - began))
        after = fetched(host, len(sent))
        assert all(text and sent[n].encode() in text for n, text in enumerate(after)), "a text is missing after the errors"
        if code != 250:
            assert send(host, new)[0] == 250
        settle_accounts(host, sent + [new])
        assert "sound" in host.cli("verify").stdout
    finally:
        host.close()


if __name__ == "__main__":
    lab.main({k: v for k, v in globals().items() if k.startswith("test_") and v.__module__ == "__main__"}, farm=False)
