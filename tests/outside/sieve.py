"""Sieve on the wire: sieve-connect puts a script, mail is sorted by it, another client reads the result."""
import os
import re
import subprocess

import lab
from lab import token


def connect(farm, *command, password=None):
    """Runs sieve-connect with the password on descriptor 3."""
    reading, writing = os.pipe()
    os.write(writing, (password or farm.a["password"]).encode())
    os.close(writing)
    try:
        done = subprocess.run(
            ["bash", "-c", 'exec 3<&%d; exec "$@"' % reading, "-", "sieve-connect", "--server", "localhost",
             "--port", str(farm.sieve), "-4", "--user", farm.a["address"], "--passwordfd", "3",
             "--tlscafile", farm.ca, *command],
            capture_output=True, text=True, timeout=60, pass_fds=[reading])
    finally:
        os.close(reading)
    return done


def put(farm, name, text):
    path = os.path.join(farm.dir, name + ".sieve")
    with open(path, "w") as f:
        f.write(text)
    return connect(farm, "--localsieve", path, "--remotesieve", name, "--upload")


SORT = """require ["fileinto", "mailbox", "imap4flags"];
if header :contains "subject" "sort me" { fileinto :create :flags "\\\\Flagged" "Sorted"; }
"""


def test_sieve_connect_puts_a_script_that_sorts_mail(farm):
    done = put(farm, "main", SORT)
    assert done.returncode == 0, done.stdout + done.stderr
    done = connect(farm, "--remotesieve", "main", "--activate")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = connect(farm, "--list")
    assert re.search(r'"main"\s+ACTIVE', listed.stdout), listed.stdout + listed.stderr
    sorted_one, plain = token(), token()
    farm.send_in(lab.mail(sorted_one, subject="sort me"))
    farm.send_in(lab.mail(plain))
    assert farm.find(sorted_one, folder="Sorted") and farm.find(plain)
    assert not farm.find_all(sorted_one, wait_s=0.5)


def test_a_script_with_a_fault_is_refused_with_its_place(farm):
    done = put(farm, "broken", "keep;\nfileinto \"x\";\n")
    said = done.stdout + done.stderr
    assert "line 2, column 1" in said and "fileinto" in said, said
    assert "broken" not in connect(farm, "--list").stdout


def test_a_wrong_password_opens_nothing(farm):
    done = connect(farm, "--list", password="wrong")
    assert done.returncode != 0 and "ACTIVE" not in done.stdout, done.stdout


if __name__ == "__main__":
    lab.main(globals())
