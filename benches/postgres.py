#!/usr/bin/env python3
"""Starts a throwaway PostgreSQL, as the tests do, runs the benchmark with it, and stops it.

    benches/postgres.py [--main-keys N …]      what `make bench-postgres` runs; options go to the benchmark
"""

import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from tooling import postgres, tools  # noqa: E402

# As an operator would have it, other than in tests: changes are on the disk when they are acknowledged, and the log is
# not a record of every statement.
postgres.SETTINGS.update({
    "fsync": "on",
    "full_page_writes": "on",
    "log_statement": "none",
    "wal_keep_size": "0",
    "shared_buffers": "1GB",
    # Counts what an idle replica sends.
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "on",
})


def main():
    programs = tools.postgres_programs()
    # Another user runs PostgreSQL where this one is root, so the folder has to be one that both can enter.
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        os.chmod(folder, 0o755)
        os.mkdir(os.path.join(folder, "logs"))
        cluster = postgres.Cluster(programs, folder)
        cluster.start()
        try:
            command = ["cargo", "bench", "--locked", "--bench", "verify", "--", "--postgres", cluster.url]
            return subprocess.run(command + sys.argv[1:], cwd=ROOT, check=False).returncode
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
