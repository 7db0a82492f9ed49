"""R42: back-ups under load are whole and slow nobody, all comes back, and one that was never tried is told."""
import hashlib
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import time

import lab
from lab import run
from replays import ANNA, Load, imap, send, tokens
from serve import Host

LARGE = int(os.environ.get("R42_LARGE", "128"))
MAILBOX = int(os.environ.get("R42_MAILBOX", "4000"))
WINDOWS = int(os.environ.get("R42_WINDOWS", "6"))
SENDERS, RATE = 3, 20
# What a machine that others use too may add even to calm windows; the honest figure is printed.
NOISE_MS = 5


def window(host, busy=None):
    """Sends for three seconds, or as long as `busy` runs."""
    loads = [Load(host, RATE, 3) for _ in range(SENDERS)]
    for load in loads:
        load.start()
    took = None
    if busy:
        began = time.monotonic()
        process = subprocess.Popen([lab.BINARY, "backup", busy, "--config", host.conf], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        while process.poll() is None:
            for load in loads:
                load.seconds = max(load.seconds, time.monotonic() - began + 0.5)
            time.sleep(0.05)
        took = time.monotonic() - began
        assert process.returncode == 0, process.stderr.read()
    for load in loads:
        load.join(60)
    return loads, took


def at(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


def digests(client):
    """Every text of the mailbox by its UID."""
    out = {}
    for uid in client.uid("SEARCH", "ALL")[1][0].split():
        data = client.uid("FETCH", uid, "(BODY.PEEK[])")[1]
        out[uid] = hashlib.sha256(data[0][1]).hexdigest()
    return out


def test_r42_back_ups_under_load_are_whole_and_slow_nobody():
    host = Host(extra="[limits]\nsessions_per_address = 1000")
    try:
        host.people()
        host.start()
        acked = [lab.token() for _ in range(LARGE)]
        for token in acked:
            assert send(host, token, 1 << 20)[0] == 250
        quiet, during, seconds, folder = [], [], [], None
        for n in range(WINDOWS):
            # Quiet and busy windows in turn, so that whatever else the machine does meets both.
            for to in (None, os.path.join(host.dir, "backup%d" % n)):
                loads, took = window(host, to)
                assert not sum(load.lost for load in loads), "messages were refused%s" % (" while a back-up ran" if to else "")
                (during if to else quiet).append([t for load in loads for t in load.times])
                acked += [t for load in loads for t in load.acked]
                if to:
                    seconds.append(took)
                    if folder:
                        shutil.rmtree(folder)
                    folder = to
        middle = lambda windows, share: statistics.median(at(w, share) for w in windows)
        for share in (0.5, 0.95, 0.99):
            before, then = middle(quiet, share), middle(during, share)
            print("# p%d of a transaction: %.1f ms quiet, %.1f ms during a back-up (%+.0f %%); pooled %.1f and %.1f ms" % (
                share * 100, before, then, (then / before - 1) * 100, at(sum(quiet, []), share), at(sum(during, []), share)))
        print("# p99 of each window, quiet %s, during a back-up %s" % (
            *(" ".join("%.0f" % at(w, 0.99) for w in windows) for windows in (quiet, during)),))
        print("# %d back-ups of %d MiB in %.1f s each; %d and %d messages" % (
            WINDOWS, LARGE, statistics.median(seconds), sum(map(len, quiet)), sum(map(len, during))))
        client = imap(host)
        validity = client.response("UIDVALIDITY")[1]
        assert sorted(tokens(client)) == sorted(acked), "lost or doubled under the back-ups"
        # Once more into the same folder: only what is new.
        late = lab.token()
        assert send(host, late)[0] == 250
        again = host.cli("backup", folder).stdout
        wanted = digests(client)
        client.select("INBOX")
        wanted = digests(client)
        client.logout()
        assert len(wanted) == len(acked) + 1
        host.stop()
        assert "sound" in host.cli("verify", folder).stdout
        shutil.rmtree(os.path.join(host.dir, "data"))
        began = time.monotonic()
        host.cli("restore", folder)
        took = time.monotonic() - began
        os.remove(os.path.join(host.dir, "log"))
        host.start()
        client = imap(host)
        assert client.response("UIDVALIDITY")[1] == validity, "a restored back-up keeps UIDVALIDITY"
        found = digests(client)
        client.logout()
        same = sum(found.get(uid) == text for uid, text in wanted.items())
        print("# restored in %.1f s: %d of %d texts under their own UID; the last back-up said: %s" % (
            took, same, len(wanted), again.strip()))
        assert same == len(wanted) == len(found), "%d of %d came back, %d strange" % (same, len(wanted), len(found) - same)
        assert "sound" in host.cli("verify").stdout
        # Others on the machine only ever add, in bursts of several windows: the calmer half of each kind is compared.
        calm = lambda windows, share: statistics.median(sorted(at(w, share) for w in windows)[:(len(windows) + 1) // 2])
        for share, noise in ((0.99, NOISE_MS), (0.95, NOISE_MS), (0.5, NOISE_MS / 2)):
            before, then = calm(quiet, share), calm(during, share)
            print("# calmer half, p%d: %.1f ms quiet, %.1f ms during a back-up (%+.0f %%)" % (
                share * 100, before, then, (then / before - 1) * 100))
            assert then <= before * 1.1 + noise, "back-ups slow mail: p%d %.1f ms against %.1f ms" % (share * 100, then, before)
    finally:
        host.close()


def test_r42_a_back_up_that_was_never_restored_for_thirty_days_is_told():
    host = Host()
    try:
        host.people()
        host.start()
        assert "no backup of this host was ever made" in host.cli("doctor", check=False).stdout
        folder = os.path.join(host.dir, "backup")
        token = lab.token()
        assert send(host, token)[0] == 250
        host.cli("backup", folder)
        assert "a restore was never tried yet" in host.cli("doctor", check=False).stdout

        def aged(name, days):
            """As if it had been so many days ago: the index is changed while nobody uses it."""
            host.stop()
            with sqlite3.connect(os.path.join(host.dir, "data", "index.sqlite")) as conn:
                done = conn.execute("UPDATE knob SET value = value - ? WHERE name = ?", (days * 86_400_000, name))
                assert done.rowcount == 1, "no %s is noted" % name
            os.remove(os.path.join(host.dir, "log"))
            host.start()
            return host.cli("doctor", check=False).stdout

        says = aged("backup.first", 31)
        assert "no restore was ever tried" in says and "!!" in says, says
        # One mailbox out of it is a try.
        done = host.cli("restore", folder, "--mailbox", "anna@serve.example").stdout
        assert "were still there" in done, done
        says = host.cli("doctor", check=False).stdout
        assert "a restore was tried" in says, says
        os.remove(os.path.join(folder, "last-restored"))
        says = aged("backup.tried", 31)
        assert "no restore was tried for" in says, says
        # And so is the whole of it, elsewhere: it leaves its note in the back-up's folder.
        other = os.path.join(host.dir, "elsewhere")
        done = run([lab.BINARY, "--data", other, "restore", folder])
        assert done.returncode == 0, done.stderr
        says = host.cli("doctor", check=False).stdout
        assert "a restore was tried" in says, says
    finally:
        host.close()


def test_r42_a_mailbox_of_thousands_comes_back_within_a_minute():
    host = Host(extra="[limits]\nsessions_per_address = 1000")
    try:
        host.people()
        host.start()
        done = run(["smtp-source", "-s", "10", "-m", str(MAILBOX), "-l", "10240", "-M", "client.outside.example",
                    "-f", "x@outside.example", "-t", ANNA, "127.0.0.1:%d" % host.smtp], timeout=200)
        assert done.returncode == 0, done.stderr
        client = imap(host)
        uids = client.uid("SEARCH", "ALL")[1][0].split()
        assert len(uids) == MAILBOX, len(uids)
        client.uid("STORE", b",".join(uids[::7]), "+FLAGS.SILENT", "(\\Flagged)")
        sample = {uid: client.uid("FETCH", uid, "(BODY.PEEK[])")[1][0][1] for uid in uids[::97]}
        folder = os.path.join(host.dir, "backup")
        host.cli("backup", folder)
        client.store("1:*", "+FLAGS.SILENT", "\\Deleted")
        client.expunge()
        assert not client.uid("SEARCH", "ALL")[1][0]
        began = time.monotonic()
        says = json.loads(host.cli("restore", folder, "--mailbox", ANNA, "--json").stdout)
        took = time.monotonic() - began
        assert (says["taken"], says["there"], says["failed"]) == (MAILBOX, 0, []), says
        client.select("INBOX")
        assert len(client.uid("SEARCH", "ALL")[1][0].split()) == MAILBOX
        assert len(client.uid("SEARCH", "FLAGGED")[1][0].split()) == len(uids[::7])
        back = client.uid("SEARCH", "ALL")[1][0].split()
        for n, text in enumerate(sample.values()):
            # They come back in the order in which they lay.
            assert client.uid("FETCH", back[n * 97], "(BODY.PEEK[])")[1][0][1] == text, "text %d came back changed" % (n * 97)
        client.logout()
        print("# one mailbox of %d messages, %d MiB, came back into the running host in %.1f s" % (
            MAILBOX, says["bytes"] >> 20, took))
        assert took <= 60, took
    finally:
        host.close()


if __name__ == "__main__":
    lab.main({k: v for k, v in globals().items() if k.startswith("test_r42")}, farm=False)
