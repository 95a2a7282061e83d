#!/usr/bin/env python3
"""Plants bugs, one after another, and demands that the tests notice: `make planted [ARGS=NAME]`.

Each tests/planted/NAME.patch is a small diff against src/ with three words before it:

    # promise: P4
    # bug: an event that cannot be written is passed over
    # caught by: store::faults, lib domain::verdict, canary scan of rpc::create_key

A name is the beginning of a test's path in tests/it.rs; after `lib`, of one in src/. `canary scan of` runs those tests
and demands that the search for secrets afterwards finds one. One of the named suffices. The committed tree is taken,
in a worktree of its own, and all named tests run once without any bug, since a test that always fails notices nothing.
"""

import contextlib
import dataclasses
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tooling import tools  # noqa: E402
from tooling.report import Failure, say  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLANTS = os.path.join(ROOT, "tests", "planted")
TARGET = os.path.join(ROOT, ".tools", "planted-target")
OF_OURS = re.compile(r"(lib)?(countersign|it|capacity)-")
LONGEST_RUN = 300  # seconds; a test must fail, not hang, so a run that takes longer notices nothing
LONGEST_RUN_WITHOUT_BUG = 1_800  # all named tests
LAST_LINES = 25

BINARY = re.compile(r"Running (unittests )?(\S+)")
VERDICT = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED)$", re.M)
SCAN_FOUND = re.compile(r"canary scan: .*: FOUND \d+")
SCAN_CLEAN = re.compile(r"canary scan: .*: none found")


@dataclasses.dataclass(frozen=True, order=True)
class Named:
    """What must notice: tests of one binary, by the beginning of their path, or the scan after they ran."""
    binary: str
    path: str
    by_scan: bool = False

    def covers(self, binary, test):
        return binary == self.binary and (test + "::").startswith(self.path + "::")

    def __str__(self):
        return ("canary scan of " if self.by_scan else "") + ("lib " if self.binary == "lib" else "") + self.path


@dataclasses.dataclass(frozen=True)
class Plant:
    name: str
    patch: str
    promise: str
    bug: str
    caught_by: tuple

    @classmethod
    def read(cls, name):
        path = os.path.join(PLANTS, f"{name}.patch")
        if not os.path.exists(path):
            raise Failure(f"there is no tests/planted/{name}.patch; there are: {', '.join(names())}")
        text = tools.read(path)
        words = dict(re.findall(r"^# (promise|bug|caught by): (.+)$", text, re.M))
        if len(words) != 3:
            raise Failure(f"{name}.patch must begin with `# promise: …`, `# bug: …` and `# caught by: …`")
        caught_by = tuple(named(one.strip()) for one in words["caught by"].split(","))
        return cls(name, path, words["promise"], words["bug"], caught_by)


def named(text):
    by_scan = text.startswith("canary scan of ")
    text = text.removeprefix("canary scan of ")
    return Named("lib" if text.startswith("lib ") else "it", text.removeprefix("lib "), by_scan)


def names():
    return sorted(file.removesuffix(".patch") for file in os.listdir(PLANTS) if file.endswith(".patch"))


class Interrupted(Exception):
    pass


def interrupt(signal_number, _frame):
    raise Interrupted(signal.Signals(signal_number).name)


def main(arguments):
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, interrupt)
    rows = []
    try:
        plants = [Plant.read(name.removesuffix(".patch")) for name in arguments or names()]
        tools_dir = tools.install(ROOT)
        with only_one_at_a_time(), worktree() as tree:
            seed()
            check_without_bug(tree, tools_dir, {one for plant in plants for one in plant.caught_by})
            for plant in plants:
                rows.append((plant, *try_plant(tree, tools_dir, plant)))
                say(f"{plant.name}: {rows[-1][1]}")
    except Failure as failure:
        say(f"FAILED: {failure}")
        return 1
    except Interrupted as interrupted:
        say(f"stopped by {interrupted}")
        return 130
    finally:
        print_table(rows)
    failed = [plant.name for plant, _, caught, _ in rows if not caught]
    say(f"{len(rows) - len(failed)} of {len(rows)} bugs were noticed" + "".join(f"\n  NOT: {name}" for name in failed))
    return 1 if failed else 0


def print_table(rows):
    lines = [("promise", "bug", "caught by", "time")]
    lines += [(plant.promise, f"{plant.name}: {plant.bug}", what, f"{seconds:.0f} s")
              for plant, what, _, seconds in sorted(rows, key=lambda row: by_number(row[0].promise))]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    for line in lines if rows else ():
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip(), flush=True)


def by_number(promise):
    numbered = re.match(r"P(\d+)", promise)
    return (0, int(numbered[1]), "") if numbered else (1, 0, promise)


def check_without_bug(tree, tools_dir, wanted):
    say("all named tests, without any bug")
    run = Run(tree, tools_dir, wanted, LONGEST_RUN_WITHOUT_BUG)
    for one in sorted(wanted):
        if not run.ran(one):
            raise Failure(f"no test {one} ran:\n{run.tail()}")
    if failed := run.failed(wanted):
        raise Failure(f"without any bug these fail: {', '.join(failed)}\n{run.tail()}")
    if run.exit_code != 0:
        raise Failure(f"without any bug the run fails:\n{run.tail()}")


def try_plant(tree, tools_dir, plant):
    """What noticed the bug, or why nothing did; whether it was noticed; how long that took."""
    started = time.monotonic()
    what, caught = outcome(tree, tools_dir, plant)
    git(tree, "checkout", "--quiet", "--", ".")
    git(tree, "clean", "--quiet", "--force", "-d")  # e.g. the cases that proptest keeps
    return what, caught, time.monotonic() - started


def outcome(tree, tools_dir, plant):
    applied = subprocess.run(["git", "apply", plant.patch], cwd=tree, capture_output=True, text=True, check=False)
    if applied.returncode != 0:
        return f"NOT PLANTED, the patch no longer applies: {applied.stderr.strip()}", False
    run = Run(tree, tools_dir, plant.caught_by, LONGEST_RUN)
    tests = [one for one in plant.caught_by if not one.by_scan]
    if failed := run.failed(tests):
        return f"{failed[0]}" + (f" and {len(failed) - 1} more" if len(failed) > 1 else ""), True
    if len(tests) < len(plant.caught_by) and SCAN_FOUND.search(run.output):
        return "the canary scan", True
    if run.exit_code is None:
        return f"NOT NOTICED, a test hung for {LONGEST_RUN} s", False
    # That nothing ran proves nothing, e.g. because the bug does not compile.
    scanned = len(tests) == len(plant.caught_by) or SCAN_CLEAN.search(run.output)
    if scanned and all(run.ran(one) for one in plant.caught_by):
        return "NOT NOTICED", False
    print(run.tail(), flush=True)
    return "NOT RUN, see its last lines above", False


class Run:
    """The named tests, run by tests/run.py of that tree."""

    def __init__(self, tree, tools_dir, wanted, longest):
        binaries = {one.binary for one in wanted}
        cargo = [*(["--lib"] if "lib" in binaries else []), *(["--test", "it"] if "it" in binaries else [])]
        command = [sys.executable, "tests/run.py", "--", *cargo, "--", *sorted({one.path for one in wanted})]
        env = dict(os.environ, CARGO_TARGET_DIR=TARGET, CSTEST_TOOLS=tools_dir, CARGO_TERM_COLOR="never")
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            process = subprocess.Popen(command, cwd=tree, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            try:
                self.exit_code = process.wait(longest)
            except subprocess.TimeoutExpired:
                self.exit_code = None
            finally:
                process.terminate()  # it ends what it started
                process.wait()
            log.seek(0)
            self.output = log.read()
        self.verdicts = list(self._verdicts())

    def _verdicts(self):
        binary = None
        for line in self.output.splitlines():
            if running := BINARY.search(line):
                binary = "lib" if running[1] else "it"
            elif verdict := VERDICT.match(line):
                yield binary, verdict[1], verdict[2]

    def ran(self, one):
        return any(one.covers(binary, test) for binary, test, _ in self.verdicts)

    def failed(self, wanted):
        return [test for binary, test, verdict in self.verdicts
                if verdict == "FAILED" and any(one.covers(binary, test) for one in wanted)]

    def tail(self):
        return "\n".join("    " + line for line in self.output.splitlines()[-LAST_LINES:])


@contextlib.contextmanager
def only_one_at_a_time():
    """They share the target folder, and one would test the other's bug."""
    with open(os.path.join(ROOT, ".tools", "planted-lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def worktree():
    """The committed tree, in a folder that is gone afterwards, also after Ctrl-C."""
    folder = tempfile.mkdtemp(prefix="countersign-planted-")
    tree = os.path.join(folder, "tree")
    try:
        git(ROOT, "worktree", "add", "--quiet", "--detach", tree, "HEAD")
        yield tree
    finally:
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signal_number, signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)
        git(ROOT, "worktree", "prune")


def git(place, *arguments):
    done = subprocess.run(["git", *arguments], cwd=place, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"git {' '.join(arguments)}: {done.stderr.strip()}")


def seed():
    """Takes over the dependencies that the ordinary target folder has compiled. What is of ours is compiled anew."""
    source = os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "debug")
    if os.path.exists(TARGET) or not os.path.exists(os.path.join(source, ".cargo-lock")):
        return
    say("copying the compiled dependencies, once")
    half = tempfile.mkdtemp(prefix="planted-target-", dir=os.path.join(ROOT, ".tools"))
    try:
        with open(os.path.join(source, ".cargo-lock"), "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # cargo's own: nothing is being built meanwhile
            for part in (".fingerprint", "build", "deps"):
                shutil.copytree(os.path.join(source, part), os.path.join(half, "debug", part), symlinks=True,
                                ignore=lambda _, files: [file for file in files if OF_OURS.match(file)])
        os.rename(half, TARGET)
    finally:
        shutil.rmtree(half, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
