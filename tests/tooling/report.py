"""How the run speaks: each step with its time, each failure as a sentence that says what to do."""

import contextlib
import os
import time


class Failure(Exception):
    """The run cannot go on. The text is for the person at the terminal: what is wrong, and what mends it."""


def say(text):
    print(f"[tests] {text}", flush=True)


@contextlib.contextmanager
def step(name):
    started = time.monotonic()
    try:
        yield
    finally:
        say(f"{name}: {time.monotonic() - started:.1f} s")


def is_root():
    return os.geteuid() == 0


def as_root(command):
    """The command as the present user has to type it."""
    return command if is_root() else f"sudo {command}"
