"""The public SPF suite (rfc7208-tests.yml, as the pyspf package carries it) against our evaluator.

The package is fetched with pip into target/outside/; nothing of it is kept in this repository.
Without a package index the test fails and says so: an SPF evaluator that was not run against the
suite is not known to be right.
"""
import glob
import json
import os
import subprocess
import sys
import tarfile

TARGET = os.environ.get("CARGO_TARGET_DIR", "target")
FOLDER = os.path.join("target", "outside", "pyspf")
PACKAGE = "pyspf==2.0.14"


def tool():
    subprocess.run(["cargo", "build", "--quiet", "-p", "mailauth", "--example", "mailauth_tool"],
                   check=True, timeout=590)
    return os.path.join(TARGET, "debug", "examples", "mailauth_tool")


def suite():
    import yaml
    os.makedirs(FOLDER, exist_ok=True)
    if not glob.glob(FOLDER + "/*.tar.gz"):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
                        ":all:", PACKAGE, "-d", FOLDER], check=True, timeout=200)
    with tarfile.open(glob.glob(FOLDER + "/*.tar.gz")[0]) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("/rfc7208-tests.yml"))
        text = archive.extractfile(member).read()
    path = os.path.join(FOLDER, "suite.json")
    with open(path, "w") as out:
        json.dump([d for d in yaml.safe_load_all(text) if d], out)
    return path


def main():
    try:
        path = suite()
    except (subprocess.SubprocessError, ImportError, OSError, StopIteration) as e:
        print("not ok the_public_spf_suite: the package %s cannot be fetched or read: %s" % (PACKAGE, e))
        return 1
    run = subprocess.run([tool(), "spf", path], capture_output=True, text=True, timeout=120)
    print(run.stdout, end="")
    if run.returncode != 0:
        print("not ok the_public_spf_suite: see above. %s" % run.stderr.strip())
        return 1
    print("ok the_public_spf_suite")
    return 0


if __name__ == "__main__":
    sys.exit(main())
