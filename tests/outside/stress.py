"""Many clients on one mailbox, random commands, for a while: what each is told must be possible at every moment.

Each client keeps the mailbox as it was told: an EXPUNGE of a number that is not there, an EXISTS that shrinks or is told
twice for nothing, a FETCH with a number nobody was told of, a UID that goes backwards or changes its number without an
EXPUNGE, an EXPUNGE during a command by sequence numbers: each is a failure. At the end all sessions and a fresh one must
see the same messages with the same flags. STRESS_SECONDS and STRESS_CLIENTS say how long and how many.
"""
import os
import random
import re
import socket
import ssl
import threading
import time

import lab

SECONDS = float(os.environ.get("STRESS_SECONDS", "30"))
CLIENTS = int(os.environ.get("STRESS_CLIENTS", "20"))
SEED = int(os.environ.get("STRESS_SEED", str(random.randrange(1 << 30))))
# The mailbox is kept about this big, so that sessions meet on the same messages.
MESSAGES = 60
FLAGS = ["\\Seen", "\\Flagged", "\\Answered", "\\Draft", "$work", "$later"]


class Wrong(Exception):
    pass


class Client:
    """One session and what it was told."""

    def __init__(self, farm, account, number):
        self.farm, self.account = farm, account
        self.dice = random.Random(SEED * 1000 + number)
        self.name, self.log, self.commands = "client %d" % number, [], 0
        self.qresync = number % 4 == 3
        self.connect()

    def connect(self):
        raw = socket.create_connection(("127.0.0.1", self.farm.imaps), 30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = self.farm.tls().wrap_socket(raw)
        self.rest, self.tag, self.uids, self.flags, self.selecting = b"", 0, [], {}, False
        self.by_number, self.running, self.changed = False, None, {}
        self.line()
        self.run('LOGIN "%s" "%s"' % (self.account["address"], self.account["password"]))
        if self.qresync:
            self.run("ENABLE QRESYNC")
        self.select("SELECT")

    def fail(self, what):
        raise Wrong("%s (seed %d): %s\n  knows %s\n  %s" % (self.name, SEED, what, self.uids, "\n  ".join(self.log[-40:])))

    # -- reading -------------------------------------------------------------------------------------
    def line(self):
        """One response; a literal in it is replaced by its length."""
        out = b""
        while True:
            while b"\r\n" not in self.rest:
                more = self.socket.recv(65536)
                if not more:
                    self.fail("the server hung up")
                self.rest += more
            line, _, self.rest = self.rest.partition(b"\r\n")
            literal = re.search(rb"\{(\d+)\}$", line)
            if not literal:
                out += line
                break
            size = int(literal[1])
            while len(self.rest) < size:
                self.rest += self.socket.recv(65536)
            self.rest = self.rest[size:]
            out += line
        text = out.decode("latin-1")
        self.log.append("S: " + text[:200])
        del self.log[:-80]
        return text

    def send(self, text, by_number=False):
        self.tag += 1
        self.commands += 1
        self.running, self.by_number = "t%d" % self.tag, by_number
        self.log.append("C: %s %s" % (self.running, text[:160]))
        self.socket.sendall(("%s %s\r\n" % (self.running, text)).encode("latin-1"))

    def finish(self):
        while True:
            line = self.line()
            if line.startswith(self.running + " "):
                said = line.split(" ", 2)
                if said[1] == "BAD":
                    self.fail("the server did not understand")
                self.by_number = False
                return said[1], said[2] if len(said) > 2 else ""
            if line.startswith("* "):
                self.hear(line[2:])

    def run(self, text, by_number=False):
        self.send(text, by_number)
        return self.finish()

    # -- what is told --------------------------------------------------------------------------------
    def hear(self, line):
        number = re.match(r"(\d+) (EXISTS|EXPUNGE|FETCH)(.*)", line)
        if line.startswith("VANISHED ") and "(EARLIER)" not in line:
            return self.vanished(line.split(" ")[1])
        if not number:
            return
        n, what = int(number[1]), number[2]
        if what == "EXISTS":
            if self.selecting:
                self.uids, self.flags, self.selecting = [None] * n, {}, False
            elif n < len(self.uids):
                self.fail("EXISTS %d after %d messages" % (n, len(self.uids)))
            elif n == len(self.uids):
                self.fail("EXISTS %d was told twice" % n)
            else:
                self.uids += [None] * (n - len(self.uids))
        elif n == 0 or n > len(self.uids):
            self.fail("%s of message %d of %d" % (what, n, len(self.uids)))
        elif what == "EXPUNGE":
            self.may_expunge()
            if self.qresync:
                self.fail("an EXPUNGE after ENABLE QRESYNC")
            self.flags.pop(self.uids.pop(n - 1), None)
        else:
            self.fetched(n, number[3])

    def may_expunge(self):
        if self.by_number:
            self.fail("an EXPUNGE during FETCH, STORE or SEARCH by sequence number")

    def fetched(self, n, rest):
        uid = re.search(r"\bUID (\d+)", rest)
        if uid:
            uid = int(uid[1])
            known = self.uids[n - 1]
            if known not in (None, uid):
                self.fail("message %d had UID %s and has %d" % (n, known, uid))
            before = [u for u in self.uids[:n - 1] if u]
            after = [u for u in self.uids[n:] if u]
            if before and before[-1] >= uid or after and after[0] <= uid:
                self.fail("UID %d stands between %s and %s" % (uid, before[-1:], after[:1]))
            self.uids[n - 1] = uid
        uid = self.uids[n - 1]
        flags = re.search(r"FLAGS \(([^)]*)\)", rest)
        if flags and uid:
            self.flags[uid] = sorted(f for f in flags[1].split() if f != "\\Recent")

    def vanished(self, text):
        self.may_expunge()
        if not self.qresync:
            self.fail("VANISHED without ENABLE QRESYNC")
        for part in text.split(","):
            low, _, high = part.partition(":")
            for uid in range(int(low), int(high or low) + 1):
                if uid in self.uids:
                    self.uids.remove(uid)
                elif None in self.uids:
                    # A message of which only the number was told: one of those between its neighbours.
                    above = next((i for i, u in enumerate(self.uids) if u and u > uid), len(self.uids))
                    at = above - 1
                    if at < 0 or self.uids[at] is not None:
                        self.fail("UID %d vanished, and there is no place where it was" % uid)
                    del self.uids[at]
                else:
                    self.fail("UID %d vanished and never was there" % uid)
                self.flags.pop(uid, None)

    # -- what is done --------------------------------------------------------------------------------
    def select(self, how):
        self.selecting = True
        kind, _ = self.run(how + " Stress")
        if kind != "OK":
            self.fail(how + " was refused")
        self.learn()

    def learn(self):
        self.run("UID FETCH 1:* (FLAGS)")

    def numbers(self):
        low = self.dice.randint(1, len(self.uids))
        return low, min(len(self.uids), low + self.dice.randint(0, 9))

    def act(self):
        dice = self.dice
        what = dice.random()
        if what < 0.14 or len(self.uids) < 5:
            return self.append()
        low, high = self.numbers()
        flags = " ".join(dice.sample(FLAGS, dice.randint(1, 2)))
        sign = dice.choice(["+", "-", ""])
        if what < 0.30:
            self.run("FETCH %d:%d (UID FLAGS)" % (low, high), True)
        elif what < 0.38:
            self.run("FETCH %d:%d (UID FLAGS BODY.PEEK[HEADER] ENVELOPE)" % (low, high), True)
        elif what < 0.44:
            self.run("FETCH %d (UID BODY[])" % low, True)
        elif what < 0.58:
            self.run("STORE %d:%d %sFLAGS (%s)" % (low, high, sign, flags), True)
        elif what < 0.66:
            self.run("UID STORE %s:* %sFLAGS (%s)" % (self.uids[low - 1] or 1, sign, flags))
        elif what < 0.72:
            self.run("SEARCH %d:%d SEEN" % (low, high), True)
        elif what < 0.76:
            self.run("UID SEARCH RETURN (COUNT ALL) UNSEEN")
        elif what < 0.80:
            self.run("COPY %d:%d Stress" % (low, min(high, low + 2))) if len(self.uids) < MESSAGES else self.run("NOOP")
        elif what < 0.90:
            self.expunge(low, high)
        elif what < 0.94:
            self.idle()
        elif what < 0.97:
            self.run("NOOP")
        elif what < 0.985:
            self.select(dice.choice(["SELECT", "EXAMINE", "SELECT"]))
        else:
            self.run("LOGOUT")
            self.socket.close()
            self.connect()

    def append(self):
        if len(self.uids) >= 2 * MESSAGES:
            return self.run("NOOP")
        body = "From: s@stress.example\r\nSubject: %s %d\r\n\r\n%s\r\n" % (self.name, self.commands, "x" * self.dice.randint(0, 3000))
        self.run("APPEND Stress (%s) {%d+}\r\n%s" % (self.dice.choice(FLAGS), len(body), body))

    def expunge(self, low, high):
        if len(self.uids) < MESSAGES / 2:
            return self.run("NOOP")
        self.run("STORE %d:%d +FLAGS (\\Deleted)" % (low, high), True)
        if self.dice.random() < 0.5:
            self.run("EXPUNGE")
        else:
            self.run("UID EXPUNGE 1:*")

    def idle(self):
        self.send("IDLE")
        while True:
            line = self.line()
            if line.startswith("+"):
                break
            self.hear(line[2:])
        self.socket.settimeout(self.dice.random() * 0.3 + 0.01)
        try:
            while True:
                self.hear(self.line()[2:])
        except (socket.timeout, ssl.SSLWantReadError):
            pass
        self.socket.settimeout(30)
        self.socket.sendall(b"DONE\r\n")
        self.finish()


def play(client, until, wrong):
    try:
        while time.monotonic() < until and not wrong:
            client.act()
    except Exception as e:  # told by the main thread; the others stop
        wrong.append(e if isinstance(e, Wrong) else Wrong("%s: %r\n  %s" % (client.name, e, "\n  ".join(client.log[-20:]))))


def test_sessions_on_one_mailbox_are_never_told_what_cannot_be(farm):
    first = farm.imap_client()
    first.create("Stress")
    first.logout()
    clients = [Client(farm, farm.a, n) for n in range(CLIENTS)]
    wrong, until = [], time.monotonic() + SECONDS
    threads = [threading.Thread(target=play, args=(c, until, wrong)) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join(SECONDS + 60)
    assert not any(t.is_alive() for t in threads), "a client waits for an answer that does not come (seed %d)" % SEED
    assert not wrong, str(wrong[0])
    print("   %d commands by %d clients, seed %d" % (sum(c.commands for c in clients), CLIENTS, SEED))
    assert sum(c.commands for c in clients) > 20 * CLIENTS
    seen = []
    for client in clients:
        client.run("NOOP")
        told = (list(client.uids), dict(client.flags))
        client.learn()
        # What was told along the way is what is there: reading it all again changes nothing.
        for uid, flags in told[1].items():
            assert client.flags.get(uid) == flags, "%s took UID %d for %s, it has %s (seed %d)" % (
                client.name, uid, flags, client.flags.get(uid), SEED)
        seen.append((client.uids, client.flags))
    fresh = Client(farm, farm.a, CLIENTS)
    for client, (uids, flags) in zip(clients, seen):
        assert uids == fresh.uids, "%s sees %s, a fresh session %s (seed %d)" % (client.name, uids, fresh.uids, SEED)
        assert flags == fresh.flags, "%s and a fresh session differ in flags (seed %d)" % (client.name, SEED)


if __name__ == "__main__":
    lab.main(globals())
