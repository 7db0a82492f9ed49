"""The lines that `postroad up` prints to be copied work when they are pasted into a shell, as they stand."""
import os
import signal
import subprocess
import tempfile
import shutil
import time

import lab
from lab import BINARY, PORT_BASE, run, wait_for


def test_the_lines_that_up_prints_work_when_pasted():
    folder = tempfile.mkdtemp(prefix="postroad-pasted-")
    out = os.path.join(folder, "out")
    process = subprocess.Popen([BINARY, "up", "--data", os.path.join(folder, "farm"), "--port-base", str(PORT_BASE)],
                               stdout=open(out, "w"), stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: "Try it:" in open(out).read(), 60, 0.2), open(out).read()
        time.sleep(0.2)
        said = open(out).read()
        lines = [line for line in said.split("Try it:")[1].splitlines() if line.startswith(("printf", "curl")) or " why " in line]
        kinds = ["send" if "| curl" in line else "read" if line.startswith("curl") else "why" for line in lines]
        assert kinds == ["send", "read", "why", "send", "why"], said
        for kind, line in zip(kinds, lines):
            def paste(line=line, kind=kind):
                done = run(["bash", "-c", line], timeout=60)
                shown = done.stdout + done.stderr
                good = {"send": done.returncode == 0, "read": "It works." in shown,
                        "why": "smtp.accepted" in shown or "send.delivered" in shown}[kind]
                return shown if good else None
            if kind == "send":
                assert paste() is not None, line
            else:
                assert wait_for(paste, 60, 0.5), (line, run(["bash", "-c", line]).stdout)
        readme = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md")).read()
        assert "one that sends (curl)" in readme.replace("\n", " ") and "one that asks why" in readme.replace("\n", " ")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    lab.main(globals(), farm=False)
