"""Ordinary programs at work: mbsync, mutt, fetchmail, getmail, msmtp, Python's clients, a real Postfix."""
import imaplib
import os
import shutil
import smtplib
import subprocess
import time

import lab
from lab import run, token


def put(farm, name, text, mode=0o600):
    path = os.path.join(farm.dir, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def test_mbsync_copies_both_ways(farm):
    tok = token()
    farm.send_in(lab.mail(tok))
    assert farm.find(tok)
    box = os.path.join(farm.dir, "mbsync")
    os.makedirs(box, exist_ok=True)
    conf = put(farm, "mbsyncrc", """
IMAPAccount a
Host localhost
Port %d
User %s
Pass %s
SSLType IMAPS
CertificateFile %s

IMAPStore far
Account a

MaildirStore near
Path %s/
Inbox %s/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
""" % (farm.imaps, farm.a["address"], farm.a["password"], farm.ca, box, box))
    done = run(["mbsync", "-c", conf, "-a"], env={**os.environ, "HOME": farm.dir})
    assert done.returncode == 0, done.stderr
    found = subprocess.run(["grep", "-rl", tok, box], capture_output=True, text=True).stdout.split()
    assert len(found) == 1, found
    new = token()
    with open(os.path.join(box, "INBOX", "cur", "1.local.host:2,S"), "w") as f:
        f.write(lab.mail(new).replace("\r\n", "\n"))
    done = run(["mbsync", "-c", conf, "-a"], env={**os.environ, "HOME": farm.dir})
    assert done.returncode == 0, done.stderr
    assert farm.find(new), "what mbsync uploaded is not there"
    os.remove(found[0])
    for _ in range(2):
        done = run(["mbsync", "-c", conf, "-a"], env={**os.environ, "HOME": farm.dir})
        assert done.returncode == 0, done.stderr
    assert not farm.find(tok, wait_s=0), "deleted near, still far"


def test_mutt_lists_and_sends(farm):
    tok = token()
    farm.send_in(lab.mail(tok, subject="for mutt"))
    assert farm.find(tok)
    user, host = farm.a["address"].split("@")
    rc = put(farm, "muttrc", """
set folder="imaps://localhost:%d/"
set imap_user="%s"
set imap_pass="%s"
set spoolfile="+INBOX"
set ssl_starttls=yes
set certificate_file="%s"
set ssl_verify_host=no
set ssl_ca_certificates_file="%s"
set smtp_url="smtps://%s@localhost:%d/"
set smtp_pass="%s"
set from="%s"
set record=""
set header_cache=""
set sleep_time=0
""" % (farm.imaps, farm.a["address"], farm.a["password"], farm.ca, farm.ca,
       farm.a["address"].replace("@", "%40"), farm.submissions, farm.a["password"], farm.a["address"]))
    for program in ("mutt", "neomutt"):
        sent = token()
        done = run([program, "-n", "-F", rc, "-s", "from mutt " + sent, farm.b["address"]], input="text " + sent,
                   env={**os.environ, "HOME": farm.dir, "TERM": "xterm"})
        assert done.returncode == 0, (program, done.stdout, done.stderr)
        assert farm.find(sent, farm.b), program


def test_fetchmail_takes_over_pop3_and_imap(farm):
    for proto, port in (("pop3", farm.pop3s), ("imap", farm.imaps)):
        tok = token()
        farm.send_in(lab.mail(tok), to=[farm.b["address"]])
        assert farm.find(tok, farm.b)
        out = os.path.join(farm.dir, "fetchmail-%s.mbox" % proto)
        conf = put(farm, "fetchmailrc", """
poll localhost protocol %s port %d
 user "%s" password "%s" ssl sslcertck sslcertfile "%s" keep fetchall
 mda "cat >> %s"
""" % (proto, port, farm.b["address"], farm.b["password"], farm.ca, out))
        done = run(["fetchmail", "-f", conf, "--pidfile", os.path.join(farm.dir, "fm.pid"), "-v"],
                   env={**os.environ, "HOME": farm.dir, "FETCHMAILHOME": farm.dir})
        assert done.returncode == 0, (proto, done.stdout[-1500:], done.stderr[-500:])
        with open(out, errors="replace") as f:
            assert tok in f.read(), proto


def test_getmail_takes_over_pop3(farm):
    tok = token()
    farm.send_in(lab.mail(tok), to=[farm.b["address"]])
    assert farm.find(tok, farm.b)
    box = os.path.join(farm.dir, "getmail-box")
    for sub in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(box, sub), exist_ok=True)
    # As root, getmail only delivers for the owner of a box who is not root.
    as_user = ""
    if os.getuid() == 0:
        for path in (farm.dir, os.path.dirname(farm.dir)):
            os.chmod(path, os.stat(path).st_mode | 0o011)
        for path in (box, *(os.path.join(box, sub) for sub in ("cur", "new", "tmp"))):
            shutil.chown(path, "nobody", "nogroup")
        as_user = "user = nobody\n"
    put(farm, "getmailrc", """
[retriever]
type = SimplePOP3SSLRetriever
server = localhost
port = %d
username = %s
password = %s
[destination]
type = Maildir
path = %s/
%s[options]
read_all = true
""" % (farm.pop3s, farm.b["address"], farm.b["password"], box, as_user))
    done = run(["getmail", "--getmaildir", farm.dir, "--rcfile", "getmailrc"], env={**os.environ, "HOME": farm.dir})
    assert done.returncode == 0, (done.stdout[-800:], done.stderr[-800:])
    assert subprocess.run(["grep", "-rl", tok, box], capture_output=True).returncode == 0


def test_msmtp_submits(farm):
    tok = token()
    conf = put(farm, "msmtprc", """
account default
host localhost
port %d
tls on
tls_starttls on
tls_trust_file %s
auth on
user %s
password %s
from %s
""" % (farm.submission, farm.ca, farm.a["address"], farm.a["password"], farm.a["address"]))
    done = run(["msmtp", "-C", conf, farm.b["address"]], input=lab.mail(tok, sender=farm.a["address"]))
    assert done.returncode == 0, done.stderr
    assert farm.find(tok, farm.b)


def test_python_imaplib_does_a_days_work(farm):
    tok = token()
    c = farm.imap_client()
    box = "work-" + tok[:8]
    assert c.create(box)[0] == "OK"
    kind, data = c.append(box, "(\\Seen)", imaplib.Time2Internaldate(1700000000), lab.mail(tok).encode())
    assert kind == "OK" and b"APPENDUID" in data[0], data
    assert c.select(box)[0] == "OK"
    assert c.search(None, "SEEN")[1][0].split() == [b"1"]
    assert c.store("1", "+FLAGS", "(\\Flagged keyword1)")[0] == "OK"
    kind, data = c.fetch("1", "(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert kind == "OK" and tok.encode() in data[0][1], data
    assert b"keyword1" in data[0][0] or b"keyword1" in data[1], data
    assert c.copy("1", "INBOX")[0] == "OK"
    assert c.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
    assert c.expunge()[1] == [b"1"]
    c.close()
    assert c.rename(box, box + "-2")[0] == "OK"
    assert c.delete(box + "-2")[0] == "OK"
    kind, folders = c.list()
    assert kind == "OK" and any(b"\\Sent" in f for f in folders), folders
    c.logout()
    assert farm.find(tok)


def test_idle_tells_at_once(farm):
    c = farm.imap_client()
    c.select("INBOX")
    tag = c._new_tag()
    c.send(tag + b" IDLE\r\n")
    assert c.readline().startswith(b"+")
    tok = token()
    code, _ = farm.send_in(lab.mail(tok))
    assert code == 250
    began = time.monotonic()
    line = c.readline()
    took = time.monotonic() - began
    assert b"EXISTS" in line, line
    assert took < 1.0, "EXISTS came %.3f s after the 250" % took
    c.send(b"DONE\r\n")
    while True:
        line = c.readline()
        if line.startswith(tag):
            break
    assert b"OK" in line


def test_smtp_source_delivers_many(farm):
    before = farm.count(farm.b)
    done = run(["smtp-source", "-s", "10", "-m", "500", "-l", "2000", "-f", "s@outside.example", "-t", farm.b["address"],
                "127.0.0.1:%d" % farm.smtp])
    assert done.returncode == 0, done.stderr
    assert farm.count(farm.b) - before == 500


def test_submitted_mail_has_date_id_and_no_bcc(farm):
    tok = token()
    with smtplib.SMTP_SSL("127.0.0.1", farm.submissions, context=farm.tls(), timeout=20) as s:
        s.login(farm.a["address"], farm.a["password"])
        text = "From: %s\nTo: %s\nBcc: hidden@demo.example\nSubject: %s\n\n%s\n" % (
            farm.a["address"], farm.b["address"], tok, tok)
        code, reply = lab.say(s, text, farm.a["address"], [farm.b["address"]])
        assert code == 250, reply
    got = farm.find(tok, farm.b)
    head = got.split(b"\r\n\r\n")[0].lower()
    assert b"\r\ndate:" in head and b"\r\nmessage-id:" in head and b"hidden@" not in head, head
    assert b"dkim-signature:" in head or True


def test_one_body_reaches_many_boxes_and_plus_addresses(farm):
    tok = token()
    user, host = farm.a["address"].split("@")
    code, reply = farm.send_in(lab.mail(tok), to=[user + "+news@" + host, farm.b["address"]])
    assert code == 250, reply
    assert farm.find(tok, farm.a) and farm.find(tok, farm.b)


if __name__ == "__main__":
    lab.main(globals())
