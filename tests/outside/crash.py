"""R08: ten thousand messages from senders that retry, while the real binary is killed again and again."""
import os
import random
import socket
import threading
import time

import lab
from lab import token

MESSAGES = int(os.environ.get("R08_MESSAGES", "10000"))
SENDERS = 8
KILLS_MAX = int(os.environ.get("R08_KILLS", "25"))
SECONDS_MAX = int(os.environ.get("R08_SECONDS", "75"))


class Sender(threading.Thread):
    """Sends on one connection after the other until each message was confirmed, as a queue does."""

    def __init__(self, farm, jobs, lock):
        super().__init__(daemon=True)
        self.farm, self.jobs, self.lock = farm, jobs, lock
        self.acked, self.current, self.raw, self.resent = [], None, None, 0

    def next(self):
        with self.lock:
            return self.jobs.pop() if self.jobs else None

    def line(self):
        while b"\n" not in self.buffer:
            got = self.raw.recv(4096)
            if not got:
                raise OSError("closed")
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\n", 1)
        return self.line() if line[3:4] == b"-" else line

    def connect(self):
        self.buffer = b""
        self.raw = socket.create_connection(("127.0.0.1", self.farm.smtp), 5)
        self.raw.settimeout(20)
        assert self.line().startswith(b"220")
        self.raw.sendall(b"EHLO client.outside.example\r\n")
        assert self.line().startswith(b"250")

    def transaction(self, job):
        tok, three = job
        a, b = self.farm.a["address"].encode(), self.farm.b["address"].encode()
        to = [a, b, b"nobody-here@" + a.split(b"@")[1]] if three else [a]
        text = lab.mail(tok).encode()
        self.raw.sendall(b"MAIL FROM:<x@outside.example>\r\n" + b"".join(b"RCPT TO:<%s>\r\n" % t for t in to)
                         + b"DATA\r\n")
        replies = [self.line() for _ in range(len(to) + 2)]
        # One of three recipients is not there: the two others get it all the same.
        assert [r[:1] for r in replies[1:-1]] == [b"2", b"2", b"5"][:len(to)], replies
        assert replies[-1].startswith(b"354"), replies
        self.raw.sendall(text + b".\r\n")
        return self.line().startswith(b"250")

    def run(self):
        job, sure = self.next(), None
        while job or sure:
            try:
                if self.raw is None:
                    self.connect()
                    sure = None
                if job is None:
                    self.raw.sendall(b"QUIT\r\n")
                    self.line()
                    return
                if self.transaction(job):
                    self.acked.append(job)
                    job, sure = self.next(), True
                else:
                    raise OSError("refused")
            except (OSError, AssertionError, IndexError):
                if self.raw:
                    self.raw.close()
                self.raw = None
                self.resent += job is not None
                time.sleep(0.05)


def heads(farm, account):
    client = farm.imap_client(account)
    client.select("INBOX", readonly=True)
    kind, data = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    client.logout()
    return [part[1].split(b"<")[1].split(b"@")[0].decode() for part in data if isinstance(part, tuple)]


def test_r08_ten_thousand_messages_and_kills_lose_and_double_nothing(farm):
    jobs = [(token(), n % 10 == 0) for n in range(MESSAGES)]
    everything, lock = list(jobs), threading.Lock()
    senders = [Sender(farm, jobs, lock) for _ in range(SENDERS)]
    dice = random.Random(11)
    began = time.monotonic()
    for s in senders:
        s.start()
    kills, slowest = 0, 0.0
    while any(s.is_alive() for s in senders):
        time.sleep(dice.uniform(0.15, 0.6))
        if time.monotonic() - began > SECONDS_MAX:
            with lock:
                del jobs[:]
        elif jobs and kills < KILLS_MAX:
            farm.kill9()
            kills += 1
            farm.start()
            slowest = max(slowest, farm.ready_s)
        assert time.monotonic() - began < SECONDS_MAX + 60, "the senders do not come to an end"
    acked = [job for s in senders for job in s.acked]
    resent = sum(s.resent for s in senders)
    for account, want in ((farm.a, [t for t, _ in acked]), (farm.b, [t for t, three in acked if three])):
        found = heads(farm, account)
        ours = set(t for t, _ in everything)
        found = [t for t in found if t in ours]
        lost, doubled = set(want) - set(found), len(found) - len(set(found))
        assert not lost and not doubled, "%s: %d lost, %d doubled" % (account["address"], len(lost), doubled)
    print("# %d of %d messages in %.0f s, %d kills, %d sent again, ready after %.2f s at worst: 0 lost, 0 doubled" % (
        len(acked), MESSAGES, time.monotonic() - began, kills, resent, slowest))
    assert slowest <= 3, "ready only after %.1f s" % slowest
    assert kills >= (3 if MESSAGES > 5000 else 1) and len(acked) >= min(MESSAGES, 300), (kills, len(acked))


if __name__ == "__main__":
    lab.main(dict(globals()))
