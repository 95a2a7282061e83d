#!/usr/bin/env python3
"""Writes the table of values in the chart's README from the comments in its values.yaml: `make chart-values`.

A comment that begins with `# --` belongs to the entry below it. An entry without one is a group, whose entries have
theirs; so every value has a row, and no row has a value that does not exist.
"""

import json
import os
import re

import yaml

CHART = os.path.join(os.path.dirname(os.path.abspath(__file__)), "countersign")
BEGIN, END = "<!-- values -->\n", "<!-- /values -->\n"


def rows(text):
    """(path, default, meaning) of each documented entry, in the order of the file."""
    values = yaml.safe_load(text)
    found, path, comment = [], [], None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = [stripped[5:]]
        elif stripped.startswith("#") and comment is not None:
            comment.append(stripped[1:].strip())
        elif entry := re.match(r"^( *)([A-Za-z0-9_-]+):", line):
            depth = len(entry[1]) // 2
            path = path[:depth] + [entry[2]]
            if comment is not None:
                found.append((".".join(path), value_at(values, path), " ".join(comment)))
            comment = None
    return found


def value_at(values, path):
    for name in path:
        values = values[name]
    return values


def table(text):
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for path, default, meaning in rows(text):
        lines.append(f"| `{path}` | `{json.dumps(default, ensure_ascii=False)}` | {meaning} |".replace("| `\"\"` |", "|  |"))
    return "\n".join(lines) + "\n"


def with_table(readme, values):
    """The README with the table that these values make."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(values)}\n{END}{after}"


def read(name):
    with open(os.path.join(CHART, name), encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    updated = with_table(read("README.md"), read("values.yaml"))
    with open(os.path.join(CHART, "README.md"), "w", encoding="utf-8") as readme:
        readme.write(updated)
