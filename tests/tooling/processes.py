"""The processes of one session that this run started, found and ended by their ids."""

import os
import signal
import time


def wait_for_end(session, patience):
    """What still runs in the session after `patience` seconds, as `name (pid)`."""
    deadline = time.monotonic() + patience
    while (found := members(session)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [f"{name} ({pid})" for pid, name in found]


def end(session):
    for pid, _ in members(session):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def members(session):
    """(pid, name) of each live process of the session; a zombie runs no more, whoever has yet to reap it."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                stat = file.read()
        except OSError:
            continue  # it ended meanwhile
        name, _, rest = stat.partition("(")[2].rpartition(")")
        state, _parent, _group, its_session = rest.split()[:4]
        if int(its_session) == session and state not in "ZX":
            found.append((int(entry), name))
    return found
