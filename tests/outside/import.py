"""Mail taken over from disk: mbox and Maildir, broken MIME included, every byte served back."""
import os
import shutil

import lab

FIXTURES = os.path.join(os.path.dirname(__file__), "..", "fixtures", "mime")


def crlf(data):
    out, before = bytearray(), 0
    for b in data:
        if b == 10 and before != 13:
            out.append(13)
        out.append(b)
        before = b
    return bytes(out)


def served(farm, folder):
    client = farm.imap_client()
    kind, _ = client.select('"%s"' % folder, readonly=True)
    assert kind == "OK", folder
    kind, data = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
    assert kind == "OK", data
    client.logout()
    return [(d[0], d[1]) for d in data if isinstance(d, tuple)]


def test_a_maildir_of_torture_is_served_byte_for_byte(farm):
    box = os.path.join(farm.dir, "old-maildir")
    for sub in ("cur", "new", "tmp", ".Archive.2024/cur", ".Archive.2024/new"):
        os.makedirs(os.path.join(box, sub))
    want = []
    for n, name in enumerate(sorted(os.listdir(FIXTURES))):
        if name.endswith(".eml"):
            with open(os.path.join(FIXTURES, name), "rb") as f:
                data = f.read()
            # What holds NUL cannot be served by plain FETCH (RFC 9051 §4.3.1); an empty file is no message.
            if data and b"\0" not in data:
                want.append(crlf(data))
                shutil.copy(os.path.join(FIXTURES, name), os.path.join(box, "cur", "%05d.x:2,S" % n))
    with open(os.path.join(box, ".Archive.2024", "new", "1.y"), "w") as f:
        f.write("Subject: below\n\nin a folder below\n")
    said = farm.cli("import", farm.a["address"], box, "--folder", "Old", timeout=120)
    assert "%d messages" % (len(want) + 1) in said, said
    got = served(farm, "Old")
    assert len(want) > 180 and len(got) == len(want), (len(got), len(want))
    wrong = [i for i, (g, w) in enumerate(zip(got, want)) if g[1] != w]
    assert not wrong, "%d of %d differ, the first is number %d" % (len(wrong), len(want), wrong[0])
    assert all(b"\\Seen" in g[0] for g in got)
    assert len(served(farm, "Old/Archive/2024")) == 1
    client = farm.imap_client()
    client.select("Old", readonly=True)
    kind, data = client.fetch("1:*", "(ENVELOPE BODYSTRUCTURE)")
    assert kind == "OK" and len([d for d in data if d]) >= len(want), "BODYSTRUCTURE failed the session"
    client.logout()


def test_an_mbox_keeps_dates_and_flags(farm):
    path = os.path.join(farm.dir, "old.mbox")
    with open(path, "w") as f:
        f.write("From a@b Sun Nov 22 10:00:00 2020\nSubject: one\nStatus: RO\n\n>From the start\n\n"
                "From a@b Mon Nov 23 10:00:00 2020\nSubject: two\n\nsecond\n")
    said = farm.cli("import", farm.a["address"], path, "--folder", "Mbox")
    assert "2 messages" in said, said
    got = served(farm, "Mbox")
    assert got[0][1] == b"Subject: one\r\nStatus: RO\r\n\r\nFrom the start\r\n" and b"\\Seen" in got[0][0]
    assert b"\\Seen" not in got[1][0]
    client = farm.imap_client()
    client.select("Mbox", readonly=True)
    kind, data = client.fetch("1", "(INTERNALDATE)")
    assert b"22-Nov-2020 10:00:00 +0000" in data[0], data
    client.logout()


def test_what_is_not_there_is_said(farm):
    for args, want in ((("nobody@demo.example", farm.dir), "no account"), ((farm.a["address"], "/nowhere"), "does not exist")):
        done = lab.run([lab.BINARY, "import", *args, "--data", farm.data])
        assert done.returncode == 1 and want in done.stderr, done


if __name__ == "__main__":
    lab.main(globals())
