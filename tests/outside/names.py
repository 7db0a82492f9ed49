"""A name server on loopback that knows what a test tells it, over UDP."""
import socket
import struct
import threading

TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 52: "TLSA"}


def wire_name(name):
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"


def data(kind, value):
    if kind == "A":
        return socket.inet_aton(value)
    if kind == "MX":
        preference, host = value if isinstance(value, tuple) else (10, value)
        return struct.pack(">H", preference) + wire_name(host)
    if kind == "TXT":
        raw = value.encode()
        return b"".join(bytes([len(raw[i:i + 255])]) + raw[i:i + 255] for i in range(0, len(raw), 255))
    return wire_name(value)


class Names:
    """`zones` maps (name, type) to a list of values; what is not in it does not exist."""

    def __init__(self, port, zones=None, ttl=60):
        self.zones, self.ttl = zones or {}, ttl
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        threading.Thread(target=self.serve, daemon=True).start()

    def add(self, name, kind, *values):
        self.zones.setdefault((name.lower(), kind), []).extend(values)

    def serve(self):
        while True:
            try:
                asked, peer = self.socket.recvfrom(4096)
                self.socket.sendto(self.answer(asked), peer)
            except OSError:
                return

    def answer(self, asked):
        at, labels = 12, []
        while asked[at]:
            labels.append(asked[at + 1:at + 1 + asked[at]].decode())
            at += 1 + asked[at]
        question = asked[12:at + 5]
        name, kind = ".".join(labels).lower(), TYPES.get(struct.unpack(">H", asked[at + 1:at + 3])[0], "?")
        found = self.zones.get((name, kind), [])
        exists = any(n == name for n, _ in self.zones)
        flags = 0x8180 | (0 if exists else 3)
        out = asked[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0) + question
        number = next(n for n, k in TYPES.items() if k == kind) if found else 0
        for value in found:
            raw = data(kind, value)
            out += b"\xc0\x0c" + struct.pack(">HHIH", number, 1, self.ttl, len(raw)) + raw
        return out

    def close(self):
        self.socket.close()
