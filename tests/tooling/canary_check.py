"""Runs the canary scan over a run folder, after it has proved on made-up canaries that it can find."""

import base64
import os
import random
import secrets
import string

from . import canaries
from .report import say

BASE62 = string.digits + string.ascii_letters


def check(run_dir, demand_canaries):
    """True when nothing was found. Of a whole run it demands that there was something to find."""
    if not self_test(run_dir):
        return False
    noted = canaries.load(os.path.join(run_dir, "canaries"))
    if not (noted.secrets or noted.root_keys):
        say("canary scan: the run noted no secret at all, so the scan proves nothing")
        return not demand_canaries
    result = canaries.scan(run_dir, noted)
    totals = (f"canary scan: {len(noted.secrets):,} secrets, {len(noted.root_keys):,} root keys, "
              f"{result.files:,} files, {result.bytes:,} bytes")
    if not result.finds:
        say(f"{totals}: none found")
        return True
    say(f"{totals}: FOUND {len(result.finds)}")
    for path, offset, canary, form in result.finds[:50]:
        say(f"  {path} at byte {offset}: {canaries.abridged(canary)} ({form})")
    return False


def self_test(run_dir):
    """Plants one made-up secret and root key in every form, each in a file of its own, and demands every one back."""
    secret = "css_live_" + "".join(secrets.choice(BASE62) for _ in range(49))
    raw_key = secrets.token_bytes(32)
    key = base64.b64encode(raw_key).decode()
    folder = os.path.join(run_dir, "scan-self-test")
    os.makedirs(folder)
    planted = {}
    for canary, forms in ((secret, spellings(secret.encode(), core=secret[9:52])),
                          (key, spellings(raw_key, core=key))):
        for form, text in forms:
            path = os.path.join(folder, f"{len(planted):02}")
            with open(path, "wb") as file:
                file.write(random.randbytes(random.randrange(100)) + text + random.randbytes(50))
            planted[os.path.relpath(path, folder)] = (canary, form)
    result = canaries.scan(folder, canaries.Canaries({secret}, {key}))
    for path in os.listdir(folder):
        os.remove(os.path.join(folder, path))
    os.rmdir(folder)
    missed = set(planted.items()) - {(path, (canary, planted[path][1])) for path, _, canary, _ in result.finds}
    for _, (canary, form) in sorted(missed):
        say(f"canary scan: it can't find {canaries.abridged(canary)} as {form}, so it proves nothing")
    return not missed


def spellings(raw, core):
    yield "plain", raw
    yield "its core alone", core.encode()
    yield "UTF-16 little endian", core.encode("utf-16-le")
    yield "UTF-16 big endian", core.encode("utf-16-be")
    yield "hex", raw.hex().encode()
    yield "upper-case hex", raw.hex().upper().encode()
    yield "decimal bytes", str(list(raw)).encode()
    for lead in range(3):
        around = b"x" * lead + raw + b"yz"
        yield f"base64 after {lead} bytes", base64.b64encode(around)
        yield f"URL-safe base64 after {lead} bytes", base64.urlsafe_b64encode(around)
