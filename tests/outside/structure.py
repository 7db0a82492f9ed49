"""The torture messages of tests/fixtures/mime as Dovecot and Python read them, beside ours.

Dovecot: ENVELOPE and BODYSTRUCTURE of every case, compared after taking the IMAP strings apart.
Python's email package: the bodies of all leaves, byte for byte. Where we differ on purpose the case
stands in a list below with the reason; a case there that does not differ any more fails too.
"""
import email
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "..", "fixtures", "mime")
TARGET = os.environ.get("CARGO_TARGET_DIR", "target")

LENIENT = "we read on where Dovecot gives up"
BROKEN_TYPE = "RFC 2045 5.2: a broken Content-Type means text/plain"
DOVECOT = {
    "envelope": {
        "ends-cr-only": LENIENT,
        "header-address-angle-double": LENIENT,
        "header-address-angle-only-open": "no SYNTAX_ERROR domain",
        "header-address-angle-open": LENIENT,
        "header-address-angle-twice": "an address before an address in brackets is its name",
        "header-address-backslashes": LENIENT,
        "header-address-commas-leading": "empty elements are no addresses (RFC 5322 4.4)",
        "header-address-commas-only": "empty elements are no addresses (RFC 5322 4.4)",
        "header-address-comment-open": LENIENT,
        "header-address-dots-spaced": "RFC 5322 4.4: blanks around dots",
        "header-address-encoded-raw-comma": "an encoded word is one word, whatever is in it",
        "header-address-group-in-group": LENIENT,
        "header-address-literal-open": LENIENT,
        "header-address-no-local-angle": "no INVALID_ROUTE",
        "header-address-quote-open": LENIENT,
        "header-address-quoted-local": "an empty local part is a missing one",
        "header-address-route-broken": "no INVALID_ROUTE",
        "header-address-semicolons": "semicolons divide addresses, as Outlook writes them",
        "header-address-unquoted-at-in-name": "an address before an address in brackets is its name",
        "header-blank-values": "blanks around a value are no value",
        "header-id-folded": "blanks around a value are no value",
        "header-nul": "a NUL in a domain does not end it",
        "header-word-broken-many": "a run of broken words is cut at other places",
    },
    "bodystructure": {
        "disposition-empty": "an empty disposition is none",
        "disposition-no-type": "a disposition without a type is none",
        "encoding-semicolon": "base64 with a parameter is base64",
        "encoding-two-words": "the token is given as it is",
        "fields-folded": "blanks around a value are no value",
        "header-empty-values": BROKEN_TYPE,
        "message-cut-by-boundary": "the line ending before a boundary belongs to it (RFC 2046 5.1.1)",
        "message-global": "RFC 6532: message/global is a message",
        "multi-digest-broken-type": BROKEN_TYPE,
        "multi-empty-boundary": "an empty boundary is none",
        "type-continuation-gap": "pieces are joined across a gap",
        "type-many-parameters": "parameters are kept beyond a hundred",
        "type-no-semicolon": BROKEN_TYPE,
        "type-no-slash": BROKEN_TYPE,
        "type-no-subtype": BROKEN_TYPE,
        "type-no-type": BROKEN_TYPE,
        "type-none-said": BROKEN_TYPE,
        "type-quote-open": LENIENT,
        "type-tspecials": "an unquoted value ends at a blank or semicolon",
    },
}
HEADER = "Python ends a header at a line without a colon; we read on to the empty line, as Dovecot does"
BARE_CR = "Python ends lines at a bare CR"
PREFIX = "a boundary matches by its beginning, as in Dovecot"
PYTHON = {
    "ends-cr-crlf": BARE_CR,
    "ends-cr-only": BARE_CR,
    "ends-field-name-only": HEADER,
    "header-bare-cr-in-value": BARE_CR,
    "header-blank-before-colon": "RFC 5322 4.5: blanks may stand before the colon",
    "header-escaped-mbox-line": HEADER,
    "header-no-colon": HEADER,
    "header-no-colon-first": HEADER,
    "header-nul-in-name": HEADER,
    "message-base64": "the message inside is looked for in the bytes as they stand",
    "message-external": "only message/rfc822 and message/global are opened",
    "message-garbage": HEADER,
    "message-partial": "only message/rfc822 and message/global are opened",
    "message-too-deep": "a hundred levels are the end",
    "multi-boundary-blank-at-end": "Python takes no closing boundary with a blank inside",
    "multi-boundary-in-line": PREFIX,
    "multi-boundary-prefix": PREFIX,
    "multi-boundary-too-long": "boundaries are compared by their first 80 octets, as in Dovecot",
    "multi-boundary-utf8": "Python cannot match 8-bit boundaries",
    "multi-cr-only": BARE_CR,
    "multi-cut-after-boundary": "a boundary without a line end begins no part, as in Dovecot",
    "multi-empty-boundary": "an empty boundary is none",
    "multi-empty-parts": "Python merges boundaries that follow each other",
    "multi-end-first": "a closing boundary first means no parts, as in Dovecot",
    "multi-nested-same-boundary": "Python gives the boundary to the outer multipart",
    "multi-never-closed": "Python takes the last line end off a part that is never closed",
    "multi-no-blank-line": HEADER,
    "multi-only-end": "a closing boundary first means no parts, as in Dovecot",
    "multi-part-bad-fields": HEADER,
    "multi-report": "Python opens message/delivery-status",
    "multi-text-after-boundary": PREFIX,
    "multi-too-deep": "a hundred levels are the end",
}

CONFIG = """base_dir={0}/run
state_dir={0}/run
mail_location=maildir:{0}/mail
first_valid_uid=1
first_valid_gid=1
log_path={0}/log
ssl=no
"""


def cases():
    out = {}
    for name in sorted(os.listdir(CASES)):
        if name.endswith(".eml"):
            with open(os.path.join(CASES, name), "rb") as file:
                # Dovecot counts LF as CRLF; give both the same bytes.
                out[name[:-4]] = re.sub(rb"\r?\n", b"\r\n", file.read())
    return out


def ours(messages, folder):
    subprocess.run(["cargo", "build", "--quiet", "-p", "message", "--example", "summarize"], check=True, timeout=590)
    paths = []
    for name, data in messages.items():
        paths.append(os.path.join(folder, name + ".crlf"))
        with open(paths[-1], "wb") as file:
            file.write(data)
    binary = os.path.join(TARGET, "debug", "examples", "summarize")
    run = subprocess.run([binary, *paths], capture_output=True, check=True, timeout=60)
    return dict(zip(messages, map(json.loads, run.stdout.decode().splitlines())))


class Tokens:
    """An IMAP list as nested Python lists; NIL is None."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def value(self):
        c = self.data[self.at:self.at + 1]
        if c == b"(":
            self.at += 1
            out = []
            while self.data[self.at:self.at + 1] != b")":
                if self.at >= len(self.data):
                    raise ValueError("the list has no end")
                if self.data[self.at:self.at + 1] == b" ":
                    self.at += 1
                    continue
                out.append(self.value())
            self.at += 1
            return out
        if c == b'"':
            match = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.S).match(self.data, self.at)
            self.at = match.end()
            return re.sub(rb"\\(.)", rb"\1", match[1], flags=re.S)
        if c == b"{":
            match = re.compile(rb"\{(\d+)\}\r\n").match(self.data, self.at)
            self.at = match.end() + int(match[1])
            return self.data[match.end():self.at]
        match = re.compile(rb"[^ ()]+").match(self.data, self.at)
        self.at = match.end()
        return None if match[0] == b"NIL" else match[0]


def dovecot(messages, folder):
    """ENVELOPE and BODYSTRUCTURE as Dovecot's imap process answers them, without a server."""
    mail = os.path.join(folder, "mail")
    for sub in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(mail, sub))
    for i, data in enumerate(messages.values()):
        with open(os.path.join(mail, "cur", "%d.m%d.x:2," % (1_000_000 + i, i)), "wb") as file:
            file.write(data)
    config = os.path.join(folder, "dovecot.conf")
    with open(config, "w") as file:
        file.write(CONFIG.format(folder))
    command, user = ["/usr/lib/dovecot/imap", "-c", config], pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:
        user = "mail"
        os.chmod(folder, 0o755)
        subprocess.run(["chown", "-R", "mail:mail", folder], check=True)
        command = ["setpriv", "--reuid=mail", "--regid=mail", "--clear-groups", *command]
    ask = b"1 SELECT INBOX\r\n2 FETCH 1:* ENVELOPE\r\n3 FETCH 1:* BODYSTRUCTURE\r\n4 LOGOUT\r\n"
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               cwd=folder, env={"USER": user, "HOME": folder, "PATH": os.environ["PATH"]})
    # It stops writing when its input ends, so that stays open until it has logged out.
    guard = threading.Timer(60, process.kill)
    guard.start()
    process.stdin.write(ask)
    process.stdin.flush()
    answers = process.stdout.read()
    guard.cancel()
    process.stdin.close()
    process.wait(timeout=10)
    names, out, at = list(messages), {name: {} for name in messages}, 0
    start = re.compile(rb"\* (\d+) FETCH \((ENVELOPE|BODYSTRUCTURE) ")
    while match := start.search(answers, at):
        tokens = Tokens(answers, match.end())
        out[names[int(match[1]) - 1]][match[2].decode().lower()] = tokens.value()
        at = tokens.at
    return out


def python_leaves(data):
    out = []
    for part in email.message_from_bytes(data).walk():
        if not part.is_multipart():
            body = part._payload  # get_payload() would decode
            out.append(re.sub(rb"\r?\n", b"\r\n", (body or "").encode("utf-8", "surrogateescape")))
    return out


def our_leaves(data, parts):
    out = []
    for i, (depth, _, start, end, _) in enumerate(parts):
        if i + 1 == len(parts) or parts[i + 1][0] <= depth:
            out.append(data[start:end])
    return out


def report(name, known, different, total):
    """Fails for differences that are not known, and for known ones that are gone."""
    new, gone = sorted(set(different) - set(known)), sorted(set(known) - set(different))
    if new or gone:
        print("not ok %s: new differences %s, gone %s" % (name, new, gone))
        for case in new[:20]:
            print("   %s: %s" % (case, different[case]))
        return 1
    print("ok %s (%d of %d the same, %d differ on purpose)" % (name, total - len(different), total, len(different)))
    return 0


def main():
    messages = cases()
    folder = tempfile.mkdtemp(prefix="postroad-structure-")
    try:
        mine = ours(messages, folder)
        theirs = dovecot(messages, folder)
        failed = 0
        for what in ("envelope", "bodystructure"):
            different = {}
            for name in messages:
                here = Tokens(bytes.fromhex(mine[name][what])).value()
                there = theirs[name].get(what)
                if here != there:
                    different[name] = "Dovecot %.300r, ours %.300r" % (there, here)
            failed += report("dovecot_reads_the_same_" + what, DOVECOT[what], different, len(messages))
        different = {}
        for name, data in messages.items():
            there, here = python_leaves(data), our_leaves(data, mine[name]["parts"])
            if here != there:
                different[name] = "Python %.300r, ours %.300r" % (there, here)
        failed += report("python_finds_the_same_leaves", PYTHON, different, len(messages))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
