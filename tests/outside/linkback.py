"""What a relay of ours sends back to the mail host: outcomes, closed ways, listings; and what is not believed."""
import re
import smtplib
import time
import urllib.error
import urllib.request

import lab
from lab import PORT_BASE, wait_for
from names import Names
from relay import A, B, MX_PORT, Host, Remote

# Facts are told every 30 s.
TOLD_S = 75
REFUSAL = "550 5.7.1 Service unavailable, Client host [127.1.0.23] blocked by our reputation system"


class Picky(Remote):
    """Takes mail from every address but those it has blocked."""
    blocked = (B,)

    def finish_request(self, request, address):
        if address[0] in self.blocked:
            with request.makefile("rb") as lines:
                request.sendall(b"220 mx.blocked.example ESMTP\r\n")
                for line in lines:
                    verb = line[:4].upper()
                    if verb == b"RCPT":
                        request.sendall(REFUSAL.encode() + b"\r\n")
                    elif verb == b"QUIT":
                        return
                    elif verb == b"DATA":
                        request.sendall(b"554 5.5.1 no valid recipients\r\n")
                    else:
                        request.sendall(b"250 ok\r\n")
            return
        super().finish_request(request, address)


class Farm:
    def __init__(self):
        self.names = names = Names(PORT_BASE + 53, ttl=5)
        names.add("ok.example", "MX", "mx.ok.example")
        names.add("mx.ok.example", "A", "127.9.0.25")
        for n in range(1, 7):
            names.add("far%d.example" % n, "MX", "mx.blocked.example")
        names.add("mx.blocked.example", "A", "127.9.0.26")
        names.add("relay.example", "A", "127.0.0.1")
        names.add("home.example", "TXT", "v=spf1 ip4:127.0.0.0/8 -all")
        names.add("2.0.0.127.bl.example", "A", "127.0.0.2")
        names.add("23.0.1.127.bl.example", "A", "127.0.0.2")
        self.ok = Remote(("127.9.0.25", MX_PORT))
        self.picky = Picky(("127.9.0.26", MX_PORT))
        common = "[queue]\nremote_port = %d\n[lists]\npublic = false\n[dns]\nservers = [\"127.0.0.1:%d\"]\n" % (MX_PORT, PORT_BASE + 53)
        relay_port, self.http = PORT_BASE + 87, PORT_BASE + 80
        self.mail_port = PORT_BASE + 65
        peer = "[[peer]]\nname = \"%s\"\nkey = \"%s\"\n"
        relay_text = """host_name = "relay.example"
role = "relay"
[[listener]]
front = "submission"
address = "127.0.0.1:%d"
[[egress]]
name = "B"
source = "%s"
helo = "relay.example"
[[list]]
zone = "bl.example"
%s""" % (relay_port, B, common)
        self.relay = Host("relay", relay_text)
        relay_key = self.relay.key()
        pin = self.relay.cli("customer", "pin").stdout.strip()
        self.mail = Host("mail", """host_name = "mx.home.example"
[[listener]]
front = "submission"
address = "127.0.0.1:%d"
[[listener]]
front = "http"
address = "127.0.0.1:%d"
tls = "none"
[[egress]]
name = "R"
relay = "relay.example:%d"
relay_pin = "%s"
[[egress]]
name = "A"
source = "%s"
helo = "mx.home.example"
%s
%s
[access]
trusted_networks = ["127.0.0.0/8"]
plain_on_trusted_network = true
""" % (self.mail_port, self.http, relay_port, pin, A, peer % ("relay.example", relay_key), common))
        mail_key = self.mail.key()
        with open(self.relay.conf, "a") as f:
            f.write(peer % ("mx.home.example", mail_key) + "url = \"http://127.0.0.1:%d/\"\n" % self.http)
        self.relay.start()
        self.mail.start()
        self.relay.cli("customer", "add", "mail-1", "--pin", self.mail.cli("egress", "pin").stdout.strip())
        self.mail.cli("domain", "add", "home.example")
        self.mail.cli("account", "add", "ann@home.example", "--password-file", "-", stdin="secret\n")


    def submit(self, token, to):
        """The id under which the mail host took it."""
        with smtplib.SMTP("127.0.0.1", self.mail_port, timeout=30, local_hostname="laptop") as s:
            s.login("ann@home.example", "secret")
            s.mail("ann@home.example")
            assert s.rcpt(to)[0] == 250
            code, reply = s.data("From: ann@home.example\r\nSubject: %s\r\n\r\n%s\r\n" % (token, token))
            assert code == 250, reply
            return re.search(rb"m=\w+", reply).group().decode()

    def why(self, id, kind):
        return [f for f in self.mail.json("why", id) if f["kind"] == kind]

    def row(self):
        rows = self.mail.json("route", "show")["rows"]
        return next((r for r in rows if r["egress"] == "R" and "blocked.example" in r["group"]), None)

    def arrived(self, remote, token):
        return [ip for ip, _, text in remote.got if token in text]

    def post(self, body):
        ask = urllib.request.Request("http://127.0.0.1:%d/link" % self.http, data=body, method="POST")
        try:
            with urllib.request.urlopen(ask, timeout=10) as got:
                return got.status, got.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def close(self):
        self.mail.close()
        self.relay.close()


def test_the_walk_goes_on_at_the_relay(farm):
    id = farm.submit("WALK-1", "bob@ok.example")
    assert wait_for(lambda: farm.arrived(farm.ok, "WALK-1") == [B], 20), farm.ok.got
    told = wait_for(lambda: farm.why(id, "relay.delivered"), TOLD_S, 1)
    assert len(told) == 1, farm.mail.cli("why", id).stdout
    assert told[0]["about"] == ["bob@ok.example"] and told[0]["detail"]["said"] == "250 ok", told
    assert told[0]["detail"]["host"] == "mx.ok.example" and told[0]["detail"]["relay"] == "relay.example", told
    text = farm.mail.cli("why", id).stdout
    assert text.index("send.delivered") < text.index("relay.delivered"), text


def test_a_way_that_closes_at_the_relay_closes_here_with_the_words_of_the_reply(farm):
    ids = [farm.submit("SHUT-%d" % n, "bob@far%d.example" % n) for n in range(1, 6)]
    assert wait_for(lambda: (farm.row() or {}).get("state") == "blocked", TOLD_S, 1), farm.relay.cli("route", "show").stdout
    assert REFUSAL in [e["reply"] for e in farm.row()["evidence"]], farm.row()
    why = farm.mail.cli("route", "why", "bob@far1.example").stdout
    assert REFUSAL in why and "egress R" in why, why
    began = time.monotonic()
    farm.submit("ROUND-1", "bob@far6.example")
    assert wait_for(lambda: farm.arrived(farm.picky, "ROUND-1") == [A], 20), farm.picky.got
    assert time.monotonic() - began < 20
    assert farm.mail.log().count("route.group_blocked") == 1, "one audit line"
    # Once the group is closed there, the rest is held and not tried.
    refused = lambda: [id for id in ids if farm.why(id, "relay.refused")]
    assert wait_for(lambda: len(refused()) >= 2, TOLD_S, 1), farm.mail.cli("why", ids[0]).stdout
    assert all(farm.why(id, "relay.refused")[0]["detail"]["said"] == REFUSAL for id in refused())


def test_a_list_that_names_the_relay_is_known_here(farm):
    listed = lambda: [r for r in farm.mail.json("lists", "show")["rows"] if r["subject"] == B]
    rows = wait_for(listed, TOLD_S, 1)
    assert rows and rows[0]["word"] == "listed" and rows[0]["egresses"] == ["R"], rows
    assert "relay.example" in rows[0]["says"] and rows[0]["zone"] == "bl.example", rows
    assert farm.mail.log().count("route.listed") == 1, "one audit line"


def test_a_dossier_is_there_within_a_second(farm):
    took = []
    for _ in range(3):
        began = time.monotonic()
        text = farm.relay.cli("dossier", "B").stdout
        took.append(time.monotonic() - began)
        assert REFUSAL in text and "first refused" in text, text
    print("dossier: %s s" % ", ".join("%.2f" % t for t in took))
    assert min(took) <= 1, took


def test_what_is_not_signed_by_a_peer_changes_nothing(farm):
    assert farm.post(b"nonsense")[0] == 403
    forged = b"postroad-link 1 %s 99999999999999 1 " + b"A" * 86 + b"\n[{\"kind\":\"heartbeat\",\"at\":1,\"version\":\"1\",\"started\":0}]"
    status, says = farm.post(forged % b"relay.example")
    assert status == 403 and "signature" in says, says
    status, says = farm.post(forged % b"evil.example")
    assert status == 403 and "evil.example" in says, says
    assert farm.post(b"x" * (1 << 20) + b"more")[0] in (403, 413)
    assert farm.row()["state"] == "blocked"


def test_a_way_that_opens_at_the_relay_comes_back_here_in_steps(farm):
    farm.picky.blocked = ()
    group = farm.row()["group"]
    farm.relay.cli("route", "pin", "group:" + group, "B")
    farm.relay.cli("queue", "retry")
    assert wait_for(lambda: farm.arrived(farm.picky, "SHUT-1") == [B], 30), farm.relay.cli("queue", "list").stdout
    assert wait_for(lambda: (farm.row() or {}).get("state", "open").startswith(("returning", "open")), TOLD_S, 1), farm.row()
    assert farm.mail.log().count("route.returning") == 1, farm.mail.log()[-2000:]


def all_tests():
    farm = Farm()
    try:
        lab.main({n: (lambda f=f: f(farm)) for n, f in globals().items() if n.startswith("test_")}, farm=False)
    finally:
        farm.close()


if __name__ == "__main__":
    all_tests()
