"""A 250 that is lost on the way: the sender comes again, and one copy lies in the mailbox, whatever was killed."""
import random
import socket
import threading
import time

import lab
from lab import token


def transaction(farm, text, to):
    """Speaks up to the final dot, which is left to the caller."""
    raw = farm.raw(farm.smtp)
    assert raw.reply().startswith(b"220")
    raw.ask(b"EHLO client.outside.example\r\n")
    raw.send(b"MAIL FROM:<x@outside.example>\r\nRCPT TO:<%s>\r\nDATA\r\n" % to.encode())
    for want in (b"250", b"250", b"354"):
        reply = raw.reply()
        assert reply.startswith(want), reply
    raw.send(text.encode())
    return raw


def copies(farm, tok, account=None):
    return len(farm.find_all(tok, account, wait_s=5))


def test_a_lost_reply_makes_no_second_copy(farm):
    tok = token()
    text = lab.mail(tok)
    ids = []
    for confirm in (False, False, True):
        raw = transaction(farm, text, farm.a["address"])
        reply = raw.ask(b".\r\n")
        assert reply.startswith(b"250"), reply
        ids.append(reply.split(b"m=")[1].split()[0])
        if confirm:
            raw.ask(b"QUIT\r\n")
        raw.close()
        time.sleep(0.1)
    assert len(set(ids)) == 1, ids
    assert copies(farm, tok) == 1
    # Now the sender knows that we have it: the same bytes again are a new message.
    raw = transaction(farm, text, farm.a["address"])
    reply = raw.ask(b".\r\n")
    raw.ask(b"QUIT\r\n")
    assert reply.split(b"m=")[1].split()[0] != ids[0]
    assert copies(farm, tok) == 2


def test_what_only_looks_alike_is_kept(farm):
    tok = token()
    text = lab.mail(tok)
    for changed in (text, text.replace("the token is", "the token was"), text.replace("a test", "another test")):
        raw = transaction(farm, changed, farm.a["address"])
        assert raw.ask(b".\r\n").startswith(b"250")
        raw.close()
    raw = transaction(farm, text, farm.b["address"])
    assert raw.ask(b".\r\n").startswith(b"250")
    raw.close()
    assert copies(farm, tok) == 3
    assert copies(farm, tok, farm.b) == 1


def test_a_reply_lost_by_kill_makes_no_second_copy(farm):
    for round_ in range(3):
        tok = token()
        text = lab.mail(tok)
        raw = transaction(farm, text, farm.a["address"])
        raw.ask(b".\r\n")
        farm.kill9()
        raw.close()
        farm.start()
        raw = transaction(farm, text, farm.a["address"])
        assert raw.ask(b".\r\n").startswith(b"250")
        raw.ask(b"QUIT\r\n")
        assert copies(farm, tok) == 1, "round %d" % round_


def sender(farm, jobs, stop):
    """Sends each message until its 250 was read and QUIT answered, as a queue does."""
    while not stop.is_set() and jobs:
        tok = jobs.pop()
        text = lab.mail(tok)
        while True:
            try:
                raw = transaction(farm, text, farm.a["address"])
                reply = raw.ask(b".\r\n")
                if reply.startswith(b"250"):
                    raw.send(b"QUIT\r\n")
                    raw.reply()
                    break
            except (OSError, AssertionError, IndexError):
                time.sleep(0.05)


def test_kills_at_random_lose_nothing_and_double_nothing(farm):
    toks = [token() for _ in range(400)]
    jobs = list(toks)
    stop = threading.Event()
    threads = [threading.Thread(target=sender, args=(farm, jobs, stop), daemon=True) for _ in range(8)]
    dice = random.Random(7)
    for t in threads:
        t.start()
    kills = 0
    until = time.monotonic() + 90
    while any(t.is_alive() for t in threads) and time.monotonic() < until:
        time.sleep(dice.uniform(0.1, 0.5))
        if jobs and kills < 12:
            farm.kill9()
            kills += 1
            farm.start()
            assert farm.ready_s <= 3, "ready after %.1f s" % farm.ready_s
    for t in threads:
        t.join(10)
    assert not jobs, "%d messages are still to be sent" % len(jobs)
    client = farm.imap_client()
    client.select("INBOX", readonly=True)
    kind, data = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    heads = b"".join(part[1] for part in data if isinstance(part, tuple)).decode()
    client.logout()
    counts = [heads.count(tok) for tok in toks]
    lost, doubled = sum(c == 0 for c in counts), sum(c > 1 for c in counts)
    print("# %d messages, %d kills: %d lost, %d doubled" % (len(toks), kills, lost, doubled))
    assert kills >= 3 and (lost, doubled) == (0, 0), (kills, lost, doubled)


def test_chunks_and_pipelines_on_the_wire(farm):
    tok = token()
    text = lab.mail(tok).encode()
    half = len(text) // 2
    raw = farm.raw(farm.smtp)
    raw.reply()
    raw.ask(b"EHLO client.outside.example\r\n")
    raw.send(b"MAIL FROM:<x@outside.example>\r\nRCPT TO:<%s>\r\nBDAT %d\r\n%sBDAT %d LAST\r\n%sQUIT\r\n" % (
        farm.a["address"].encode(), half, text[:half], len(text) - half, text[half:]))
    for want in (b"250", b"250", b"250", b"250", b"221"):
        reply = raw.reply()
        assert reply.startswith(want), reply
    assert farm.find(tok).endswith(text[-40:])


if __name__ == "__main__":
    socket.setdefaulttimeout(30)
    lab.main(globals())
