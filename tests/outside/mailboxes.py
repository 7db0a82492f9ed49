"""Mailboxes as several people and odd clients use them: shared folders, quota, annotations, DEFLATE, big literals,
words in other alphabets, QRESYNC and NOTIFY at their edges. All between real sessions on the wire.
"""
import re
import socket
import time
import zlib

import lab
from lab import token

SHARED = "Shared/%s/%s"


class Imap:
    """A bare IMAP connection: whole responses, no opinions."""

    def __init__(self, farm, account, login=True):
        raw = socket.create_connection(("127.0.0.1", farm.imaps), 60)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.s, self.rest, self.n, self.inflate = farm.tls().wrap_socket(raw), b"", 0, None
        self.line()
        if login:
            assert self.ok('LOGIN "%s" "%s"' % (account["address"], account["password"]))

    def more(self):
        got = self.s.recv(1 << 18)
        if not got:
            raise EOFError("the server hung up")
        self.rest += self.inflate.decompress(got) if self.inflate else got

    def send(self, data):
        self.s.sendall(self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH) if self.inflate else data)

    def line(self):
        out = b""
        while True:
            while b"\r\n" not in self.rest:
                self.more()
            line, _, self.rest = self.rest.partition(b"\r\n")
            out += line
            literal = re.search(rb"\{(\d+)\}$", line)
            if not literal:
                return out
            size = int(literal[1])
            while len(self.rest) < size:
                self.more()
            out += b"\r\n" + self.rest[:size]
            self.rest = self.rest[size:]

    def do(self, command):
        """(tagged line without tag, untagged lines)"""
        self.n += 1
        tag = b"m%d " % self.n
        self.send(tag + (command if isinstance(command, bytes) else command.encode()) + b"\r\n")
        told = []
        while True:
            line = self.line()
            if line.startswith(tag):
                return line[len(tag):].decode("utf-8", "replace"), told
            told.append(line)

    def ok(self, command):
        said, told = self.do(command)
        assert said.startswith("OK"), "%s: %s" % (command[:80], said)
        return told or [b""]

    def no(self, command, code=""):
        said, _ = self.do(command)
        assert said.startswith("NO " + code), "%s: wanted NO %s, got %s" % (command[:80], code, said)

    def append(self, folder, body, flags=""):
        return self.do(b"APPEND %s (%s) {%d+}\r\n%s" % (folder.encode(), flags.encode(), len(body), body))

    def close(self):
        self.s.close()


def message(subject, body="body"):
    return ("From: a@b.example\r\nSubject: %s\r\n\r\n%s\r\n" % (subject, body)).encode()


def numbers(told, word):
    """What an untagged response of numbers lists."""
    for line in told:
        if line.startswith(b"* " + word):
            return [int(n) for n in re.findall(rb"\b\d+\b", line)]
    return None


def test_a_shared_folder_follows_its_rights_between_two_sessions(farm):
    ann, ben = Imap(farm, farm.a), Imap(farm, farm.b)
    name, theirs = "Project", SHARED % (farm.a["address"], "Project")
    ann.ok("CREATE " + name)
    ann.append(name, message("one"))
    ann.append(name, message("two"))
    ben.no("SELECT " + theirs, "[NONEXISTENT]")
    assert theirs.encode() not in b"".join(ben.ok('LIST "" "*"'))
    ann.ok("SETACL %s %s lr" % (name, farm.b["address"]))
    assert any(theirs.encode() in line for line in ben.ok('LIST "" "*"'))
    assert b'"Shared/"' in ben.ok("NAMESPACE")[0]
    assert ben.ok("MYRIGHTS " + theirs)[0].endswith(b" lr")
    said, _ = ben.do("SELECT " + theirs)
    assert "[READ-ONLY]" in said, said
    ben.no("STORE 1 +FLAGS (\\Seen)", "[NOPERM]")
    said, _ = ben.append(theirs, message("three"))
    assert said.startswith("NO [NOPERM]"), said
    ben.ok("UNSELECT")
    # Now he may mark as read and add, but not delete.
    ann.ok("SETACL %s %s +sit" % (name, farm.b["address"]))
    ann.ok("SETACL %s %s -t" % (name, farm.b["address"]))
    said, _ = ben.do("SELECT " + theirs)
    assert "[READ-WRITE]" in said, said
    ann.ok("SELECT " + name)
    ben.ok("STORE 1 +FLAGS (\\Seen)")
    ben.no("STORE 1 +FLAGS (\\Deleted)", "[NOPERM]")
    ben.no("STORE 1 +FLAGS (\\Flagged)", "[NOPERM]")
    # A change that may be done in part is done in part (RFC 4314 section 4).
    ben.ok("STORE 2 +FLAGS (\\Seen \\Deleted)")
    assert re.search(rb"FLAGS \(\\Seen( \\Recent)?\)", b"".join(ben.ok("FETCH 2 FLAGS")))
    ben.no("EXPUNGE", "[NOPERM]")
    told = ann.ok("NOOP")
    assert any(b"1 FETCH" in t and b"\\Seen" in t for t in told), told
    said, _ = ben.append(theirs, message("three"))
    assert said.startswith("OK [APPENDUID"), said
    assert any(b"3 EXISTS" in t for t in ann.ok("NOOP"))
    # Without `a` nobody changes or sees the list, without `k` nobody makes folders below, without `x` nobody deletes it.
    for command in ("SETACL %s anyone lr", "GETACL %s", "CREATE %s/below", "DELETE %s", "RENAME %s Mine"):
        ben.no(command % theirs, "[NOPERM]")
    # Taken away: it is gone from his list, and the open session cannot go on reading.
    ann.ok("DELETEACL %s %s" % (name, farm.b["address"]))
    assert not any(theirs.encode() in line for line in ben.ok('LIST "" "*"'))
    ben.no("STATUS %s (MESSAGES)" % theirs, "[NONEXISTENT]")
    ann.ok("UNSELECT")
    ann.ok("DELETE " + name)


def test_a_right_taken_with_a_minus_counts_more_than_one_given(farm):
    ann, ben = Imap(farm, farm.a), Imap(farm, farm.b)
    ann.ok("CREATE Minus")
    ann.ok("SETACL Minus anyone lrs")
    ann.ok("SETACL Minus -%s s" % farm.b["address"])
    assert ben.ok("MYRIGHTS " + SHARED % (farm.a["address"], "Minus"))[0].endswith(b" lr")
    ann.ok("DELETE Minus")


def test_quota_holds_for_append_copy_move_and_delivery(farm):
    ben = Imap(farm, farm.b)
    farm.cli("account", "quota", farm.b["address"], "100 KiB")
    try:
        roots = ben.ok("GETQUOTAROOT INBOX")
        assert any(b"STORAGE" in t and b" 100)" in t for t in roots), roots
        ben.ok("CREATE Full")
        said, _ = ben.append("Full", message("big", "x" * 60_000))
        assert said.startswith("OK"), said
        said, _ = ben.append("Full", message("too much", "x" * 60_000))
        assert said.startswith("NO [OVERQUOTA]"), said
        # Refused before the text is sent, where the client waits to be asked for it: from a look that may lag by seconds.
        used = lambda: re.search(rb"STORAGE (\d+) 100", b"".join(ben.ok("GETQUOTAROOT Full")))
        assert lab.wait_for(lambda: int(used()[1]) >= 58)
        ben.n += 1
        ben.send(b"m%d APPEND Full {60000}\r\n" % ben.n)
        assert ben.line().startswith(b"m%d NO [OVERQUOTA]" % ben.n)
        ben.ok("SELECT Full")
        ben.no("COPY 1 INBOX", "[OVERQUOTA]")
        # Moving within the account needs no more room.
        assert ben.ok("CREATE Other") and ben.do("MOVE 1 Other")[0].startswith("OK")
        # Mail from outside: what would cross the line is put off (4yz), so that the sender's host keeps it and tries again:
        # before its text if its size was said, after it if not. What fits is taken; what never could is refused.
        text = lambda size: lab.mail(token(), to=farm.b["address"], body="\n".join(["y" * 70] * (size // 71)))
        send = lambda size, *said: farm.send_in(text(size), to=[farm.b["address"]], mail_options=said)
        for said in ((), ("SIZE=70500",)):
            code, reply = send(70_000, *said)
            assert code == 452 and b"4.2.2" in reply, (said, code, reply)
        for said in ((), ("SIZE=120500",)):
            code, reply = send(120_000, *said)
            assert code == 552 and b"5.2.2" in reply, (said, code, reply)
        code, reply = send(41_000)
        assert code == 250, (code, reply)
        assert lab.wait_for(lambda: send(900)[0] == 452, every_s=0.5)
        # Others cannot fill it through a shared folder either.
        ben.ok("SETACL Other %s lri" % farm.a["address"])
        ann = Imap(farm, farm.a)
        said, _ = ann.append(SHARED % (farm.b["address"], "Other"), message("theirs", "z" * 60_000))
        assert said.startswith("NO [OVERQUOTA]"), said
        for folder in ("Other", "INBOX"):
            ben.ok("SELECT " + folder)
            ben.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
            ben.ok("EXPUNGE")
        # The early look may lag by seconds here too.
        again = lambda: ben.append("Other", message("room again", "x" * 60_000))[0].startswith("OK")
        assert lab.wait_for(again, every_s=0.5)
    finally:
        farm.cli("account", "quota", farm.b["address"])
    ben.ok("UNSELECT")
    ben.ok("DELETE Other")
    ben.ok("DELETE Full")


def test_annotations_have_their_limits_and_their_owners(farm):
    ann, ben = Imap(farm, farm.a), Imap(farm, farm.b)
    ann.ok("CREATE Notes")
    ann.ok('SETMETADATA Notes (/private/comment "mine" /shared/comment "ours")')
    ann.ok("SETACL Notes %s lr" % farm.b["address"])
    theirs = SHARED % (farm.a["address"], "Notes")
    told = b"".join(ben.ok("GETMETADATA %s (/private/comment /shared/comment)" % theirs))
    assert b"ours" in told and b"mine" not in told, told
    ben.no('SETMETADATA %s (/shared/comment "his")' % theirs, "[NOPERM]")
    ben.ok('SETMETADATA %s (/private/comment "his own")' % theirs)
    assert b"mine" in b"".join(ann.ok("GETMETADATA Notes /private/comment"))
    big = b"x" * 70_000
    said, _ = ann.do(b"SETMETADATA Notes (/private/comment {%d+}\r\n%s)" % (len(big), big))
    assert said.startswith("NO [METADATA MAXSIZE"), said
    for n in range(100):
        said, _ = ann.do('SETMETADATA Notes (/private/n%d "v")' % n)
    assert said.startswith("NO [METADATA TOOMANY]"), said
    # Asked for with a greatest size, longer values are told of, not sent (RFC 5464 section 4.2.1).
    ann.ok('SETMETADATA Notes (/shared/comment "a value of some length")')
    said, told = ann.do("GETMETADATA (MAXSIZE 5) Notes (/shared/comment)")
    assert "[METADATA LONGENTRIES 22]" in said and b"length" not in b"".join(told), (said, told)
    ann.ok("DELETE Notes")


def test_large_texts_through_deflate_arrive_whole(farm):
    ann = Imap(farm, farm.a)
    ann.ok("CREATE Deflate")
    texts = [message("d%d" % n, ("line %d of it\r\n" % n) * 40_000) for n in range(3)]
    ann.ok("COMPRESS DEFLATE")
    ann.inflate, ann.deflate = zlib.decompressobj(-15), zlib.compressobj(6, zlib.DEFLATED, -15)
    for text in texts:
        said, _ = ann.append("Deflate", text)
        assert said.startswith("OK"), said
    ann.no("COMPRESS DEFLATE", "[COMPRESSIONACTIVE]")
    ann.ok("SELECT Deflate")
    for n, text in enumerate(texts):
        assert text in b"".join(ann.ok("FETCH %d BODY.PEEK[]" % (n + 1)))
    whole = b"".join(ann.ok("FETCH 1:* BODY.PEEK[]"))
    assert all(text in whole for text in texts)
    ann.ok("UNSELECT")
    ann.ok("DELETE Deflate")


def test_a_large_literal_is_streamed_in_and_out_within_little_memory(farm):
    ann = Imap(farm, farm.a)
    ann.ok("CREATE Large")
    line = b"0123456789abcdef" * 4 + b"\r\n"
    size = (40 << 20) // len(line) * len(line)
    before, most = farm.rss_kib(), 0
    head = b"Subject: large\r\n\r\n"
    ann.n += 1
    ann.send(b"m%d APPEND Large {%d+}\r\n%s" % (ann.n, len(head) + size, head))
    chunk = line * 4000
    for at in range(0, size, len(chunk)):
        ann.send(chunk[:size - at])
        most = max(most, farm.rss_kib())
    ann.send(b"\r\n")
    said = ann.line()
    assert b" OK [APPENDUID" in said, said
    most = max(most, farm.rss_kib())
    assert most - before < 24 << 10, "%d KiB more while 40 MiB came in" % (most - before)
    ann.ok("SELECT Large")
    ann.n += 1
    ann.send(b"m%d FETCH 1 (BODY.PEEK[])\r\n" % ann.n)
    begun = ann.s.recv(1 << 16)
    assert b"{%d}" % (len(head) + size) in begun, begun[:80]
    got, most = len(begun), 0
    while got < size:
        got += len(ann.s.recv(1 << 18))
        most = max(most, farm.rss_kib())
    assert most - before < 24 << 10, "%d KiB more while 40 MiB went out" % (most - before)
    ann.close()
    ann = Imap(farm, farm.a)
    ann.ok("DELETE Large")


def test_words_in_other_alphabets_are_found(farm):
    ann = Imap(farm, farm.a)
    ann.ok("CREATE Words")
    mails = [
        "Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSchöne Grüße aus Köln\r\n".encode(),
        b"Subject: =?iso-8859-1?Q?Stra=DFe?=\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nDie Stra=DFe ist gesperrt\r\n",
        "Subject: =?koi8-r?B?8NLJ18XU?=\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\n".encode() + "Привет, мир".encode("koi8-r") + b"\r\n",
        "Subject: plain\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n".encode() + "日本語の手紙".encode("iso-2022-jp") + b"\r\n",
        b"Subject: base\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nxIxlc2vDvSBqYXp5aw==\r\n",
    ]
    for mail in mails:
        said, _ = ann.append("Words", mail)
        assert said.startswith("OK"), said
    ann.ok("SELECT Words")
    for key, word, want in [("TEXT", "grüße", [1]), ("SUBJECT", "GRÜSSE", []), ("SUBJECT", "grüß", [1]), ("BODY", "KÖLN", [1]),
                            ("SUBJECT", "straße", [2]), ("BODY", "Straße", [2]), ("BODY", "привет", [3]), ("SUBJECT", "Привет", [3]),
                            ("BODY", "手紙", [4]), ("BODY", "český", [5]), ("TEXT", "ÖLN", [1]), ("BODY", "nirgends", [])]:
        word = word.encode()
        told = ann.ok(b"SEARCH CHARSET UTF-8 %s {%d+}\r\n%s" % (key.encode(), len(word), word))
        assert numbers(told, b"SEARCH") == want, (key, word.decode(), told)
    latin = "Straße".encode("iso-8859-1")
    said, told = ann.do(b"SEARCH CHARSET ISO-8859-1 BODY {%d+}\r\n%s" % (len(latin), latin))
    assert said.startswith("NO [BADCHARSET") or numbers(told, b"SEARCH") == [2], (said, told)
    ann.no("SEARCH CHARSET X-UNKNOWN TEXT x", "[BADCHARSET")
    ann.ok("UNSELECT")
    ann.ok("DELETE Words")


def test_a_client_that_was_away_hears_only_what_it_missed(farm):
    ann, other = Imap(farm, farm.a), Imap(farm, farm.a)
    ann.ok("CREATE Away")
    for n in range(10):
        ann.append("Away", message("m%d" % n))
    ann.ok("ENABLE QRESYNC")
    told = b"".join(ann.ok("SELECT Away"))
    validity, modseq = int(re.search(rb"UIDVALIDITY (\d+)", told)[1]), int(re.search(rb"HIGHESTMODSEQ (\d+)", told)[1])
    ann.ok("UNSELECT")
    other.ok("SELECT Away")
    other.ok("UID STORE 2,3,9 +FLAGS.SILENT (\\Deleted)")
    other.ok("EXPUNGE")
    other.ok("UID STORE 5 +FLAGS (\\Flagged)")
    other.append("Away", message("new"))
    # Nothing else than what changed: VANISHED (EARLIER) and the changed rows.
    told = ann.ok("SELECT Away (QRESYNC (%d %d))" % (validity, modseq))
    vanished = [t for t in told if t.startswith(b"* VANISHED (EARLIER) ")]
    assert vanished == [b"* VANISHED (EARLIER) 2:3,9"], told
    fetched = sorted(int(re.search(rb"UID (\d+)", t)[1]) for t in told if b" FETCH " in t)
    assert fetched == [5, 11], told
    # Only those among the UIDs the client names.
    told = ann.ok("SELECT Away (QRESYNC (%d %d 1:4))" % (validity, modseq))
    assert b"* VANISHED (EARLIER) 2:3" in told and not any(b"UID 5" in t for t in told), told
    # Another validity: no news, the client starts over.
    told = ann.ok("SELECT Away (QRESYNC (%d %d))" % (validity + 1, modseq))
    assert not any(b"VANISHED" in t or b" FETCH " in t for t in told), told
    # A state from before everything: all that is gone may be told, nothing that lives.
    told = ann.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)")
    gone = next(t for t in told if b"VANISHED (EARLIER)" in t).rsplit(b" ", 1)[1]
    assert gone == b"2:3,9", gone
    # A conditional STORE spares what changed meanwhile.
    told = b"".join(ann.ok("UID FETCH 5 (MODSEQ)"))
    now = int(re.search(rb"MODSEQ \((\d+)\)", told)[1])
    other.ok("UID STORE 5 +FLAGS (\\Answered)")
    said, _ = ann.do("UID STORE 4:5 (UNCHANGEDSINCE %d) +FLAGS (\\Draft)" % now)
    assert said.startswith("OK [MODIFIED 5]"), said
    ann.ok("UNSELECT")
    other.ok("UNSELECT")
    ann.ok("DELETE Away")


def test_notify_tells_of_other_folders_and_of_this_one(farm):
    ann, other = Imap(farm, farm.a), Imap(farm, farm.a)
    for name in ("Here", "There", "Elsewhere"):
        ann.ok("CREATE " + name)
    ann.ok("SELECT Here")
    told = ann.ok("NOTIFY SET STATUS (selected (MessageNew MessageExpunge FlagChange)) "
                  "(mailboxes There (MessageNew MessageExpunge)) (personal (MailboxName))")
    assert any(b"STATUS There (" in t and b"MESSAGES 0" in t for t in told), told
    assert not any(b"Elsewhere" in t for t in told), told
    other.append("Elsewhere", message("quiet"))
    other.append("There", message("loud"))
    line = ann.line()
    assert line.startswith(b"* STATUS There (MESSAGES 1 "), line
    other.append("Here", message("here"))
    assert ann.line() == b"* 1 EXISTS"
    other.ok("RENAME Elsewhere Anywhere")
    until, told = time.monotonic() + 10, b""
    while b"Anywhere" not in told and time.monotonic() < until:
        told = ann.line()
    assert told.startswith(b"* LIST") and b'"OLDNAME" (Elsewhere)' in told.replace(b'"Elsewhere"', b"Elsewhere"), told
    ann.ok("NOTIFY NONE")
    other.append("There", message("unheard"))
    assert not any(b"STATUS" in t for t in ann.ok("NOOP"))
    ann.ok("UNSELECT")
    for name in ("Here", "There", "Anywhere"):
        ann.ok("DELETE " + name)


def test_broken_references_still_make_threads(farm):
    ann = Imap(farm, farm.a)
    ann.ok("CREATE Threads")

    def mail(n, own, references="", subject="talk", reply=""):
        head = "Date: Sun, 22 Nov 2026 10:%02d:00 +0000\r\nSubject: %s\r\n" % (n, subject)
        head += "Message-ID: %s\r\n" % own if own else ""
        head += "References: %s\r\n" % references if references else ""
        head += "In-Reply-To: %s\r\n" % reply if reply else ""
        return (head + "\r\nx\r\n").encode()
    mails = [
        mail(1, "<a@x>", subject="first"),
        mail(2, "<b@x>", "<a@x>", subject="Re: first"),
        # The message between was never here; the line is folded and holds rubbish.
        mail(3, "<d@x>", "<a@x>\r\n\t(was: yes) <c@x> nonsense <", subject="other words"),
        # A circle: each names the other.
        mail(4, "<e@x>", "<f@x>", subject="circle"),
        mail(5, "<f@x>", "<e@x>", subject="circle too"),
        # Only In-Reply-To, with words around it.
        mail(6, "<g@x>", reply="Your message of today <b@x>", subject="again"),
        # The same Message-ID twice.
        mail(7, "<b@x>", "<a@x>", subject="Re: first"),
        # None at all: the subject gathers it.
        mail(8, "", subject="Re: [list] first"),
    ]
    for one in mails:
        said, _ = ann.append("Threads", one)
        assert said.startswith("OK"), said
    ann.ok("SELECT Threads")
    told = ann.ok("THREAD REFERENCES UTF-8 ALL")[0].decode()
    assert sorted(int(n) for n in re.findall(r"\d+", told)) == list(range(1, 9)), told
    of_first = re.match(r"\* THREAD \(1 (.*)\)\(", told)
    assert of_first and {int(n) for n in re.findall(r"\d+", of_first[1])} == {2, 3, 6, 7, 8}, told
    assert re.search(r"2 6", told), told
    told = ann.ok("THREAD ORDEREDSUBJECT UTF-8 ALL")[0].decode()
    assert "(1 (2)(7)(8))" in told or "(1 (2)(7))" in told, told
    # Answers share a THREADID with what they answer, also where the message between is missing.
    ids = dict(re.findall(rb"\* (\d+) FETCH \(THREADID \((\S+)\)\)", b"\n".join(ann.ok("FETCH 1:8 THREADID"))))
    assert ids[b"1"] == ids[b"2"] == ids[b"3"] == ids[b"7"] != ids[b"8"], ids
    ann.ok("UNSELECT")
    ann.ok("DELETE Threads")


def test_hundred_keywords_are_refused_kindly_and_old_ones_stay(farm):
    ann = Imap(farm, farm.b)
    ann.ok("CREATE Keys")
    ann.append("Keys", message("k"))
    ann.ok("SELECT Keys")
    taken = 0
    for n in range(100):
        said, _ = ann.do("STORE 1 +FLAGS (key%d)" % n)
        if not said.startswith("OK"):
            assert said.startswith("NO"), said
            break
        taken += 1
    assert 26 <= taken < 100, taken
    flags = b"".join(ann.ok("FETCH 1 FLAGS"))
    assert all(b"key%d" % n in flags for n in range(taken))
    ann.ok("STORE 1 +FLAGS (key0 \\Flagged)")
    ann.ok("UNSELECT")
    ann.ok("DELETE Keys")


if __name__ == "__main__":
    lab.main(globals())
