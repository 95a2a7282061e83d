"""The canary scan (promise P10): no secret and no root key in any file that a test run leaves behind.

The harness notes every secret and root key of the run under `canaries/`. This searches all other files of the run
folder for them: databases, journals, WAL, logs at TRACE, the tests' own output; raw, in base64 at each of its three
alignments, in hex, as a list of decimal bytes (Rust's `Debug` of a `Vec<u8>`), and as UTF-16.

How it is quick: all forms are text of few characters, so `bytes.translate` and `bytes.find` (both at memory speed)
find the long runs of such characters, and only there each window of WINDOW characters is looked up in a set. The raw
32 bytes of a root key have no alphabet; wherever they stand, an 8-byte word at a multiple of STRIDE lies inside them.
"""

import base64
import fnmatch
import hashlib
import itertools
import os
import re

# 40 base62 digits are 238 bits: nothing equals one by accident.
WINDOW = 40
STRIDE = 24
CHUNK = 32 << 20
OVERLAP = 512  # more than any form of a canary is long

# Where a secret belongs: files that the server or an operator keeps with mode 0600.
ALLOWED = ("admin.env", "root-key*", "*.credential", "*.allow-secrets", "*.allow-secrets.yaml")

TEXT, DECIMAL = "text", "decimal"
TEXT_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
DECIMAL_CHARACTERS = b"0123456789, "


def class_table(members):
    """Every byte to its class: `a` in the alphabet, `n` NUL (every second byte of UTF-16), a space otherwise."""
    return bytes(97 if b in members else 110 if b == 0 else 32 for b in range(256))


TABLES = {TEXT: class_table(TEXT_CHARACTERS), DECIMAL: class_table(DECIMAL_CHARACTERS)}


class Canaries:
    """What is searched for, as look-up tables from a form's first WINDOW characters to (canary, form)."""

    def __init__(self, secrets, root_keys):
        self.secrets, self.root_keys = secrets, root_keys
        self.windows = {TEXT: {}, DECIMAL: {}}
        self.words = {}
        self.short = []
        for secret in secrets:
            self._add_secret(secret)
        for key in root_keys:
            raw = base64.b64decode(key)
            self._add_encodings(key, raw)
            for start in range(len(raw) - 7):
                self.words[int.from_bytes(raw[start:start + 8], "little")] = (key, raw)

    def _add_secret(self, secret):
        # Of our own secrets the random 43 digits alone count: a leak may lack the prefix or the checksum.
        own = re.fullmatch(r"[A-Za-z0-9]+s_(?:live|test)_([0-9A-Za-z]{43})[0-9A-Za-z]{6}", secret)
        core = (own[1] if own else secret).encode()
        if len(core) < WINDOW or core.translate(None, TEXT_CHARACTERS):
            self.short.append((secret, core))  # brought from elsewhere, in any grammar
            return
        self._add(TEXT, core, secret, "plain")
        self._add_encodings(secret, core)

    def _add_encodings(self, canary, raw):
        for form, encoded in encodings(raw):
            self._add(TEXT, encoded, canary, form)
        self._add(DECIMAL, b", ".join(b"%d" % b for b in raw), canary, "decimal bytes")

    def _add(self, alphabet, text, canary, form):
        self.windows[alphabet][text[:WINDOW]] = (canary, form)


def encodings(raw):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for lead in range(3):
            # Within a longer text the characters at both ends also hold neighbouring bits: keep what is ours alone.
            encoded = encode(bytes(lead) + raw)
            yield "base64", encoded[-(-lead * 8 // 6):(lead + len(raw)) * 8 // 6]
    yield "hex", raw.hex().encode()
    yield "hex", raw.hex().upper().encode()


def load(folder):
    """The canaries noted in a run folder: lines `secret <secret>` and `root-key <base64>`."""
    found = {"secret": set(), "root-key": set()}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            for line in file:
                kind, _, value = line.rstrip("\n").partition(" ")
                found[kind].add(value)
    return Canaries(found["secret"], found["root-key"])


class Scan:
    """The result: how much was looked at, and the finds as (path, offset, canary, form)."""

    def __init__(self):
        self.files = self.bytes = 0
        self.finds = []


def scan(run_dir, canaries):
    result, seen = Scan(), set()
    for path in files_to_scan(run_dir):
        size = os.path.getsize(path)
        result.files += 1
        result.bytes += size
        # Each fresh PostgreSQL database repeats the same few megabytes of its template.
        if size <= CHUNK:
            with open(path, "rb") as file:
                digest = hashlib.sha256(file.read()).digest()
            if digest in seen:
                continue
            seen.add(digest)
        for offset, canary, form in finds_in_file(path, canaries):
            result.finds.append((os.path.relpath(path, run_dir), offset, canary, form))
    return result


def files_to_scan(run_dir):
    for folder, folders, names in os.walk(run_dir):
        if folder == run_dir and "canaries" in folders:
            folders.remove("canaries")
        for name in sorted(names):
            path = os.path.join(folder, name)
            allowed = any(fnmatch.fnmatchcase(name, pattern) for pattern in ALLOWED)
            if os.path.isfile(path) and not os.path.islink(path) and not allowed:
                yield path


def finds_in_file(path, canaries):
    """Where each canary first stands in each form."""
    known = set()
    with open(path, "rb") as file:
        kept, start = b"", 0
        while True:
            fresh = file.read(CHUNK)
            if not fresh:
                return
            data = kept + fresh
            for at, canary, form in finds_in(data, canaries):
                if (canary, form) not in known:
                    known.add((canary, form))
                    yield start + at, canary, form
            # The words of root keys are looked up at multiples of STRIDE from a chunk's beginning, so any cut will do.
            kept = data[-OVERLAP:]
            start += len(data) - len(kept)


def finds_in(data, canaries):
    for alphabet, windows in canaries.windows.items():
        classes = data.translate(TABLES[alphabet])
        for start, end in runs(classes, b"a"):
            yield from look_up(data[start:end], windows, start, 1, "")
        for start, end in runs(classes, b"an"):
            yield from look_up(data[start:end:2], windows, start, 2, " in UTF-16")
    if canaries.words:
        words = memoryview(data)[:len(data) // 8 * 8].cast("Q")[::STRIDE // 8]
        if not canaries.words.keys().isdisjoint(words):
            for key, raw in {canaries.words[w] for w in words if w in canaries.words}:
                yield from first_occurrence(data, raw, key, "raw bytes")
    for canary, text in canaries.short:
        for form, needle in itertools.chain([("plain", text)], encodings(text)):
            yield from first_occurrence(data, needle, canary, form)


def runs(classes, unit):
    """Where `unit` repeats WINDOW times and more."""
    shortest = unit * WINDOW
    longest = re.compile(b"(?:%s)+" % unit)
    at = classes.find(shortest)
    while at >= 0:
        end = longest.match(classes, at).end()
        yield at, end
        at = classes.find(shortest, end)


def look_up(text, windows, start, width, note):
    for i in range(len(text) - WINDOW + 1):
        hit = windows.get(text[i:i + WINDOW])
        if hit:
            yield start + i * width, hit[0], hit[1] + note


def first_occurrence(data, needle, canary, form):
    at = data.find(needle)
    if at >= 0:
        yield at, canary, form


def abridged(canary):
    """Enough to find it in `canaries/`, never the secret in full."""
    return f"{canary[:12]}…"
