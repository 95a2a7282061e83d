#!/usr/bin/env python3
"""The one test command: `make test`, or `python3 tests/run.py [--keep] [--tools-only] [--] [arguments of cargo test]`.

It installs what is missing (into .tools/, or by apt), starts a throwaway PostgreSQL, runs `cargo test`, and then
searches everything that the run left behind for every secret that the run made. Nothing outlives it: no process, no
folder (unless --keep or CSTEST_KEEP=1 asks for the run folder). --tools-only stops after the installing.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from tooling import canary_check, packages, processes, tools  # noqa: E402
from tooling.postgres import Cluster  # noqa: E402
from tooling.report import Failure, say, step  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Interrupted(Exception):
    def __init__(self, signal_number):
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


def interrupt(signal_number, _frame):
    raise Interrupted(signal_number)


def main():
    started = time.monotonic()
    options, arguments = read_arguments(sys.argv[1:])
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, interrupt)
    try:
        exit_code = run(options, arguments)
    except Failure as failure:
        say(f"FAILED: {failure}")
        exit_code = 1
    except Interrupted as interrupted:
        say(f"stopped by {interrupted}")
        exit_code = interrupted.exit_code
    say(f"{'passed' if exit_code == 0 else 'FAILED'} in {time.monotonic() - started:.1f} s")
    return exit_code


def read_arguments(arguments):
    """Ours come first; a first `--` is dropped, and all the rest is cargo test's."""
    options = {"--keep"} if os.environ.get("CSTEST_KEEP") == "1" else set()
    while arguments and arguments[0] in ("--keep", "--tools-only", "--"):
        option, *arguments = arguments
        if option == "--":
            break
        options.add(option)
    return options, arguments


def run(options, arguments):
    with step("tools"):
        tools.check_build_tools(ROOT)
        tools_dir = os.environ.get("CSTEST_TOOLS") or tools.install(ROOT)  # a worktree borrows them
        if "--tools-only" in options:
            return 0
        programs = tools.postgres_programs()
        pgbouncer, faketime = packages.program("pgbouncer"), packages.faketime()
        curl, nginx = packages.program("curl"), packages.program("nginx")
        prometheus, promtool = (packages.program(name, "prometheus") for name in ("prometheus", "promtool"))
    run_dir = make_run_dir()
    say(f"run folder: {run_dir}")
    cluster = Cluster(programs, run_dir)
    try:
        with step("PostgreSQL"):
            cluster.start()
        with step("cargo test"):
            places = {"CSTEST_RUN_DIR": run_dir, "CSTEST_TOOLS": tools_dir, "CSTEST_POSTGRES_URL": cluster.url,
                      "CSTEST_POSTGRES_PROGRAMS": programs, "CSTEST_PGBOUNCER": pgbouncer,
                      "CSTEST_FAKETIME": faketime, "CSTEST_CURL": curl, "CSTEST_NGINX": nginx,
                      "CSTEST_PROMETHEUS": prometheus, "CSTEST_PROMTOOL": promtool}
            exit_code = cargo_test(arguments, run_dir, places)
        with step("canary scan"):
            cluster.stop()
            clean = canary_check.check(run_dir, demand_canaries=not arguments)
        return exit_code or (0 if clean else 1)
    finally:
        ignore_signals()
        cluster.stop()
        if "--keep" in options:
            say(f"kept: {run_dir}")
        else:
            shutil.rmtree(run_dir, ignore_errors=True)


def make_run_dir():
    run_dir = tempfile.mkdtemp(prefix="countersign-test-")
    os.chmod(run_dir, 0o711)  # PostgreSQL runs as another user and has to pass through
    for name in ("canaries", "data", "logs"):
        os.mkdir(os.path.join(run_dir, name), 0o700)
    return run_dir


def ignore_signals():
    """A second Ctrl-C must not leave the cleaning half done."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)


def cargo_test(arguments, run_dir, places):
    """Runs cargo in a session of its own, so that ending it ends the tests and their servers too. What it prints is
    also kept in the run folder: error texts and panics are searched for secrets like everything else."""
    env = dict(os.environ, **places)
    if sys.stdout.isatty():
        env.setdefault("CARGO_TERM_COLOR", "always")
    cargo = subprocess.Popen(["cargo", "test", "--locked", "--no-fail-fast", *arguments], cwd=ROOT, env=env,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)
    copier = threading.Thread(target=copy_output, args=(cargo.stdout, os.path.join(run_dir, "logs", "tests.log")),
                              daemon=True)
    copier.start()
    try:
        exit_code = cargo.wait()
        left_over = processes.wait_for_end(cargo.pid, patience=2)
    finally:
        processes.end(cargo.pid)
        cargo.wait()
    copier.join(10)
    if left_over:
        say(f"the tests left processes behind (ended now): {', '.join(left_over)}. Each test must end what it starts")
        return exit_code or 1
    return exit_code


def copy_output(source, path):
    with open(path, "wb") as log:
        while chunk := source.read1(1 << 16):
            log.write(chunk)
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
