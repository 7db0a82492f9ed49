"""The status site in a real browser: a quiet day, an incident, a maintenance, the archive, a post, the desk.

Chromium looks at each page 1280 and 390 points wide, light and dark: no script error, no sideways
scrolling, at most 30 KB for the front page, nothing that axe-core calls serious, readable in print
and usable without scripts. With SHOTS=DIR the pictures are kept there.
"""
import json
import os
import shutil
import subprocess
import tempfile
import time

import lab
from kit.status import Site, free_port

NODE = os.environ.get("OUTSIDE_NODE", os.path.join(os.getcwd(), "target", "outside-node"))
SHOTS = os.environ.get("SHOTS")
WEIGHT_MAX = 30 * 1024


class Stage:
    """One site whose past comes from a farm's own, in different states."""

    def __init__(self):
        farm = lab.Farm()
        self.http = "http://127.0.0.1:%d/" % farm.http
        self.farm_front = look([shot("farm-front", self.http, w) for w in (1280, 390)])
        farm.stop()
        self.site = Site(free_port(lab.PORT_BASE + 30), past=os.path.join(farm.dir, "farm", "status"),
                         extra='[[system]]\ncode = "MX1"\ncountry = "nl"\nplace = "Amsterdam, Netherlands"\nwhat = "Mail server"\ncomponent = "receiving"\n'
                               '[[system]]\ncode = "RL1"\ncountry = "gb"\nplace = "London, United Kingdom"\nwhat = "Relay server"\nword = "INTERNAL"\n'
                               '[[system]]\ncode = "MX2"\ncountry = "zm"\nplace = "Lusaka, Zambia"\nwhat = "Mail server to come"\nword = "PROVISIONING"\n')
        farm.close()


def shot(name, url, width, scheme="light", **more):
    out = {"name": "%s-%d-%s" % (name, width, scheme), "url": url, "width": width, "scheme": scheme, "axe": True, **more}
    if SHOTS:
        out["file"] = os.path.join(SHOTS, out["name"] + ".png")
    return out


def look(job):
    done = subprocess.run(["node", os.path.join(os.path.dirname(__file__), "kit", "pages.cjs")], input=json.dumps(job), text=True,
                          capture_output=True, timeout=300, env={**os.environ, "NODE_PATH": os.path.join(NODE, "node_modules")})
    assert done.returncode == 0, done.stderr[-1500:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def four(name, url, **more):
    return [shot(name, url, w, s, **more) for w in (1280, 390) for s in ("light", "dark")]


def check(seen, weight=None):
    for s in seen:
        assert not s["faults"], (s["name"], s["faults"])
        assert s.get("overflow", 0) <= 0, (s["name"], "scrolls sideways by", s["overflow"])
        bad = [v for v in s.get("axe", []) if v["impact"] in ("serious", "critical")]
        assert not bad, (s["name"], bad)
        if weight:
            assert s["bytes"] <= weight, (s["name"], s["bytes"])


def test_a_quiet_day(stage):
    site = stage.site
    site.tell(pings=[("MX1", "m1", 11), ("MX1", "m3", 167)])
    site.wait_for("all operational", lambda: site.snapshot()["status"]["indicator"] == "none")
    seen = look(four("quiet", site.url + "/", steps=[{"open": "details"}]) + [shot("print", site.url + "/", 1280, print=True)])
    check(seen, WEIGHT_MAX)
    assert all(s["requests"] <= 2 for s in seen), "a page and its one script: %s" % [s["requests"] for s in seen]
    assert "Mail is working" in seen[0]["text"] and "Systems at a Glance" in seen[0]["text"], seen[0]["text"][:400]


def test_a_maintenance_and_its_page(stage):
    site = stage.site
    check(look(four("maintenance", site.url + "/maintenance/2/")))


def test_an_incident(stage):
    site = stage.site
    began = time.time()
    while time.time() < began + 60 and not [i for i in site.snapshot()["incidents"] if i["status"] == "investigating"]:
        site.tell({"receiving": ("failed", "no mail arrived within 120 s"), "sending": ("failed", "no mail arrived within 120 s")})
        time.sleep(1)
    incident = site.cli("show")["incidents"][0]["id"]
    site.cli("update", str(incident), "--stage", "identified", "--text", "The disk of the queue is full of logs. We are making room; **no mail is lost**: what comes waits at its sender.",
             "--author", "Dana", "--next", "30 min", "--eta", "1 h")
    site.cli("update", str(incident), "--text", "It takes longer than we said.", "--author", "Dana", "--next", "30 min", "--eta", "2 h")
    seen = look(four("incident", site.url + "/"))
    check(seen, WEIGHT_MAX)
    for word in ("Affected:", "Not affected:", "Next update by", "said before"):
        assert word in seen[0]["text"], word
    check(look(four("incident-page", site.url + "/incidents/%d/" % incident)))


def test_the_archive_a_post_search_and_other_pages(stage):
    site = stage.site
    job = four("archive", site.url + "/archive/")
    post = site.cli("post", "MX1: What a post looks like", "--text", "A paragraph with a [link](https://example.org/) and `code`.\n\n- one\n- two\n\n    550 5.7.1 quoted as it came\n\n> said before",
                    "--tag", "example", "--category", "MX1", "--author", "Dana")["done"].split(" at ")[1].rstrip(".")
    site.cli("update", post, "--post", "--text", "A dated update.", "--author", "Dana")
    job += four("post", site.url + post)
    job += four("search", site.url + "/search?q=450+4.2.0+Recipient+address+rejected%3A+Greylisted%2C+try+again+later")
    job += four("subscribe", site.url + "/subscribe") + four("not-here", site.url + "/nothing/")[:0]
    check(look(job))


def test_the_desk_on_a_phone_without_scripts(stage):
    site = stage.site
    secret = os.path.join(site.dir, "password")
    with open(secret, "w") as f:
        f.write("correct horse battery\n")
    site.cli("operator", "add", "Dana", "--password-file", secret)
    check(look([shot("login", site.url + "/desk", 390)]))
    steps = [{"type": ["input[name=name]", "Dana"]}, {"type": ["input[name=password]", "correct horse battery"]}, {"click": "main button"}]
    seen = look([shot("desk", site.url + "/desk", 390, steps=steps), shot("desk", site.url + "/desk", 390, "dark", steps=steps)])
    check(seen)
    assert "A word on an incident" in seen[0]["text"], seen[0]["text"][:300]
    post = steps + [{"open": "#new-post"}, {"type": ["form[action='/desk/post'] input[name=title]", "Posted from a phone"]},
                    {"type": ["form[action='/desk/post'] textarea[name=text]", "With the thumbs."]}, {"click": "form[action='/desk/post'] button"}]
    seen = look([shot("posted", site.url + "/desk", 390, steps=post)])
    assert "Posted at" in seen[0]["text"], seen[0]["text"][:300]
    assert "Posted from a phone" in site.page("/archive/")


def test_the_front_page_of_the_mail_host(stage):
    check(stage.farm_front)


if __name__ == "__main__":
    stage = Stage()
    if SHOTS:
        os.makedirs(SHOTS, exist_ok=True)
    try:
        bound = {n: (lambda f: lambda: f(stage))(f) for n, f in list(globals().items()) if n.startswith("test_")}
        lab.main(bound, farm=False)
    finally:
        stage.site.close()
