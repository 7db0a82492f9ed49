#!/usr/bin/env python3
"""`cargo xtask bench`: Postroad beside Postfix + Dovecot, the same work in the same run, as ratios.

  bench.py [--tests Aq,B,C,D,E] [--runs 1] [--only postroad] [--keep-lab]

Needs root (cgroups, Postfix), gcc, smtp-source/smtp-sink and Debian's Dovecot. Loopback only; it
ends by itself. Tests and figures are described in README.md beside this file.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LAB = os.environ.setdefault("LAB", "/var/tmp/postroad-bench")


def harness(*args):
    return subprocess.run([sys.executable, os.path.join(HERE, "harness.py"), *args], env=os.environ).returncode == 0


def load(name):
    try:
        with open(os.path.join(LAB, "results", name + ".json")) as f:
            return json.load(f)
    except OSError:
        return {"results": []}


def cells(result):
    """Each comparable figure by its name: {(work, figure): median}."""
    found = {}

    def put(work, figure, value):
        if value is not None:
            found.setdefault((work, figure), []).append(value)

    for r in result["results"]:
        if r["test"] in ("A", "A0"):
            work = "%s: %d sessions, %d KiB" % (r["test"], r["sessions"], r["size"] // 1024)
            figures = (("msgs/s", "rate"), ("CPU s per 1000", "cpu_per_1000"), ("own bytes per byte", "proc_write_per_byte"),
                       ("disk flushes per message", "flushes_per_msg"), ("peak anon MB", "peak_anon_mb"))
        elif r["test"] == "A2":
            work = "A2: %d sessions, 200 mailboxes%s" % (r["sessions"], ", reused" if r["reuse"] else "")
            figures = (("acks/s", "ack_rate"), ("CPU s per 1000", "cpu_per_1000"), ("disk flushes per message", "flushes_per_msg"))
        elif r["test"] == "B":
            work = "B: relay to %d domains" % r["domains"]
            figures = (("msgs/s", "rate"), ("CPU s per 1000", "cpu_per_1000"))
        elif r["test"] == "C":
            work = "C: " + r["op"]
            figures = (("s", "wall_s"), ("CPU s", "cpu_s"))
        elif r["test"] == "D":
            work = "D: %d idle IMAP" % r["n"]
            figures = (("PSS KiB each", "pss_kib_per_conn"), ("idle CPU ms/s", "idle_cpu_ms_per_s"))
        elif r["test"] == "E":
            work = "E: POP3 " + r["mode"]
            figures = (("msgs/s", "rate"), ("CPU s", "cpu_s"))
        elif r["test"] == "Q":
            work = "Q: %d deferred messages" % r["n"]
            figures = (("peak anon MB", "peak_anon_mb"), ("resting anon MB", "resting_anon_mb"), ("restart s after kill -9", "restart_s"))
        else:
            continue
        for figure, key in figures:
            put(work, figure, r.get(key))
    return {k: statistics.median(v) for k, v in found.items()}


def limits(result):
    rows = []
    for g in result.get("loopback", []):
        rows.append("smtp-source into smtp-sink, %s, %d sessions, %d KiB: %s msgs/s" % (g["tool"], g["sessions"], g["size"] // 1024, g["rate"]))
    for io in result.get("io", [])[:1]:
        for k, v in io.items():
            rows.append("disk, %s: %.0f/s, p50 %s ms" % (k, v["ops_per_s"], v["p50_ms"]))
    return rows


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tests", default="Aq,A2,B,C,E,D")
    p.add_argument("--runs", default="1")
    p.add_argument("--only", default="")
    p.add_argument("--limits", action="store_true", help="measure disk and loopback first (about two minutes)")
    a = p.parse_args()
    os.makedirs(os.path.join(LAB, "results"), exist_ok=True)
    os.environ.setdefault("POSTROAD", os.path.join(HERE, "../../target/release/postroad"))
    if a.limits:
        harness("limits", "-r", "1")
    ok = True
    for target in ("postfix-dovecot", "postroad"):
        if a.only in ("", target):
            ok = harness("run", target, "-t", a.tests, "-r", a.runs) and ok
    theirs, ours = cells(load("postfix-dovecot")), cells(load("postroad"))
    print("\n| work | figure | Postfix + Dovecot | Postroad | ratio |\n|---|---|---|---|---|")
    for key in [k for k in theirs if k in ours] + [k for k in ours if k not in theirs]:
        t, o = theirs.get(key), ours[key]
        ratio = "%.2f" % (o / t) if t else "–"
        print("| %s | %s | %s | %s | %s |" % (*key, "–" if t is None else round(t, 3), round(o, 3), ratio))
    for row in limits(load("limits")):
        print(row)
    failed = load("postroad").get("failed")
    if failed:
        print("failed:", failed)
    return 0 if ok and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
