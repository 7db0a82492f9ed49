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


def block_a_at_office(farm):
    """Mail that makes office.example refuse our first address, unless it is known to already."""
    to = token()[:20] + "@office.example"
    code, reply = farm.submit(lab.mail(token(), to=to, sender=farm.a["address"]), to=[to])
    assert code == 250, reply
    assert wait_for(lambda: delivered(farm, to), 60, 0.2), farm.cli("why", to)


def test_route_why_is_a_dry_run_with_the_evidence_word_for_word(farm):
    block_a_at_office(farm)
    text = farm.cli("route", "why", "you@office.example")
    for part in ("host", "group", "it would leave by B at once", "egress A", "egress B", "5.7.", "next probe", "postroad route pin office.example A"):
        assert part in text, "%r is missing in:\n%s" % (part, text)
    run = json.loads(farm.cli("route", "why", "office.example", "--json"))
    assert run["domain"] == "office.example" and run["hosts"][0][1], run
    legs = {leg["egress"]: leg for leg in run["legs"]}
    said = legs["A"]["known"]["evidence"]
    assert said and "5.7." in said[-1]["reply"], said
    assert legs["A"]["known"]["since"] and legs["A"]["known"]["next_probe"], legs["A"]
    assert "leave by B" in legs["B"]["would"], legs["B"]
    before = len(walk(farm, "you@office.example")) if "you@office.example" in farm.cli("queue", "list") else 0
    assert before == 0, "a dry run sent something"
    friendly = farm.cli("route", "why", "friendly.example")
    assert "it would leave by A at once" in friendly, friendly
    assert farm.cli("route", "why", "no-such-domain.example", check=False), "no words for a domain that does not exist"


def test_route_show_has_since_evidence_and_next_probe(farm):
    block_a_at_office(farm)
    rows = json.loads(farm.cli("route", "show", "--json"))["rows"]
    row = [r for r in rows if r["egress"] == "A" and r["refused_domains"]]
    assert row and row[0]["since"] and row[0]["next_probe"] and row[0]["evidence"], rows
    text = farm.cli("route", "show")
    assert "since" in text and "next probe" in text and "last said:" in text, text


def test_a_pin_is_obeyed_shown_as_such_and_ends(farm):
    farm.cli("route", "pin", "friendly.example", "B", "--until", "2099-01-02 03:04", "--note", "a ticket")
    try:
        text = farm.cli("route", "why", "friendly.example")
        assert "pinned" in text and "2099-01-02T03:04:00Z" in text and "a ticket" in text, text
        assert "pinned" in farm.cli("route", "show")
        to = token()[:16] + "@friendly.example"
        code, reply = farm.submit(lab.mail(token(), to=to, sender=farm.a["address"]), to=[to])
        assert code == 250, reply
        assert wait_for(lambda: delivered(farm, to), 30, 0.2), farm.cli("why", to)
        assert tries(farm, to) == [("send.delivered", "B")], tries(farm, to)
    finally:
        farm.cli("route", "unpin", "friendly.example")
    assert "leave by A" in farm.cli("route", "why", "friendly.example")
    past = farm.cli("route", "pin", "friendly.example", "B", "--until", "2001-01-01", check=False)
    assert "passed" in past, past
    farm.cli("route", "pin", "friendly.example", "B", "--for", "1s")
    assert wait_for(lambda: "leave by A" in farm.cli("route", "why", "friendly.example"), 10, 0.3), "the pin did not end"


if __name__ == "__main__":
    lab.main(globals())
