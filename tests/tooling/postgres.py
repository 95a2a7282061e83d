"""A throwaway PostgreSQL cluster in the run folder, on a free port of the loopback address."""

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time

from .report import Failure, is_root, say

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "400",
    # Durability on PostgreSQL is PostgreSQL's own matter; what Countersign promises after a kill -9 is measured on
    # SQLite, with its real flushes. Here they would only cost time.
    "fsync": "off",
    "full_page_writes": "off",
    # Every statement with its parameters goes into the log, and old WAL stays, so that the canary scan sees all that
    # was ever sent.
    "log_statement": "all",
    "log_line_prefix": "%m [%p] %d ",
    "wal_keep_size": "8GB",
    "max_wal_size": "8GB",
}

# A collation that is not the order of bytes, so that a query that relies on it is found. ICU is there with every
# Debian build; the others are for a build without.
LOCALES = (
    ["--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"],
    ["--locale=en_US.UTF-8"],
    ["--locale=C.UTF-8"],
    ["--locale=C"],
)

START_TRIES = 5
PR_SET_PDEATHSIG = 1


class Cluster:
    def __init__(self, programs, run_dir):
        self.programs = programs
        self.folder = os.path.join(run_dir, "postgres")
        self.log_path = os.path.join(run_dir, "logs", "postgres.log")
        self.password = secrets.token_hex(16)
        self.port = None
        self.server = None
        self.user = server_user()

    @property
    def url(self):
        return f"postgres://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self):
        os.mkdir(self.folder, 0o700)
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self._initdb()
        for _ in range(START_TRIES):
            if self._serve():
                return
            say(f"port {self.port} was taken in between, trying another")
        raise Failure(f"PostgreSQL did not start in {START_TRIES} tries: {tail(self.log_path)}")

    def stop(self):
        """Fast shutdown, so that everything is on disk for the scan."""
        if not self.server:
            return
        for sign, patience in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
            if self.server.poll() is None:
                self.server.send_signal(sign)
            try:
                self.server.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        self.server = None

    def _initdb(self):
        password_file = os.path.join(self.folder, "password")
        with open(password_file, "w", encoding="utf-8") as file:
            file.write(self.password)
        if self.user:
            os.chown(password_file, self.user.pw_uid, self.user.pw_gid)
        data = os.path.join(self.folder, "data")
        for locale in LOCALES:
            made = subprocess.run(
                [os.path.join(self.programs, "initdb"), "-D", data, "-U", "postgres", "--encoding=UTF8",
                 "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync", *locale],
                capture_output=True, text=True, check=False, **self._identity())
            if made.returncode == 0:
                break
            shutil.rmtree(data, ignore_errors=True)
        else:
            raise Failure(f"initdb does not work: {made.stderr.strip()}")
        os.remove(password_file)
        with open(os.path.join(data, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())

    def _serve(self):
        """True once it takes connections, false if the port was lost to somebody else between finding and binding."""
        self.port = free_port()
        data = os.path.join(self.folder, "data")
        with open(self.log_path, "ab") as log:
            self.server = subprocess.Popen(
                [os.path.join(self.programs, "postgres"), "-D", data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=stop_with_parent, **self._identity())
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.server.poll() is not None:
                if "could not bind" in tail(self.log_path):
                    return False
                raise Failure(f"PostgreSQL ended while starting: {tail(self.log_path)}")
            if is_ready(os.path.join(data, "postmaster.pid")):
                return True
            time.sleep(0.02)
        raise Failure(f"PostgreSQL was not ready within 60 s: {tail(self.log_path)}")

    def _identity(self):
        """PostgreSQL refuses to run as root. The folder of the caller may be closed to the other user, hence `cwd`."""
        place = {"cwd": self.folder, "env": {"PATH": os.environ["PATH"], "LC_MESSAGES": "C"}}
        if self.user:
            place.update(user=self.user.pw_uid, group=self.user.pw_gid, extra_groups=[])
        return place


def server_user():
    if not is_root():
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Failure("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody to run it as")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(pid_file):
    """The eighth line of postmaster.pid is how pg_ctl knows it too."""
    try:
        with open(pid_file, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def stop_with_parent():
    """If this run is killed outright, the kernel tells PostgreSQL to shut down (SIGINT: fast shutdown)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def tail(path, lines=15):
    try:
        with open(path, "rb") as file:
            return "\n" + b"\n".join(file.read()[-8000:].splitlines()[-lines:]).decode(errors="replace")
    except OSError as error:
        return str(error)
