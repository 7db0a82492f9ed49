"""What the README promises: one command, then a message sent by an ordinary program is read by another."""
import os
import poplib
import time

import lab
from lab import run, token


def test_up_says_everything_on_one_line(farm):
    for key in ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "http"):
        assert isinstance(farm.facts[key], int) and farm.facts[key] > 0, key
    assert os.path.isfile(farm.facts["ca"]), farm.facts["ca"]
    assert os.path.isdir(farm.facts["data"])
    assert len(farm.accounts) >= 2 and all("@" in a["address"] and a["password"] for a in farm.accounts)


def test_swaks_sends_and_curl_reads(farm):
    tok = token()
    done = run(["swaks", "--server", "127.0.0.1", "--port", str(farm.smtp), "--from", "friend@outside.example", "--to",
                farm.a["address"], "--header", "Subject: hello " + tok, "--body", "a body with " + tok])
    assert done.returncode == 0, done.stdout[-800:]
    assert "m=" in done.stdout, "the 250 carries no message id"
    assert farm.find(tok), "not in the mailbox"
    url = "imaps://127.0.0.1:%d/INBOX" % farm.imaps
    done = run(["curl", "-sS", "--insecure", "--user", "%s:%s" % (farm.a["address"], farm.a["password"]), url, "-X",
                "UID SEARCH TEXT " + tok])
    assert done.returncode == 0 and "SEARCH" in done.stdout, done.stdout + done.stderr
    uid = done.stdout.split()[-1]
    done = run(["curl", "-sS", "--cacert", farm.ca, "--resolve", "localhost:%d:127.0.0.1" % farm.imaps, "--user",
                "%s:%s" % (farm.a["address"], farm.a["password"]), "imaps://localhost:%d/INBOX;UID=%s" % (farm.imaps, uid)])
    assert tok in done.stdout, done.stdout + done.stderr


def test_swaks_submits_with_starttls_and_auth(farm):
    tok = token()
    done = run(["swaks", "--server", "127.0.0.1", "--port", str(farm.submission), "-tls", "--auth", "PLAIN", "--auth-user",
                farm.a["address"], "--auth-password", farm.a["password"], "--from", farm.a["address"], "--to",
                farm.b["address"], "--header", "Subject: " + tok, "--body", tok])
    assert done.returncode == 0, done.stdout[-1500:]
    got = farm.find(tok, farm.b)
    assert got and b"ESMTPSA" in got, got


def test_swaks_submits_over_implicit_tls_with_every_mechanism(farm):
    for mechanism in ("PLAIN", "LOGIN"):
        tok = token()
        done = run(["swaks", "--server", "127.0.0.1", "--port", str(farm.submissions), "-tlsc", "--auth", mechanism,
                    "--auth-user", farm.a["address"], "--auth-password", farm.a["password"], "--from", farm.a["address"],
                    "--to", farm.b["address"], "--body", tok])
        assert done.returncode == 0, (mechanism, done.stdout[-1500:])
        assert farm.find(tok, farm.b), mechanism


def test_curl_submits_with_scram(farm):
    tok = token()
    path = os.path.join(farm.dir, "mail.txt")
    with open(path, "w", newline="") as f:
        f.write(lab.mail(tok, sender=farm.a["address"]))
    done = run(["curl", "-sS", "--insecure", "smtps://127.0.0.1:%d" % farm.submissions, "--mail-from", farm.a["address"],
                "--mail-rcpt", farm.b["address"], "--user", "%s:%s" % (farm.a["address"], farm.a["password"]),
                "--login-options", "AUTH=SCRAM-SHA-256", "-T", path])
    # curl may be built without SCRAM; then it says so and this test falls back to PLAIN
    if done.returncode == 67 or "SCRAM" in done.stderr:
        done = run(["curl", "-sS", "--insecure", "smtps://127.0.0.1:%d" % farm.submissions, "--mail-from",
                    farm.a["address"], "--mail-rcpt", farm.b["address"], "--user",
                    "%s:%s" % (farm.a["address"], farm.a["password"]), "-T", path])
    assert done.returncode == 0, done.stderr
    assert farm.find(tok, farm.b)


def test_pop3_lists_and_reads(farm):
    tok = token()
    farm.send_in(lab.mail(tok))
    assert farm.find(tok)
    p = poplib.POP3_SSL("127.0.0.1", farm.pop3s, context=farm.tls(), timeout=20)
    p.user(farm.a["address"])
    p.pass_(farm.a["password"])
    number, _ = p.stat()
    assert number >= 1
    uidl = p.uidl()[1]
    assert len(set(u.split()[1] for u in uidl)) == number
    found = any(tok.encode() in b"\r\n".join(p.retr(i)[1]) for i in range(1, number + 1))
    top = p.top(number, 0)
    p.quit()
    assert found and top


def test_why_explains_the_message(farm):
    tok = token()
    code, reply = farm.send_in(lab.mail(tok))
    assert code == 250, reply
    mid = reply.decode().split("m=")[1].split()[0].rstrip(".,;)")
    assert farm.find(tok)
    walk = farm.cli("why", "m=" + mid)
    assert "outside.example" in walk and farm.a["address"] in walk, walk
    by_address = farm.cli("why", farm.a["address"])
    assert mid in by_address, by_address


def test_stop_and_start_keeps_the_mail(farm):
    tok = token()
    code, reply = farm.send_in(lab.mail(tok))
    assert code == 250, reply
    assert farm.find(tok)
    assert farm.stop() == 0, "not a clean stop"
    farm.start()
    assert farm.find(tok), "gone after a restart"


def test_kill_right_after_the_250_keeps_the_mail(farm):
    for _ in range(3):
        tok = token()
        raw = farm.raw(farm.smtp)
        raw.reply()
        raw.ask(b"EHLO client.outside.example\r\n")
        raw.ask(b"MAIL FROM:<x@outside.example>\r\n")
        raw.ask(b"RCPT TO:<%s>\r\n" % farm.a["address"].encode())
        raw.ask(b"DATA\r\n")
        reply = raw.ask(lab.mail(tok).encode() + b".\r\n")
        assert reply.startswith(b"250"), reply
        farm.kill9()
        raw.close()
        began = time.monotonic()
        farm.start()
        took = time.monotonic() - began
        assert took <= 3.0, "start took %.2f s" % took
        assert len(farm.find_all(tok)) == 1


if __name__ == "__main__":
    lab.main(globals())
