"""The way round, seen from outside: a neighbour that blocks our first address gets its mail by the second, with the reasons on record."""
import json
import time

import lab
from lab import token, wait_for


def walk(farm, address):
    return json.loads(farm.cli("why", address, "--json"))


def delivered(farm, address):
    return [f for f in walk(farm, address) if f["kind"] == "send.delivered"]


def tries(farm, address):
    """Every try for an address: (kind, egress)."""
    out = []
    for fact in walk(farm, address):
        ways = [r["facts"]["egress"] for r in fact["detail"].get("reasons", []) if r["rule"] == "route.send"]
        if fact["kind"].startswith("send.") and ways:
            out.append((fact["kind"], ways[0]))
    return out


def test_a_block_of_our_address_is_gone_round_before_anyone_sees_a_bounce(farm):
    for domain in ("office.example", "hotpost.example"):
        to = token()[:20] + "@" + domain
        began = time.monotonic()
        code, reply = farm.submit(lab.mail(token(), to=to, sender=farm.a["address"]), to=[to])
        assert code == 250, reply
        assert wait_for(lambda: delivered(farm, to), 60, 0.2), farm.cli("why", to)
        took = time.monotonic() - began
        assert took < 60, "delivered only after %.0f s" % took
        text = farm.cli("why", to)
        assert "5.7." in text or "S3150" in text, "the refusal is not on record word for word:\n" + text
        print("# %s: delivered by the other way after %.1f s" % (domain, took))
        assert tries(farm, to)[-1] == ("send.delivered", "B"), tries(farm, to)
    assert not farm.find("multipart/report", wait_s=0), "a bounce was written"


def test_an_unknown_user_comes_back_at_once_and_no_other_way_is_burnt(farm):
    to = "nobody@friendly.example"
    code, reply = farm.submit(lab.mail(token(), to=to, sender=farm.a["address"]), to=[to])
    assert code == 250, reply
    notice = farm.find("nobody@friendly.example", wait_s=20)
    assert notice and b"multipart/report" in notice, notice
    assert len({egress for _, egress in tries(farm, to)}) == 1, tries(farm, to)


def test_one_recipient_elsewhere_does_not_drag_the_others_along(farm):
    mark = token()[:12]
    to = [mark + "@friendly.example", mark + "@office.example", farm.b["address"]]
    tok = token()
    code, reply = farm.submit(lab.mail(tok, to=", ".join(to), sender=farm.a["address"]), to=to)
    assert code == 250, reply
    assert farm.find(tok, farm.b), "the local copy"
    for one in to[:2]:
        assert wait_for(lambda: delivered(farm, one), 60, 0.2), farm.cli("why", one)
    assert tries(farm, to[0]) == [("send.delivered", "A")], tries(farm, to[0])
    assert tries(farm, to[1])[-1] == ("send.delivered", "B"), tries(farm, to[1])


def test_a_greylister_is_met_again_from_the_same_address(farm):
    to = token()[:16] + "@patient.example"
    code, reply = farm.submit(lab.mail(token(), to=to, sender=farm.a["address"]), to=[to])
    assert code == 250, reply
    assert wait_for(lambda: tries(farm, to), 20, 0.2)
    time.sleep(1)
    assert tries(farm, to) == [("send.deferred", "A")], "a greylister was shown a second address: %s" % tries(farm, to)
    assert to in farm.cli("queue", "list"), "not waiting in the queue"


def test_orders_for_the_queue_and_pins_for_routes(farm):
    to = token()[:16] + "@patient.example"
    farm.submit(lab.mail(token(), to=to, sender=farm.a["address"]), to=[to])
    assert wait_for(lambda: to in farm.cli("queue", "list"), 20, 0.2)
    rows = json.loads(farm.cli("queue", "list", "--json"))
    assert rows, "queue list --json is empty"
    assert farm.cli("route", "show")
    assert farm.cli("route", "why", "you@office.example")


if __name__ == "__main__":
    lab.main(globals())
