"""Plays the scripted groups of Dovecot's imaptest from a folder the user has: `imaptest.py DIR [GROUP ...]`.

DIR is the folder with the scripts and their .mbox files (`src/tests` of that project). The format is the one its
documentation describes; this is our own reader of it. Nothing of that project is kept here.
"""
import os
import re
import sys

from host import Gone, Host, PASSWORD, report

MAILBOX = "imaptest"
DOLLAR = "\ue000"
VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|([A-Za-z0-9_]*))")


class Fault(Exception):
    """The server did not answer as the script wants."""


# -- IMAP values: an atom is a str, a quoted string or literal is Quoted, a list is a list ---------------------------
class Quoted(str):
    pass


def values(text):
    """Reads a line of IMAP values; everything between blanks and parentheses is an atom."""
    at, stack = 0, [[]]
    while at < len(text):
        c = text[at]
        if c == "(":
            stack.append([])
            at += 1
        elif c == ")" and len(stack) > 1:
            done = stack.pop()
            stack[-1].append(done)
            at += 1
        elif c == " " or c in "\r\n":
            at += 1
        elif c == '"':
            word, at = "", at + 1
            while at < len(text) and text[at] != '"':
                at += text[at] == "\\"
                word += text[at:at + 1]
                at += 1
            at += 1
            stack[-1].append(Quoted(word))
        elif literal := re.match(r"~?\{(\d+)\+?\}\r?\n", text[at:]):
            at += literal.end()
            stack[-1].append(Quoted(text[at:at + int(literal[1])]))
            at += int(literal[1])
        else:
            end = at
            depth = 0
            while end < len(text) and (depth or text[end] not in " ()\r\n"):
                depth += (text[end] == "[") - (text[end] == "]" and depth > 0)
                end += 1
            # An atom with a bracket is cut at blanks too: `[capability` `$]`; sections keep theirs together.
            word = text[at:end]
            if "[" in word and " " in word and not re.match(r"(?i)body|binary", word):
                end = at + word.index(" ")
                word = text[at:end]
                cut = re.search(r"[()]", word)
                if cut:
                    end = at + cut.start()
                    word = text[at:end]
            stack[-1].append(word)
            at = max(end, at + 1)
    while len(stack) > 1:
        done = stack.pop()
        stack[-1].append(done)
    return stack[0]


class Match:
    """Compares what came with what the script wants, binding its variables on the way."""

    def __init__(self, variables, seqs):
        self.vars, self.seqs = variables, seqs
        self.modseq = None

    def all(self, want, got, prefix=False):
        at = 0
        for n, w in enumerate(want):
            if isinstance(w, str) and w == "$]":
                while at < len(got) and not (isinstance(got[at], str) and "]" in got[at]):
                    at += 1
                at += 1
                continue
            if at >= len(got) or not self.one(w, got[at], prefix and n == len(want) - 1):
                return False
            at += 1
        return prefix or at == len(got)

    def one(self, want, got, prefix):
        if isinstance(want, list):
            return isinstance(got, list) and self.list(want, got)
        if want == "$" and not isinstance(want, Quoted):
            return True
        if isinstance(got, list):
            return False
        if not isinstance(want, Quoted) and want.upper() == "NIL":
            return not isinstance(got, Quoted) and got.upper() == "NIL"
        if not isinstance(got, Quoted) and got.upper() == "NIL" and not VARIABLE.search(want):
            return False
        return self.text(want, got, prefix)

    def text(self, want, got, prefix):
        pattern, names, flags, last = "", [], re.I | re.S, 0
        # The scripts were written for a reader whose strings end at a NUL.
        want, got = want.partition("\0")[0].replace("$$", "\0"), got.partition("\0")[0]
        for v in VARIABLE.finditer(want):
            pattern += re.escape(want[last:v.start()].replace("\0", "$"))
            last = v.end()
            name = v[1] if v[1] is not None else v[2]
            if name.startswith("case:"):
                pattern, flags = pattern + re.escape(name[5:]), re.S
            elif name.isdigit():
                pattern += re.escape(str(self.seqs.get(int(name), "<expunged>")))
            elif name in self.vars:
                pattern += re.escape(self.vars[name])
            else:
                names.append(name)
                pattern += "(.*?)"
        pattern += re.escape(want[last:].replace("\0", "$"))
        found = re.match(pattern + ("" if prefix else r"\Z"), got, flags)
        if not found:
            return False
        for name, value in zip(names, found.groups()):
            if name and not self.bind(name, value):
                return False
        return True

    def bind(self, name, value):
        number = re.fullmatch(r"modseq(\d+)", name)
        if number:
            before = self.vars.get("modseq-seen", (0, 0))
            if not value.isdigit() or int(value) < before[1] + int(number[1]) - before[0]:
                return False
            self.vars["modseq-seen"] = (int(number[1]), int(value))
        self.vars[name] = value
        return True

    def list(self, want, got):
        orders = []
        while want and isinstance(want[0], str) and want[0].startswith("$!"):
            orders.append(want[0][2:])
            want = want[1:]
        loose = [o for o in orders if o.startswith("unordered")]
        if not loose:
            return self.all(want, got)
        chain = int(loose[-1].partition("=")[2] or 1)
        ignored = {o[7:].lower() for o in orders if o.startswith("ignore=")}
        banned = {o[4:].lower() for o in orders if o.startswith("ban=")}
        if len(got) % chain:
            return False
        taken = set()
        for n in range(0, len(want), chain):
            for m in range(0, len(got), chain):
                saved = dict(self.vars)
                if m not in taken and self.all(want[n:n + chain], got[m:m + chain]):
                    taken.add(m)
                    break
                self.vars.clear()
                self.vars.update(saved)
            else:
                return False
        over = [got[m].lower() for m in range(0, len(got), chain) if m not in taken and isinstance(got[m], str)]
        if "noextra" in orders:
            return all(o in ignored for o in over)
        return not any(o in banned for o in over)


def with_defaults(want):
    """The directives that hold where the script gives none."""
    words = [w.lower() if isinstance(w, str) else w for w in want]
    plain = lambda v: isinstance(v, list) and not (v and isinstance(v[0], str) and v[0].startswith("$!"))
    if words[:1] in (["list"], ["lsub"]) and len(want) > 1 and plain(want[1]):
        want[1].insert(0, "$!unordered")
    if words[:1] == ["status"] and len(want) > 2 and plain(want[2]):
        want[2].insert(0, "$!unordered=2")
    if len(words) > 2 and words[1] == "fetch" and isinstance(want[2], list):
        inner = want[2]
        for n, word in enumerate(inner):
            if isinstance(word, str) and word.lower() == "flags" and n + 1 < len(inner) and plain(inner[n + 1]):
                inner[n + 1][:0] = ["$!unordered", "$!noextra", "$!ignore=\\recent"]
        if plain(inner):
            inner.insert(0, "$!unordered=2")
    return want


# -- scripts ---------------------------------------------------------------------------------------------------------
class Step:
    """Commands sent together on one connection, and what must come."""

    def __init__(self, connection):
        self.connection, self.commands, self.untagged = connection, [], []

    def open(self):
        return [c for c in self.commands if c["reply"] is None]


def status(line):
    found = re.match(r'(?i)(tag\d+)? ?(ok|no|bad|"")(?: |$)(.*)', line, re.S)
    return (found[1] or "", found[2].lower(), found[3]) if found else None


def read(path):
    head, steps, skip = {}, [], []
    with open(path, encoding="latin-1", newline="") as f:
        raw = f.read().split("\n")
    lines = [l.removesuffix("\r") for l in raw]
    at = 0
    while at < len(lines) and (lines[at].startswith("#") or re.match(r"(?i)(capabilities|connections|messages|state|ignore_extra_untagged|user \d+) *:", lines[at])):
        if not lines[at].startswith("#"):
            key, _, value = lines[at].partition(":")
            head[key.strip().lower()] = value.strip()
        at += 1
    many = int(re.sub(r"\D", "2", head.get("connections", "1"))) > 1
    while at < len(lines):
        line, number = lines[at], at + 1
        at += 1
        if line.startswith("#") or not line.strip():
            continue
        while line.endswith("{{{") and at < len(lines):
            end = next(n for n in range(at, len(lines)) if lines[n].startswith("}}}"))
            # A block with ~ keeps the line ends it has in the file, a lone CR before the last one too.
            body = "\n".join(raw[at:end]) if line.endswith("~{{{") else "\r\n".join(lines[at:end])
            line, at = line[:-3] + "{%d+}\r\n%s" % (len(body), body) + lines[end][3:], end + 1
        if line.startswith(("!ifenv ", "!ifnenv ")):
            skip.append(line.startswith("!ifenv ") != (line.split()[1] in os.environ))
        elif line.startswith("!else"):
            skip[-1] = not skip[-1]
        elif line.startswith("!endif"):
            skip.pop()
        elif not any(skip):
            add(steps, line, number, many)
    return head, steps


def add(steps, line, number, many):
    if line[:2] in ("* ", "! ", "? ") and steps:
        steps[-1].untagged.append((line[0], with_defaults(values(line[2:]))))
        return
    connection = 1
    if many and re.match(r"\d+ ", line + " "):
        first, _, line = line.partition(" ")
        connection = int(first)
    said = status(line)
    step = steps[-1] if steps and steps[-1].open() else None
    if step and said:
        for command in step.commands:
            if command["tag"] == said[0]:
                command["reply"] = (said[1], said[2])
        return
    if step is None:
        step = Step(connection)
        steps.append(step)
    command = {"tag": "", "reply": None, "text": line, "number": number}
    if said:
        command.update(reply=(said[1], ""), text=said[2], tag=said[0])
    elif tagged := re.match(r"(?i)(tag\d+) (.*)", line, re.S):
        command.update(tag=tagged[1], text=tagged[2])
    step.commands.append(command)


# -- playing ---------------------------------------------------------------------------------------------------------
class Group:
    def __init__(self, host, users, path):
        self.host, self.path = host, path
        self.head, self.steps = read(path)
        self.users, self.vars = users, {"mailbox": MAILBOX, "password": PASSWORD, "user": users[0], "user2": users[1]}
        self.vars.update(username=users[0].split("@")[0], domain=users[0].split("@")[1], username2=users[1].split("@")[0])
        self.links, self.seqs, self.mails = {}, {}, 0

    def messages(self):
        path = self.path + ".mbox"
        if not os.path.exists(path):
            path = os.path.join(os.path.dirname(self.path), "default.mbox")
        with open(path, "rb") as f:
            text = f.read().replace(b"\r\n", b"\n")
        parts = re.split(rb"^From \S+ +(.*)\n", text, flags=re.M)[1:]
        dates = [d.decode().split() for d in parts[::2]]
        dates = ["%02d-%s-%s %s %s" % (int(d[2]), d[1], d[4], d[3], (d + ["+0000"])[5]) for d in dates]
        return list(zip((p.replace(b"\n", b"\r\n") for p in parts[1::2]), dates))

    def play(self):
        state = self.head.get("state", "selected").lower()
        first = self.link(1, state)
        missing = set(self.head.get("capabilities", "").upper().split()) - self.capabilities(first)
        if missing:
            return "skipped", "not offered: " + " ".join(sorted(missing))
        self.prepare(first, state)
        for n in range(2, int(re.sub(r"\D", "2", self.head.get("connections", "1"))) + 1):
            self.link(n, state)
            if state == "selected":
                self.links[n].command("SELECT " + MAILBOX)
        try:
            for step in self.steps:
                self.step(step)
        except Fault as e:
            return "failed", str(e)
        except Gone as e:
            return "failed", "%s: %s" % (step.commands[0]["text"][:60], e)
        return "passed", ""

    def link(self, n, state):
        link = self.links[n] = self.host.connect()
        self.greeting = link.response()
        if state != "nonauth":
            user = self.head.get("user %d" % n, self.users[0])
            user = self.users[1] if "user2" in user else user
            link.command('LOGIN "%s" "%s"' % (user, PASSWORD))
        return link

    def capabilities(self, link):
        untagged, _ = link.command("CAPABILITY")
        return set(untagged[-1].decode().upper().split())

    def prepare(self, link, state):
        if state == "nonauth":
            return
        listed, _ = link.command('LIST "" *')
        names = [values(l.decode("latin-1"))[-1] for l in listed if l.startswith(b"* LIST")]
        for name in sorted(names, reverse=True):
            if name.upper() != "INBOX":
                link.command('DELETE "%s"' % name)
            link.command('UNSUBSCRIBE "%s"' % name)
        listed, _ = link.command('LSUB "" *')
        for l in listed:
            link.command('UNSUBSCRIBE "%s"' % values(l.decode("latin-1"))[-1])
        if state == "auth":
            return
        link.command("CREATE " + MAILBOX)
        if state in ("appended", "selected"):
            mails = self.messages()
            many = self.head.get("messages", "all")
            for n in range(len(mails) if many == "all" else int(many)):
                body, date = mails[n % len(mails)]
                link.append(MAILBOX, body, date=date)
                self.mails += 1
        if state == "selected":
            link.command("SELECT " + MAILBOX)

    def expand(self, text):
        def value(v):
            name = v[1] if v[1] is not None else v[2]
            if name not in self.vars:
                raise Fault("the script's variable %s was never bound" % name)
            return str(self.vars[name])
        text = re.sub(r"\$!\S+ ?", "", text).replace("$$", DOLLAR)
        return VARIABLE.sub(value, text).replace(DOLLAR, "$")

    def bytes_of(self, text):
        text = self.expand(text)
        found = re.fullmatch(r"(?is)append(?: +([^ ]+))?((?: +\([^)]*\))?(?: +\"[^\"]*\")?)", text)
        if found and not text.rstrip().endswith("}"):
            mails = self.messages()
            body, date = mails[self.mails % len(mails)]
            self.mails += 1
            date = "" if '"' in found[2] else ' "%s"' % date
            return ("APPEND %s%s%s {%d+}\r\n" % (found[1] or MAILBOX, found[2], date, len(body))).encode() + body
        return text.encode("latin-1")

    def step(self, step):
        link, tags = self.links[step.connection], {}
        self.seqs = {n: n for n in range(1, 200)}
        for n, command in enumerate(step.commands):
            tag = "%d.%d" % (step.connection, command["number"])
            tags[tag] = command
            self.vars["tag"] = tag
            if not (command["text"].strip() == "" and command["reply"] is not None and n == 0 and not step.untagged):
                link.send(tag.encode() + b" " + self.bytes_of(command["text"]) + b"\r\n")
        waiting, found, closest = dict(tags), set(), {}
        while waiting:
            got = link.response().decode("latin-1")
            if got.startswith("+"):
                continue
            tag, _, rest = got.partition(" ")
            if tag == "*":
                self.untagged(step, rest, found, closest)
            elif tag in waiting:
                self.tagged(waiting.pop(tag), rest)
            else:
                raise Fault("an unknown tag: " + got[:80])
        self.vars.pop("tag", None)
        for n, (kind, want) in enumerate(step.untagged):
            if kind == "*" and n not in found:
                raise Fault("line %d %s: missing * %s; came: %s" % (
                    step.commands[0]["number"], step.commands[0]["text"][:40], want, closest.get(n, "nothing like it")))

    def untagged(self, step, rest, found, closest):
        got = values(rest)
        prefix = bool(got) and isinstance(got[0], str) and got[0].lower() in ("ok", "no", "bad", "bye")
        for n, (kind, want) in enumerate(step.untagged):
            saved = dict(self.vars)
            if n not in found and Match(self.vars, self.seqs).all(want, got, prefix):
                if kind == "!":
                    raise Fault("line %d: came, and must not: * %s" % (step.commands[0]["number"], rest[:120]))
                found.add(n)
            else:
                self.vars.clear()
                self.vars.update(saved)
                kinds = [w for w in want[:2] if isinstance(w, str) and w.isalpha()]
                if n not in found and kinds and kinds[0].lower() in rest.lower():
                    closest.setdefault(n, rest[:200])
        if len(got) > 1 and isinstance(got[1], str) and got[1].upper() == "EXPUNGE":
            gone = int(got[0])
            self.seqs = {k: v - (v > gone) for k, v in self.seqs.items() if v != gone}

    def tagged(self, command, rest):
        kind, text = command["reply"] or ("ok", "")
        said, _, words = rest.partition(" ")
        if kind != '""' and said.lower() != kind:
            raise Fault("line %d %s: wanted %s, got %s" % (command["number"], command["text"][:60], kind, rest[:120]))
        if text and not Match(self.vars, self.seqs).all(values(text), values(words), True):
            raise Fault("line %d: wanted %s %s, got %s" % (command["number"], kind, text, rest[:120]))

    def close(self):
        for link in self.links.values():
            link.close()


def main():
    folder, only = sys.argv[1], sys.argv[2:]
    names = sorted(n for n in os.listdir(folder) if not n.endswith(".mbox") and os.path.isfile(os.path.join(folder, n)))
    names = [n for n in names if (not only or n in only) and not n.startswith(("Makefile", "."))]
    host, rows = Host([("joe",), ("ann",)]), []
    try:
        users = ["joe@" + host.domain, "ann@" + host.domain]
        for name in names:
            group = None
            try:
                group = Group(host, users, os.path.join(folder, name))
                rows.append((name, *group.play()))
            except Exception as e:  # a script we cannot read must not hide the others
                rows.append((name, "failed", "our runner: %s %s" % (type(e).__name__, e)))
            finally:
                if group:
                    group.close()
    finally:
        host.close()
    return report(rows, "imaptest")


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
