"""DKIM and ARC with dkimpy on the other side: what we sign it verifies, what it signs we verify."""
import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import traceback

FOLDER = os.path.abspath(os.path.join("target", "outside", "python"))
sys.path.insert(0, FOLDER)
if not os.path.isdir(os.path.join(FOLDER, "authres")):
    # dkimpy seals only with this beside it.
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", FOLDER, "authres"],
                   check=False, timeout=120)

import dkim  # noqa: E402  (after the folder is on the path)

TARGET = os.environ.get("CARGO_TARGET_DIR", "target")
NOW = 1_795_358_886
DOMAIN = "sender.example"
FORMS = [b"simple", b"relaxed"]


def tool(*args, data=b""):
    binary = os.path.join(TARGET, "debug", "examples", "mailauth_tool")
    run = subprocess.run([binary, *map(str, args)], input=data, capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


class Keys:
    """One key of each kind, made by us, and where its public half stands."""

    def __init__(self, folder):
        self.pem, self.zone = {}, {}
        for kind in ("rsa", "ed25519"):
            made = json.loads(tool("keygen", kind))
            self.pem[kind] = os.path.join(folder, kind + ".pem")
            with open(self.pem[kind], "w") as out:
                out.write(made["pem"])
            self.zone["%s._domainkey.%s" % (kind, DOMAIN)] = made["record"]
        self.zone_file = os.path.join(folder, "zone.json")
        with open(self.zone_file, "w") as out:
            json.dump(self.zone, out)

    def answer(self, name, timeout=5):
        return self.zone.get(name.decode().rstrip("."), "").encode()

    def private(self, kind):
        """As dkimpy wants it: PEM for RSA, the bare seed in base64 for Ed25519."""
        with open(self.pem[kind], "rb") as key:
            pem = key.read()
        if kind == "rsa":
            return pem
        der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
        return base64.b64encode(der[-32:])


def messages():
    """Plain, empty, folded, repeated fields, trailing blanks and empty lines, 8-bit.

    The last line of a random body is whole: dkimpy keeps blanks at the end of one that is not, which
    RFC 6376 3.4.4 does not say; no mail arrives so."""
    head = (b"From: Ann <ann@sender.example>\r\nTo: bob@far.example\r\nSubject: Hello\r\n"
            b"Date: Sun, 22 Nov 2026 14:48:06 +0000\r\nMessage-ID: <1@sender.example>\r\n")
    yield head + b"\r\nHello Bob.\r\n"
    yield head + b"\r\n"
    yield head + b"\r\n\r\n\r\n"
    yield head + b"\r\nno line end"
    yield head + b"X-Fold: a\r\n\tb  c \r\nCc:a@b.example,\r\n c@d.example\r\n\r\n  blanks \t here  \r\n\r\n \r\nend \r\n\r\n\r\n"
    yield head + b"Received: one\r\nReceived: two\r\n\r\n" + "Grüße\r\n".encode() * 400
    dice = random.Random(7)
    for _ in range(20):
        body = b"".join(dice.choice([b"a", b" ", b"\t", b"\r\n", b"word", b".", b"\xff"]) for _ in range(60)) + b"\r\n"
        yield head + b"\r\n" + body


def test_dkimpy_verifies_what_we_sign(keys):
    for kind in ("rsa", "ed25519"):
        for mail in messages():
            signed = tool("sign", keys.pem[kind], DOMAIN, kind, NOW, data=mail)
            assert dkim.verify(signed, dnsfunc=keys.answer), (kind, mail)
            broken = signed.replace(b"Hello", b"Hallo", 1)
            assert broken == signed or not dkim.verify(broken, dnsfunc=keys.answer), (kind, mail)


def test_we_verify_what_dkimpy_signs(keys):
    for kind, algorithm in (("rsa", b"rsa-sha256"), ("ed25519", b"ed25519-sha256")):
        for form in [(a, b) for a in FORMS for b in FORMS]:
            for mail in messages():
                field = dkim.sign(mail, kind.encode(), DOMAIN.encode(), keys.private(kind),
                                  canonicalize=form, signature_algorithm=algorithm)
                got = tool("verify", keys.zone_file, NOW, data=field + mail).decode()
                assert got.startswith("pass " + DOMAIN), (kind, form, mail, got)
                changed = tool("verify", keys.zone_file, NOW, data=field + mail.replace(b"Subject: H", b"Subject: h"))
                assert changed.startswith(b"fail"), (kind, form, changed)


def test_we_verify_chains_that_dkimpy_seals(keys):
    mail = next(messages())
    for hop in range(1, 4):
        host = b"lists%d.sender.example" % hop
        # dkimpy takes the state of the chain so far from the sealer's own results.
        seen = b"spf=pass smtp.mailfrom=x@y.example" + (b"; arc=pass" if hop > 1 else b"")
        mail = b"Authentication-Results: " + host + b"; " + seen + b"\r\n" + mail
        mail = b"".join(dkim.arc_sign(mail, b"rsa", DOMAIN.encode(), keys.private("rsa"), host)) + mail
        got = tool("verify", keys.zone_file, NOW, data=mail).decode()
        assert "arc pass" in got, (hop, got)
    got = tool("verify", keys.zone_file, NOW, data=mail.replace(b"Hello Bob", b"Hallo Bob")).decode()
    assert "arc fail" in got, got


def main():
    subprocess.run(["cargo", "build", "--quiet", "-p", "mailauth", "--example", "mailauth_tool"],
                   check=True, timeout=590)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="postroad-dkim-") as folder:
        keys = Keys(folder)
        for name, test in [(n, t) for n, t in globals().items() if n.startswith("test_")]:
            try:
                test(keys)
                print("ok", name)
            except Exception as e:
                failed += 1
                traceback.print_exc()
                print("not ok %s: %s" % (name, str(e)[:300].replace("\n", " ")))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
