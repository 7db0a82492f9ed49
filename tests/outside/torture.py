"""Torture mail by SMTP: every message of tests/fixtures/mime through port 25 and through submission, kept byte for byte below our
trace fields, and read back by IMAP without a session that fails."""
import glob
import os
import smtplib

import lab

HERE = os.path.dirname(os.path.abspath(__file__))
MAILS = sorted(p for p in glob.glob(os.path.join(HERE, "..", "fixtures", "mime", "**", "*.eml"), recursive=True) if os.path.isfile(p))


def sendable(raw):
    """As a careful client would send it: CRLF line ends, and a last one; nothing else changed."""
    text = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return text if text.endswith(b"\r\n") else text + b"\r\n"


def data(s, sender, to, text):
    """The whole transaction by hand: smtplib would change line ends."""
    assert s.mail(sender, ["BODY=8BITMIME"])[0] == 250
    code, reply = s.rcpt(to)
    assert code == 250, reply
    s.putcmd("DATA")
    assert s.getreply()[0] == 354
    s.send((b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
    return s.getreply()


def read_all(farm, account):
    """Every message's whole text; and BODYSTRUCTURE and ENVELOPE of each, in one session that must stay alive."""
    client = farm.imap_client(account)
    texts = []
    for folder in ("INBOX", "Junk"):
        kind, data_ = client.select(folder, readonly=True)
        count = int(data_[0]) if kind == "OK" else 0
        for n in range(1, count + 1):
            kind, got = client.fetch(str(n), "(BODY.PEEK[])")
            assert kind == "OK", (n, got)
            texts.append(got[0][1])
            kind, got = client.fetch(str(n), "(UID ENVELOPE BODYSTRUCTURE BODY RFC822.SIZE)")
            assert kind == "OK" and got[0], (n, got)
        if count:
            kind, got = client.fetch("1:*", "(ENVELOPE BODYSTRUCTURE)")
            assert kind == "OK", got
    client.logout()
    return texts


def test_torture_mail_from_outside_is_kept_byte_for_byte(farm):
    sent, refused = [], []
    with smtplib.SMTP("127.0.0.1", farm.smtp, timeout=60, local_hostname="client.outside.example") as s:
        s.ehlo()
        for path in MAILS:
            with open(path, "rb") as f:
                text = sendable(f.read())
            code, reply = data(s, "someone@outside.example", farm.a["address"], text)
            if code == 250:
                sent.append((path, text))
            else:
                assert 500 <= code < 600 and reply, (path, code, reply)
                refused.append((path, reply))
    print("# %d of %d taken by port 25, %d refused" % (len(sent), len(MAILS), len(refused)))
    for path, reply in refused[:5]:
        print("# refused %s: %s" % (os.path.basename(path), reply[:120]))
    assert len(sent) >= 0.9 * len(MAILS), refused[:10]
    texts = read_all(farm, farm.a)
    assert len(texts) == len(sent), (len(texts), len(sent))
    for path, text in sent:
        # We take away only what claims to be ours; these fixtures may carry a Return-Path of theirs.
        kept = b"\r\n".join(line for line in text.split(b"\r\n") if not line.lower().startswith(b"return-path:"))
        found = [got[:len(got) - len(end)] for end in (text, kept) for got in texts if got.endswith(end)]
        assert found, "%s was changed" % path
        assert any(b"Received: from" in head and b"Return-Path:" in head for head in found), path


def test_torture_mail_from_our_people_is_kept_byte_for_byte_in_its_body(farm):
    """Submission may add Date and Message-ID and takes Bcc away; what it does not understand it must not change."""
    sent, refused = [], []
    with smtplib.SMTP_SSL("127.0.0.1", farm.submissions, context=farm.tls(), timeout=60, local_hostname="pc.example") as s:
        s.login(farm.a["address"], farm.a["password"])
        for path in MAILS:
            with open(path, "rb") as f:
                raw = sendable(f.read())
            # Whose mail it is must be said by exactly one From of ours; the rest of the torture stays.
            head, gap, body = raw.partition(b"\r\n\r\n")
            lines, skipping = [], False
            for line in head.split(b"\r\n"):
                if line[:1] in (b" ", b"\t") and skipping:
                    continue
                skipping = line.lower().startswith((b"from:", b"from ", b">from", b"bcc:", b"resent-bcc:"))
                if not skipping:
                    lines.append(line)
            text = b"From: " + farm.a["address"].encode() + b"\r\n" + b"\r\n".join(lines) + gap + body
            code, reply = data(s, farm.a["address"], farm.b["address"], text)
            if code == 250:
                sent.append((path, body))
            else:
                assert 500 <= code < 600 and reply, (path, code, reply)
                refused.append((path, reply))
    print("# %d of %d taken by submission, %d refused" % (len(sent), len(MAILS), len(refused)))
    for path, reply in refused[:5]:
        print("# refused %s: %s" % (os.path.basename(path), reply[:120]))
    assert len(sent) >= 0.9 * len(MAILS), refused[:10]
    texts = read_all(farm, farm.b)
    assert len(texts) == len(sent), (len(texts), len(sent))
    for path, body in sent:
        assert any(got.endswith(body) for got in texts), "%s was changed" % path


if __name__ == "__main__":
    lab.main(globals())
