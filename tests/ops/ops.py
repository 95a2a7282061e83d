"""What the tests of `ops/` share: its files, promtool, and the metrics that docs/METRICS.md names.

Takes from the environment: PROMTOOL, SCRATCH (a new folder of the run).
"""

import functools
import os
import re
import subprocess

import yaml

import promql

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRATCH = os.environ["SCRATCH"]
# What Prometheus itself adds to what it scrapes.
OF_THE_SCRAPE = {"namespace", "job", "instance"}
# What the Prometheus Operator adds to that: rules must not depend on it, and not stumble over it either.
OF_THE_OPERATOR = {"pod", "container", "endpoint", "service"}


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


@functools.cache
def rules():
    return [rule for group in yaml.safe_load(read("ops", "alerts.yaml"))["groups"] for rule in group["rules"]]


def alerts():
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool(*args, files=()):
    """Runs promtool in a folder with these files, a dict from name to text. Gives the exit code and what it said."""
    for name, text in dict(files).items():
        with open(os.path.join(SCRATCH, name), "w", encoding="utf-8") as file:
            file.write(text)
    done = subprocess.run([os.environ["PROMTOOL"], *args], cwd=SCRATCH, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=False)
    return done.returncode, done.stdout


def parses(expressions):
    """What promtool has against these expressions; nothing if it takes them."""
    records = [{"record": f"expression:{n}", "expr": one} for n, one in enumerate(expressions)]
    text = yaml.safe_dump({"groups": [{"name": "expressions", "rules": records}]})
    code, said = promtool("check", "rules", "expressions.yaml", files={"expressions.yaml": text})
    found = re.search(r"(\d+) rules found", said)
    return "" if code == 0 and found and int(found[1]) == len(records) else said or f"exit code {code}"


@functools.cache
def documented():
    """Each metric of docs/METRICS.md with its labels: those of the table, and those that the text below names."""
    page = read("docs", "METRICS.md")
    rows = re.findall(r"(?m)^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*) \|", page)
    if len(rows) < 20:
        raise AssertionError("docs/METRICS.md has no table of metrics that can be read")
    found = {}
    for name, kind, labels in rows:
        labels = set(re.findall(r"`(\w+)`", labels))
        if kind == "histogram":
            found |= {name + "_bucket": labels | {"le"}, name + "_sum": labels, name + "_count": labels}
        else:
            found[name] = labels
    for name in re.findall(r"`(process_\w+)`", page):
        found[name] = set()
    found["target_info"] = set(re.findall(r"`(service_\w+)`", page))
    return found


def known():
    """What an expression may name: what is measured, what the rules record, and what Prometheus says of its targets."""
    recorded = {rule["record"]: set() for rule in rules() if "record" in rule}
    return documented() | recorded | {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}


def unknown_names(expression):
    """Metrics and labels of an expression that nothing has."""
    metrics, wrong, all_labels = known(), [], {"le"}
    for selector in promql.selectors(expression):
        if selector.metric not in metrics:
            wrong.append(selector.metric)
            continue
        labels = metrics[selector.metric]
        all_labels |= labels
        wrong += [f"{selector.metric}{{{label}}}" for label in selector.matchers.keys() - labels - OF_THE_SCRAPE]
    return wrong + sorted(promql.grouping_labels(expression) - all_labels - OF_THE_SCRAPE)
