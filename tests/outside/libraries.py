"""Programs' libraries at work: imapclient, imap-tools, aioimaplib, Node's imapflow and nodemailer; offlineimap."""
import asyncio
import os
import subprocess
import time

import lab
from lab import run, token

NODE = os.path.join(os.getcwd(), "target", "outside-node")


def test_imapclient_searches_moves_and_idles(farm):
    import imapclient
    tok = token()
    farm.send_in(lab.mail(tok))
    assert farm.find(tok)
    with imapclient.IMAPClient("127.0.0.1", farm.imaps, ssl_context=farm.tls(), timeout=20) as c:
        c.login(farm.a["address"], farm.a["password"])
        c.select_folder("INBOX")
        uids = c.search(["TEXT", tok])
        assert len(uids) == 1, uids
        got = c.fetch(uids, ["ENVELOPE", "FLAGS", "BODYSTRUCTURE", "RFC822.SIZE"])[uids[0]]
        assert tok.encode() in got[b"ENVELOPE"].subject
        box = "Moved-" + tok[:8]
        c.create_folder(box)
        c.move(uids, box)
        assert c.search(["TEXT", tok]) == []
        c.select_folder(box)
        assert len(c.search("ALL")) == 1
        c.select_folder("INBOX")
        c.idle()
        again = token()
        farm.send_in(lab.mail(again))
        heard = c.idle_check(timeout=10)
        c.idle_done()
        assert any(b"EXISTS" in h for h in heard), heard
        c.delete_folder(box)


def test_imap_tools_reads_and_flags(farm):
    import imap_tools
    tok = token()
    farm.send_in(lab.mail(tok, subject="für imap-tools"))
    assert farm.find(tok)
    with imap_tools.MailBox("127.0.0.1", farm.imaps, ssl_context=farm.tls()).login(
            farm.a["address"], farm.a["password"]) as box:
        found = list(box.fetch(imap_tools.AND(text=tok), mark_seen=False))
        assert len(found) == 1 and tok in found[0].text, found
        box.flag([found[0].uid], imap_tools.MailMessageFlags.FLAGGED, True)
        assert len(list(box.fetch(imap_tools.AND(text=tok, flagged=True)))) == 1
        names = [f.name for f in box.folder.list()]
        assert "INBOX" in names and "Sent" in names, names


def test_aioimaplib_fetches(farm):
    import aioimaplib
    tok = token()
    farm.send_in(lab.mail(tok))
    assert farm.find(tok)

    async def work():
        c = aioimaplib.IMAP4_SSL(host="127.0.0.1", port=farm.imaps, ssl_context=farm.tls(), timeout=20)
        await c.wait_hello_from_server()
        assert (await c.login(farm.a["address"], farm.a["password"])).result == "OK"
        await c.select("INBOX")
        answer = await c.uid_search("TEXT " + tok)
        uid = answer.lines[0].split()[-1].decode()
        got = await c.uid("fetch", uid, "(BODY.PEEK[])")
        await c.logout()
        return b"".join(bytes(l) for l in got.lines)

    assert tok.encode() in asyncio.run(work())


def test_offlineimap_makes_a_maildir(farm):
    tok = token()
    farm.send_in(lab.mail(tok), to=[farm.b["address"]])
    assert farm.find(tok, farm.b)
    box = os.path.join(farm.dir, "offline")
    conf = os.path.join(farm.dir, "offlineimaprc")
    with open(conf, "w") as f:
        f.write("""
[general]
accounts = a
metadata = %s/meta
ui = basic
[Account a]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = %s
[Repository far]
type = IMAP
remotehost = localhost
remoteport = %d
remoteuser = %s
remotepass = %s
ssl = yes
sslcacertfile = %s
""" % (farm.dir, box, farm.imaps, farm.b["address"], farm.b["password"], farm.ca))
    done = run(["offlineimap", "-o", "-c", conf], timeout=120, env={**os.environ, "HOME": farm.dir})
    assert done.returncode == 0, (done.stdout[-800:], done.stderr[-800:])
    assert subprocess.run(["grep", "-rl", tok, box], capture_output=True).returncode == 0


def node(farm, text):
    path = os.path.join(NODE, "try-%d.cjs" % farm.base)
    with open(path, "w") as f:
        f.write(text)
    done = run(["node", path], timeout=60, cwd=NODE, env={**os.environ, "NODE_EXTRA_CA_CERTS": farm.ca})
    assert done.returncode == 0, done.stdout[-600:] + done.stderr[-1200:]
    return done.stdout


def test_nodemailer_sends_and_imapflow_reads(farm):
    tok = token()
    out = node(farm, """
const nodemailer = require('nodemailer'); const { ImapFlow } = require('imapflow');
(async () => {
  const mailer = nodemailer.createTransport({host: 'localhost', port: %d, secure: true, auth: {user: '%s', pass: '%s'}});
  const info = await mailer.sendMail({from: '%s', to: '%s', subject: 'Grüße %s', text: '%s', attachments: [{filename: 'a.bin', content: Buffer.alloc(3000, 255)}]});
  if (!/^250/.test(info.response)) throw new Error(info.response);
  const client = new ImapFlow({host: 'localhost', port: %d, secure: true, auth: {user: '%s', pass: '%s'}, logger: false});
  await client.connect();
  const lock = await client.getMailboxLock('INBOX');
  let found = 0;
  for (let i = 0; i < 50 && !found; i++) {
    const uids = await client.search({body: '%s'}, {uid: true});
    for await (const m of client.fetch(uids, {envelope: true, bodyStructure: true, source: true, flags: true}, {uid: true})) {
      if (!m.envelope.subject.startsWith('Grüße') || m.bodyStructure.childNodes.length !== 2) throw new Error(JSON.stringify(m.envelope));
      if (!m.source.includes('%s')) throw new Error('source'); found++;
    }
    if (!found) await new Promise(r => setTimeout(r, 100));
  }
  lock.release(); await client.logout(); console.log('found', found);
})().catch(e => { console.error(e); process.exit(1); });
""" % (farm.submissions, farm.a["address"], farm.a["password"], farm.a["address"], farm.b["address"], tok, tok,
       farm.imaps, farm.b["address"], farm.b["password"], tok, tok))
    assert "found 1" in out, out


if __name__ == "__main__":
    lab.main(globals())
