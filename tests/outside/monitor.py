"""The monitor as an operator meets it: `postroad serve` with role = "monitor" beside a farm and a mail host of its own.

Everything that takes its time (three minutes of silence, a thousand probes a minute) runs at the same time; the tests look at
it one after the other.
"""
import http.server
import json
import os
import shutil
import signal
import socket
import socketserver
import ssl
import tempfile
import threading
import time
import urllib.request

import lab
from lab import PORT_BASE, run, wait_for
from serving import Serving

MANY = 1000


class Ntfy(http.server.BaseHTTPRequestHandler):
    """A push server that keeps what it gets."""
    heard = []

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        Ntfy.heard.append((time.monotonic(), self.path, self.headers.get("Title", ""), text))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        body = b"all is well"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Web(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 512
    address_family = socket.AF_INET


def titles(path):
    return [title for _, at, title, _ in Ntfy.heard if at == path]


class Role(Serving):
    """A host of any role, by its name."""

    def __init__(self, name, text):
        super().__init__("monitor")
        self.name = name
        self.write(text)

    def write(self, text):
        super().write(self.framed("host_name = \"%s\"\n%s" % (self.name, text)))

    def cli(self, *args, as_json=False, timeout=120):
        done = self.order(*args, *(["--json"] if as_json else []), timeout=timeout)
        return json.loads(done.stdout) if as_json else done.stdout


def get(port, path):
    with urllib.request.urlopen("http://127.0.0.1:%d%s" % (port, path), timeout=20) as got:
        return got.read().decode()


def listener(port):
    return '[[listener]]\nfront = "http"\naddress = "127.0.0.1:%d"\ntls = "none"\n' % port


def ended_certificate(folder):
    """A certificate that ended years ago."""
    conf = os.path.join(folder, "ca.cnf")
    with open(conf, "w") as f:
        f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index\nnew_certs_dir=%s\nserial=%s/serial\ndefault_md=sha256\npolicy=p\n"
                "x509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:localhost\n" % (folder, folder, folder))
    open(os.path.join(folder, "index"), "w").close()
    with open(os.path.join(folder, "serial"), "w") as f:
        f.write("01\n")
    key, csr, crt = (os.path.join(folder, "old." + end) for end in ("key", "csr", "crt"))
    for command in (
            ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", csr, "-subj", "/CN=localhost"],
            ["openssl", "ca", "-batch", "-config", conf, "-selfsign", "-keyfile", key, "-in", csr, "-out", crt, "-notext",
             "-startdate", "20200101000000Z", "-enddate", "20200201000000Z"]):
        done = run(command)
        assert done.returncode == 0, done.stderr
    return crt, key


class Scene:
    """All that runs at the same time; made once."""
    one = None

    def __init__(self, farm):
        self.farm, self.dir = farm, tempfile.mkdtemp(prefix="postroad-monitor-scene-")
        self.web = Web(("127.0.0.1", PORT_BASE + 1), Ntfy)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        self.old_tls()
        self.looker = self.watch_farm()
        self.host, self.waiter = self.watch_host()
        self.many = self.watch_many()
        self.began = time.monotonic()

    def ntfy(self, path):
        return '[[channel]]\nname = "phone"\nkind = "ntfy"\nurl = "http://127.0.0.1:%d%s"\n' % (PORT_BASE + 1, path)

    def old_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*ended_certificate(self.dir))
        self.old = Web(("127.0.0.1", PORT_BASE + 2), Ntfy)
        self.old.socket = context.wrap_socket(self.old.socket, server_side=True)
        threading.Thread(target=self.old.serve_forever, daemon=True).start()

    def watch_farm(self):
        """Every probe of a mail host, at the farm's ports."""
        farm = self.farm
        for n, account in enumerate((farm.a, farm.b)):
            with open(os.path.join(self.dir, "password%d" % n), "w") as f:
                f.write(account["password"] + "\n")
        names = ["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve"]
        text = 'role = "monitor"\n' + listener(PORT_BASE + 14)
        text += '[access]\ntrusted_authorities = ["%s"]\n[monitor]\npoint = "m1"\nurl = "http://127.0.0.1:%d/"\n' % (
            farm.ca, PORT_BASE + 14)
        text += '[[watch]]\nhost = "%s"\naddress = "127.0.0.1"\nlists = false\nfrom = "probe@friendly.example"\n' % farm.host
        text += "ports = [%s]\n" % ", ".join('"%s=%d"' % (n, getattr(farm, n)) for n in names)
        for n, (account, prefix) in enumerate(((farm.a, ""), (farm.b, "second_"))):
            text += '%saccount = "%s"\n%spassword_file = "%s/password%d"\n' % (prefix, account["address"], prefix, self.dir, n)
        text += '[[probe]]\nname = "closed"\nkind = "tcp"\ntarget = "127.0.0.1:%d"\n' % (PORT_BASE + 99)
        text += '[[probe]]\nname = "old"\nkind = "http"\ntarget = "https://127.0.0.1:%d/"\n' % (PORT_BASE + 2)
        text += '[[probe]]\nname = "page"\nkind = "http"\ntarget = "http://127.0.0.1:%d/"\nexpect = "all is well"\n' % (PORT_BASE + 1)
        text += '[[probe]]\nname = "ping"\nkind = "ping"\ntarget = "127.0.0.1"\n'
        looker = Role("m1.example", text + self.ntfy("/farm"))
        looker.start()
        return looker

    def watch_host(self):
        """A mail host that reports to a monitor, and then dies."""
        waiter = Role("m2.example", 'role = "monitor"\n' + listener(PORT_BASE + 15))
        host = Role("mx.silent.example", '[[listener]]\nfront = "smtp"\naddress = "127.0.0.1:%d"\n' % (PORT_BASE + 26))
        peer = '[[peer]]\nname = "%s"\nkey = "%s"\n'
        waiter_key, host_key = waiter.key(), host.key()
        waiter.write('role = "monitor"\n' + listener(PORT_BASE + 15) + '[monitor]\nheartbeat = ["mx.silent.example"]\n'
                     + peer % ("mx.silent.example", host_key) + self.ntfy("/silent"))
        host.write('[[listener]]\nfront = "smtp"\naddress = "127.0.0.1:%d"\n' % (PORT_BASE + 26)
                   + peer % ("m2.example", waiter_key) + 'url = "http://127.0.0.1:%d/"\n' % (PORT_BASE + 15))
        waiter.start()
        host.start()
        heard = lambda: any(h["name"] == "mx.silent.example" and h["silent_s"] < 60 and h["disks"]
                            for h in json.loads(get(PORT_BASE + 15, "/status.json"))["hosts"])
        assert wait_for(heard, 60, 0.5), get(PORT_BASE + 15, "/status.json") + host.log()
        host.process.send_signal(signal.SIGKILL)
        host.process.wait(10)
        self.killed = time.monotonic()
        return host, waiter

    def watch_many(self):
        """A thousand probes a minute: half of them connect, half of them fetch a page."""
        text = 'role = "monitor"\n' + listener(PORT_BASE + 16)
        for n in range(MANY):
            at = "127.0.%d.%d:%d" % (n // 200, n % 200 + 1, PORT_BASE + 3)
            kind, target = ("tcp", at) if n % 2 else ("http", "http://%s/" % at)
            text += '[[probe]]\nname = "many.%d"\nkind = "%s"\ntarget = "%s"\n' % (n, kind, target)
        self.targets = Web(("0.0.0.0", PORT_BASE + 3), Ntfy)
        threading.Thread(target=self.targets.serve_forever, daemon=True).start()
        many = Role("m3.example", text + self.ntfy("/many"))
        many.start()
        self.many_began = time.monotonic()
        return many

    def close(self):
        for serving in (self.looker, self.waiter, self.many, self.host):
            serving.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def scene(farm):
    if Scene.one is None:
        Scene.one = Scene(farm)
    return Scene.one


def test_every_probe_of_a_working_host_is_good(farm):
    looker = scene(farm).looker
    probes = looker.cli("monitor", "probes", as_json=True)
    ids = [p["id"] for p in probes]
    assert len(ids) > 20 and "loop.in." + farm.host in ids, ids
    odd = []
    for probe in ids:
        if probe not in ("closed", "old", "ping"):
            found = [p for p in looker.cli("monitor", "look", probe, as_json=True) if p["id"] == probe][0]
            if found["look"] != "good":
                odd.append((probe, found["look"], found["says"]))
    assert not odd, odd
    loop = [p for p in looker.cli("monitor", "probes", "loop.in", as_json=True)][0]
    assert "in INBOX after" in loop["says"] and loop["ms"] < 60_000, loop
    assert farm.count(farm.a) == 0, "loop messages are removed"


def test_a_certificate_that_ended_is_named(farm):
    looker = scene(farm).looker
    found = [p for p in looker.cli("monitor", "look", "old", as_json=True) if p["id"] == "old"][0]
    assert found["look"] == "failed" and "ended on 2020-02-01" in found["says"], found


def test_figures_dashboard_and_rules_are_of_one_piece(farm):
    looker = scene(farm).looker
    text = get(PORT_BASE + 14, "/metrics")
    assert 'probe_success{probe="loop.in.%s",component="receiving",point="m1"} 1' % farm.host in text, text
    assert "probe_ssl_earliest_cert_expiry{" in text
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    for line in text.splitlines():
        if not line.startswith("#"):
            assert line.split("{")[0].split()[0] in named, line
            float(line.rsplit(" ", 1)[1])
    dashboard = json.loads(looker.cli("monitor", "grafana"))
    assert dashboard["panels"] and dashboard["templating"]["list"][0]["type"] == "datasource"
    rules = looker.cli("monitor", "rules")
    assert rules.startswith("groups:") and "PostroadMailDoesNotFlow" in rules
    assert "loop.in" in get(PORT_BASE + 14, "/")


def test_a_closed_port_is_one_alert_and_is_acknowledged_by_its_link(farm):
    looker = scene(farm).looker
    assert wait_for(lambda: any("closed" in t for t in titles("/farm")), 240, 1), (titles("/farm"), looker.cli("monitor", "probes"))
    time.sleep(10)
    assert sum("closed" in t for t in titles("/farm")) == 1, titles("/farm")
    alerts = {a["cause"]: a for a in json.loads(get(PORT_BASE + 14, "/status.json"))["alerts"]}
    cause = [c for c in alerts if c.startswith("closed")][0]
    said = looker.cli("monitor", "ack", cause, "--by", "Ann")
    assert "Ann has" in said, said
    assert [a for a in looker.cli("monitor", "alerts", as_json=True) if a["cause"] == cause][0]["by"] == "Ann"
    looker.cli("monitor", "silence", "closed*", "--for", "1h")
    assert "closed*" in get(PORT_BASE + 14, "/status.json")


def test_a_thousand_probes_a_minute_take_less_than_100_mb(farm):
    s = scene(farm)
    wait_for(lambda: time.monotonic() - s.many_began > 130, 140, 1)
    tries = lambda: float([l for l in get(PORT_BASE + 16, "/metrics").splitlines() if l.startswith("postroad_probes_total")][0].split()[-1])
    first, began = tries(), time.monotonic()
    ticks = os.sysconf("SC_CLK_TCK")
    cpu = lambda: sum(map(int, open("/proc/%d/stat" % s.many.process.pid).read().rsplit(")", 1)[1].split()[11:13])) / ticks
    used = cpu()
    time.sleep(60)
    minutes = (time.monotonic() - began) / 60
    rate, used = (tries() - first) / minutes, (cpu() - used) / minutes
    now, most = s.many.memory_kib()
    print("  %d probes: %.0f tries a minute, %.1f s of CPU a minute, %.1f MB now, %.1f MB at most"
          % (MANY, rate, used, now / 1024, most / 1024))
    assert rate >= MANY * 0.97, rate
    assert most < 100 * 1024, most
    states = [p["state"] for p in json.loads(get(PORT_BASE + 16, "/status.json"))["probes"]]
    assert states.count("good") >= MANY * 0.99, {x: states.count(x) for x in set(states)}


def test_a_mail_host_that_is_silent_is_spoken_of_after_three_minutes(farm):
    s = scene(farm)
    assert wait_for(lambda: titles("/silent"), 230, 1), get(PORT_BASE + 15, "/status.json")
    at, _, title, _ = [h for h in Ntfy.heard if h[1] == "/silent"][0]
    after = at - s.killed
    print("  told %.0f s after the last sign of life" % after)
    assert "mx.silent.example has said nothing since" in title and 150 <= after <= 230, (title, after)
    s.close()


if __name__ == "__main__":
    lab.main(globals())
