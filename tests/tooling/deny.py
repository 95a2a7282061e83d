#!/usr/bin/env python3
"""cargo-deny, where it installs: licences, sources and bans always, advisories when their database is within reach.

Part of `make check`, not of `make test`: building it takes minutes.
"""

import os
import shutil
import subprocess
import sys

VERSION = "0.20.2"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OWN_ROOT = os.path.join(ROOT, ".tools", "cargo")
FETCH_SECONDS = 120


def main():
    program = find() or install()
    if not program:
        warn(f"cargo-deny {VERSION} is neither installed nor installable here: licences and bans were NOT checked")
        return 0
    exit_code = deny(program, "check", "bans", "licenses", "sources")
    if fetch_advisories(program):
        return exit_code or deny(program, "check", "--disable-fetch", "advisories")
    warn("the advisory database is out of reach: advisories were NOT checked")
    return exit_code


def find():
    own = os.path.join(OWN_ROOT, "bin", "cargo-deny")
    return own if os.access(own, os.X_OK) else shutil.which("cargo-deny")


def install():
    warn(f"building cargo-deny {VERSION} into .tools/ (once, some minutes)")
    subprocess.run(["cargo", "install", "--quiet", "--locked", f"cargo-deny@{VERSION}", "--root", OWN_ROOT],
                   cwd=ROOT, check=False)
    return find()


def deny(program, *arguments):
    return subprocess.run([program, "--all-features", *arguments], cwd=ROOT, check=False).returncode


def fetch_advisories(program):
    try:
        return subprocess.run([program, "fetch", "db"], cwd=ROOT, capture_output=True, check=False,
                              timeout=FETCH_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def warn(text):
    print(f"[deny] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
