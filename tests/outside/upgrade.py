"""A planned change of version (R27) as mail programs meet it: sessions in IDLE go on, TLS and DEFLATE included."""
import imaplib
import json
import os
import re
import select
import smtplib
import socket
import threading
import time
import zlib

import lab
from lab import wait_for
from replays import PASSWORD, Load, loose, version
from serve import Host

SESSIONS = int(os.environ.get("IDLE_SESSIONS", "500"))
ACCOUNTS = 20


class Session:
    """A mail program's connection that keeps count of what it is told, as a mail program must."""

    def __init__(self, host, user, kind="plain"):
        self.user, self.kind, self.tag, self.held = user, kind, 0, b""
        self.count, self.uids, self.bye, self.inflate = 0, None, None, None
        port = host.imap if kind == "starttls" else host.imaps
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        if kind != "starttls":
            self.sock = loose().wrap_socket(self.sock)
        assert self.line().startswith(b"* OK")
        if kind == "starttls":
            self.say("STARTTLS")
            self.sock = loose().wrap_socket(self.sock)
        self.say('LOGIN %s "%s"' % (user, PASSWORD))
        if kind == "deflate":
            self.say("COMPRESS DEFLATE")
            self.inflate, self.deflate = zlib.decompressobj(-15), zlib.compressobj(6, zlib.DEFLATED, -15)
        if kind in ("condstore", "qresync"):
            self.say("ENABLE %s" % kind.upper())
        said = self.say("SELECT INBOX")
        self.validity = re.search(rb"UIDVALIDITY (\d+)", b" ".join(said)).group(1)
        self.know()
        if kind == "notify":
            self.say("NOTIFY SET (SELECTED (MessageNew MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))")
        self.idles = False
        if kind != "waits":
            self.idle()

    def idle(self):
        self.send("IDLE")
        while not self.line().startswith(b"+"):
            pass
        self.idles = True

    def done(self):
        self.raw(b"DONE\r\n")
        self.idles = False
        return self.until()

    def raw(self, data):
        if self.inflate:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.sock.sendall(data)

    def send(self, command):
        self.tag += 1
        self.raw(b"t%d %s\r\n" % (self.tag, command.encode()))

    def say(self, command):
        self.send(command)
        return self.until()

    def until(self):
        said = []
        while True:
            line = self.line()
            said.append(line)
            if line.startswith(b"t%d " % self.tag):
                assert b" OK" in line[:12], (self.kind, line)
                return said

    def fill(self, wait_s):
        if isinstance(self.sock, socket.socket) and not getattr(self.sock, "pending", lambda: 0)():
            if not select.select([self.sock], [], [], wait_s)[0]:
                return False
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(self.bye or "the connection ended")
        self.held += self.inflate.decompress(data) if self.inflate else data
        return True

    def line(self, wait_s=30):
        while b"\r\n" not in self.held:
            if not self.fill(wait_s):
                raise TimeoutError("%s (%s) hears nothing" % (self.user, self.kind))
        line, self.held = self.held.split(b"\r\n", 1)
        self.hear(line)
        return line

    def hear(self, line):
        words = line.split(b" ")
        if line.startswith(b"* BYE"):
            self.bye = line
        elif words[0] == b"*" and len(words) > 2 and words[2] == b"EXISTS":
            assert int(words[1]) >= self.count, "EXISTS became smaller without EXPUNGE: %r" % line
            self.count = int(words[1])
            if self.uids is not None:
                self.uids += [None] * (self.count - len(self.uids))
        elif words[0] == b"*" and len(words) > 2 and words[2] == b"EXPUNGE":
            assert 1 <= int(words[1]) <= self.count, "an impossible %r" % line
            self.count -= 1
            if self.uids is not None:
                del self.uids[int(words[1]) - 1]
        elif line.startswith(b"* VANISHED ") and b"EARLIER" not in line:
            for uid in numbers(words[2]):
                if uid in self.uids:
                    self.uids.remove(uid)
                    self.count -= 1
                else:
                    # One of those it was told to exist and did not fetch.
                    self.uids.remove(None)
                    self.count -= 1

    def know(self):
        """Fetches all UIDs, and compares them with what it knew."""
        said = self.say("UID FETCH 1:* (UID)")
        found = [(int(m.group(1)), int(m.group(2))) for m in
                 (re.match(rb"\* (\d+) FETCH \(UID (\d+)", line) for line in said) if m]
        uids = [uid for _, uid in found]
        assert [seq for seq, _ in found] == list(range(1, len(found) + 1)), "numbers without a gap"
        assert len(uids) == self.count, "%s (%s): %d messages, it was told of %d" % (
            self.user, self.kind, len(uids), self.count)
        if self.uids is not None:
            wrong = [(old, new) for old, new in zip(self.uids, uids) if old not in (None, new)]
            assert not wrong, "%s (%s): UIDs changed their numbers: %s" % (self.user, self.kind, wrong[:3])
        self.uids = uids
        return uids

    def settle(self, quiet_s=0.0):
        """Hears all that was said. False if the session was cut."""
        ended = None
        try:
            while self.fill(quiet_s):
                pass
        except (EOFError, OSError) as e:
            ended = repr(e).encode()
        while b"\r\n" in self.held:
            self.line()
        self.bye = self.bye or ended
        return self.bye is None

    def close(self):
        self.sock.close()


def numbers(text):
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        yield from range(int(first), int(last or first) + 1)


class Churn(threading.Thread):
    """Another program of one user: adds and expunges messages all the time, whatever happens to it."""

    def __init__(self, host, user):
        super().__init__(daemon=True)
        self.host, self.user, self.over, self.expunged, self.added = host, user, False, 0, 0

    def run(self):
        while not self.over:
            try:
                client = imaplib.IMAP4_SSL("127.0.0.1", self.host.imaps, ssl_context=loose(), timeout=30)
                client.login(self.user, PASSWORD)
                client.select("INBOX")
                while not self.over:
                    for _ in range(2):
                        client.append("INBOX", None, None, b"Subject: more\r\n\r\nmore\r\n")
                        self.added += 1
                    kind, data = client.uid("SEARCH", "ALL")
                    uids = data[0].split()
                    for uid in uids[1:-3:max(1, len(uids) // 2)][:1]:
                        client.uid("STORE", uid, "+FLAGS.SILENT", "(\\Deleted)")
                        client.expunge()
                        self.expunged += 1
                    time.sleep(0.05)
            except (OSError, imaplib.IMAP4.error):
                time.sleep(0.05)

    def stop(self):
        self.over = True
        self.join(30)


def users(host):
    host.people()
    for n in range(1, ACCOUNTS):
        host.cli("account", "add", "u%d@serve.example" % n, "--password-file", os.path.join(host.dir, "pw"))
    return ["anna@serve.example"] + ["u%d@serve.example" % n for n in range(1, ACCOUNTS)]


def pss_kib(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return {l.split(":")[0]: int(l.split()[1]) for l in f if l.startswith(("Pss:", "Private_Dirty:", "Rss:"))}


def deliver(host, user, token):
    client = imaplib.IMAP4_SSL("127.0.0.1", host.imaps, ssl_context=loose(), timeout=30)
    client.login(user, PASSWORD)
    client.append("INBOX", None, None, ("Subject: %s\r\n\r\n%s\r\n" % (token, token)).encode())
    client.logout()


def all_hear(host, sessions, names, after):
    """A message to each user: every session hears of it, ends its IDLE and knows what its mailbox holds."""
    for s in sessions:
        assert s.settle(), "after %s: %s (%s) was cut: %r" % (after, s.user, s.kind, s.bye)
    counts = {id(s): s.count for s in sessions}
    with smtplib.SMTP("127.0.0.1", host.smtp, timeout=30, local_hostname="client.outside.example") as smtp:
        smtp.sendmail("x@outside.example", names, lab.mail(lab.token(), to=names[0]))
    began = time.monotonic()
    late = [s for s in sessions if s.idles or s.kind == "notify"]
    while late and time.monotonic() - began < 10:
        for s in late:
            s.settle()
        late = [s for s in late if s.count <= counts[id(s)] and s.bye is None]
        time.sleep(0.01)
    assert not late, "after %s: %d sessions do not hear of new mail, %s" % (after, len(late), late[0].kind)
    heard_s = time.monotonic() - began
    for s in sessions:
        if s.idles:
            s.done()
        s.say("NOOP")
        known = s.know()
        assert known, "%s holds nothing" % s.user
        status = b" ".join(s.say("STATUS INBOX (UIDVALIDITY MESSAGES)"))
        assert b"UIDVALIDITY %s" % s.validity in status, status
        if s.kind != "waits":
            s.idle()
    return heard_s


def upgrade(host, binary=None, check=True):
    done = host.cli("upgrade", "--binary", binary or lab.BINARY, "--json", check=check)
    return json.loads(done.stdout) if check else done


def gone(pid):
    """Whether a process is over, reaped or not."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def stop(pid):
    try:
        os.kill(pid, 15)
    except ProcessLookupError:
        pass
    wait_for(lambda: gone(pid), 40, 0.1)


def test_r27_no_session_in_idle_is_cut_by_a_change_of_version_under_load():
    host, pids, sessions = Host(extra="[limits]\nsessions_per_address = 2000"), [], []
    try:
        names = users(host)
        host.start()
        for user in names:
            for n in range(3):
                deliver(host, user, "before%d" % n)
        kinds = ["deflate", "condstore", "qresync", "starttls", "notify", "waits"]
        for n in range(SESSIONS):
            kind = kinds[n // ACCOUNTS] if n < ACCOUNTS * len(kinds) else "plain"
            sessions.append(Session(host, names[n % ACCOUNTS], kind))
        churn = Churn(host, names[1])
        churn.start()
        loads = [Load(host, 10, 20) for _ in range(5)]
        for load in loads:
            load.start()
        time.sleep(1)
        # A version that ends once it has the store: the sessions come back.
        began = time.monotonic()
        bad = upgrade(host, version(host, "ends", "sys.exit(3)"), check=False)
        took = time.monotonic() - began
        assert bad.returncode != 0 and "rolled back" in bad.stderr, bad.stderr
        assert took < 10, "rolled back only after %.1f s" % took
        cut = [s for s in sessions if not s.settle()]
        assert not cut, "%d of %d sessions were cut by a bad version: %r" % (len(cut), len(sessions), cut[0].bye)
        # And a good one.
        began = time.monotonic()
        good = upgrade(host)
        took = time.monotonic() - began
        pids.append(good["pid"])
        cut = [s for s in sessions if not s.settle()]
        assert not cut, "%d of %d sessions were cut: %r" % (len(cut), len(sessions), cut[0].bye)
        print("# %d sessions went along, %d carried; the change took %.1f s" % (good["sessions"], good["carried"], took))
        assert good["sessions"] >= len(sessions), good
        for load in loads:
            load.join(60)
        churn.stop()
        assert churn.expunged > 5, "%d expunged" % churn.expunged
        heard = all_hear(host, sessions, names, "the change")
        print("# all heard of new mail and knew their mailboxes; the last heard after %.1f s; %d added, %d expunged meanwhile" % (
            heard, churn.added, churn.expunged))
        refused, lost = sum(len(load.refused) for load in loads), sum(load.lost for load in loads)
        sent = sum(len(load.acked) for load in loads)
        assert refused == 0, "%d connections were refused" % refused
        assert lost <= 3 * sent * 0.01, "%d of %d SMTP sessions were cut in three changes" % (lost, sent)
        memory = pss_kib(host.process.pid)
        print("# the old process holds %d KiB (Pss; %d private dirty) for %d sessions" % (
            memory["Pss"], memory["Private_Dirty"], good["carried"]))
        # Once more: the first process goes on carrying, the second has nothing to carry and ends.
        again = upgrade(host)
        pids.append(again["pid"])
        assert again["sessions"] >= len(sessions) and again["carried"] == 0, again
        assert wait_for(lambda: gone(pids[0]), 20), "the second process has nothing to do and goes on"
        assert host.process.poll() is None, "the first process still carries"
        all_hear(host, sessions, names, "the second change")
        client = imaplib.IMAP4_SSL("127.0.0.1", host.imaps, ssl_context=loose(), timeout=30)
        client.login(names[0], PASSWORD)
        client.select("INBOX")
        found = [t for t in tokens_of(client) if t]
        client.logout()
        acked = [t for load in loads for t in load.acked]
        assert sorted(t for t in found if t in set(acked)) == sorted(acked), "lost or doubled"
        # The last session that hangs up ends the old process.
        for s in sessions:
            s.close()
        assert wait_for(lambda: host.process.poll() is not None, 20), "the old process does not end"
        assert host.process.returncode == 0, host.process.returncode
        assert "sound" in host.cli("verify").stdout
    finally:
        for s in sessions:
            s.close()
        for pid in reversed(pids):
            stop(pid)
        host.close()


def tokens_of(client):
    kind, data = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    assert kind == "OK", data
    return [d[1].split(b"<")[1].split(b"@")[0].decode() for d in data if isinstance(d, tuple) and b"<" in d[1]]


def test_sessions_that_went_along_end_with_their_host_and_with_the_old_process():
    for whom in ("host", "carrier"):
        host, pids, sessions = Host(), [], []
        try:
            host.people()
            host.start()
            sessions = [Session(host, "anna@serve.example", kind) for kind in ("plain", "deflate", "starttls")]
            good = upgrade(host)
            pids.append(good["pid"])
            assert good["sessions"] == good["carried"] == 3, good
            os.kill(pids[0] if whom == "host" else host.process.pid, 15)
            for s in sessions:
                assert wait_for(lambda: not s.settle(0.1), 30), "%s: the session goes on" % whom
                assert b"BYE" in s.bye, "%s: %r" % (whom, s.bye)
            assert wait_for(lambda: host.process.poll() is not None, 30), "the old process goes on"
            assert host.process.returncode == 0, host.process.returncode
            if whom == "carrier":
                assert "220" in host.greeting(), "the host goes on"
            else:
                assert wait_for(lambda: gone(pids[0]), 30)
                try:
                    socket.create_connection(("127.0.0.1", host.smtp), 2).close()
                    raise AssertionError("somebody still listens")
                except ConnectionRefusedError:
                    pass
        finally:
            for s in sessions:
                s.close()
            for pid in pids:
                stop(pid)
            host.close()


def test_a_killed_host_ends_the_sessions_that_went_to_it_and_nobody_listens_for_it():
    host, pids, sessions = Host(), [], []
    try:
        host.people()
        host.start()
        sessions = [Session(host, "anna@serve.example") for _ in range(3)]
        pids.append(upgrade(host)["pid"])
        os.kill(pids[0], 9)
        for s in sessions:
            assert wait_for(lambda: not s.settle(0.1), 10), "the session goes on"
        assert wait_for(lambda: host.process.poll() is not None, 10), "the old process goes on without a host"
        try:
            socket.create_connection(("127.0.0.1", host.smtp), 2).close()
            raise AssertionError("the old process still listens")
        except ConnectionRefusedError:
            pass
    finally:
        for s in sessions:
            s.close()
        host.close()


def test_what_is_in_the_middle_of_something_is_not_taken_along():
    host, pids, sessions = Host(), [], []
    try:
        host.people()
        host.start()
        stranger = loose().wrap_socket(socket.create_connection(("127.0.0.1", host.imaps), 10))
        assert b"* OK" in stranger.recv(1000)
        writer = Session(host, "anna@serve.example", "waits")
        writer.send("APPEND INBOX {100}")
        assert writer.line().startswith(b"+")
        writer.raw(b"Subject: half\r\n")
        half = Session(host, "anna@serve.example", "waits")
        half.tag += 1
        half.raw(b"t%d NO" % half.tag)
        sessions = [writer, half]
        good = upgrade(host)
        pids.append(good["pid"])
        assert good["sessions"] == 1, good
        half.raw(b"OP\r\n")
        half.until()
        assert half.say("NOOP"), "it goes on"
        assert b"BYE" in stranger.recv(1000)
        assert not writer.settle(5), "a half message cannot go along"
        half.know()
    finally:
        for s in sessions:
            s.close()
        for pid in pids:
            stop(pid)
        host.close()


if __name__ == "__main__":
    names = {k: v for k, v in globals().items() if k.startswith("test_")}
    lab.main(names, farm=False)
