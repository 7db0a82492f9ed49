"""Every scene that comes with us is played: in virtual time, and some on real sockets too."""
import glob
import json
import os
import subprocess
import sys
import threading
import time

BINARY = os.environ.get("POSTROAD", "target/release/postroad")
# Played on sockets as well, with a process that is killed and comes back; the rest needs hours.
ON_SOCKETS = {"r01-short", "r02", "r49"}
TIME_MAX_S = 240


def play(name, scene, *more):
    began = time.monotonic()
    done = subprocess.run([BINARY, "drill", scene, "--json", *more], capture_output=True, text=True, timeout=TIME_MAX_S)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return "exit %d: %s" % (done.returncode, (done.stderr or done.stdout).strip()[-600:])
    failed = ["%s (%s): %s, wanted %s" % (c["check"], c["about"], c["shown"], c["bound"])
              for c in report["checks"] if not c["passed"]]
    if (done.returncode == 0) != (not failed and report["passed"]):
        return "exit %d does not fit the table" % done.returncode
    print("# %s: %d checks in %.1f s" % (name, len(report["checks"]), time.monotonic() - began))
    return "; ".join(failed)


def tell(name, why):
    print("ok %s" % name if not why else "not ok %s: %s" % (name, why), flush=True)
    return not why


def attempt(name, scene, *more):
    try:
        return tell(name, play(name, scene, *more))
    except subprocess.TimeoutExpired:
        return tell(name, "not over after %d s" % TIME_MAX_S)


def a_wrong_file_says_where():
    path = "/tmp/postroad-drill-wrong-%d.toml" % os.getpid()
    with open(path, "w") as f:
        f.write('[scene]\nname = "x"\nlength = "1 hour"\n')
    done = subprocess.run([BINARY, "drill", path, "--virtual"], capture_output=True, text=True, timeout=20)
    os.unlink(path)
    right = done.returncode == 2 and path + ":3:10" in done.stderr and not done.stdout
    return tell("a_wrong_file_says_where", "" if right else "exit %d: %s" % (done.returncode, done.stderr))


def main():
    wanted = set(sys.argv[1:])
    good = [a_wrong_file_says_where()]
    scenes = {os.path.splitext(os.path.basename(path))[0]: path for path in sorted(glob.glob("scenes/*.toml"))}
    scenes = {stem: path for stem, path in scenes.items() if not wanted or stem in wanted}
    # Those on sockets wait most of the time: they run beside the others.
    beside = []
    for stem in sorted(ON_SOCKETS & set(scenes)):
        def play_one(name=stem.replace("-", "_") + "_on_sockets", path=scenes[stem]):
            good.append(attempt(name, path))
        beside.append(threading.Thread(target=play_one))
        beside[-1].start()
    for stem, path in scenes.items():
        good.append(attempt(stem.replace("-", "_") + "_in_virtual_time", path, "--virtual"))
    for thread in beside:
        thread.join()
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
