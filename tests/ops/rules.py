"""The alert rules: promtool takes them, their cases hold, and the cases notice when a rule is wrong."""

import os
import re
import sys
import unittest

import yaml

import ops
import promql

sys.path.insert(0, os.path.join(ops.ROOT, "tests", "helm"))
import chart  # noqa: E402

TEXT, CASES = ops.read("ops", "alerts.yaml"), ops.read("ops", "alerts_test.yaml")
ALERTS = ops.alerts()


def changed(change):
    """The rules as text, with each alert changed."""
    tree = yaml.safe_load(TEXT)
    for group in tree["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                change(rule)
    return yaml.safe_dump(tree, sort_keys=False)


def cases(rules=TEXT, tests=CASES):
    return ops.promtool("test", "rules", "alerts_test.yaml", files={"alerts.yaml": rules, "alerts_test.yaml": tests})


def near_misses():
    """The cases without the one in which all is well: there nothing would fire even if most of a rule were gone."""
    tree = yaml.safe_load(CASES)
    first, *tree["tests"] = tree["tests"]
    assert first["name"] == "all is well"
    return yaml.safe_dump(tree, sort_keys=False)


def noticed(said):
    return set(re.findall(r"alertname: ?(\w+)", said))


class Rules(unittest.TestCase):
    def test_promtool_takes_them(self):
        code, said = ops.promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml",
                                  files={"alerts.yaml": TEXT})
        self.assertEqual(code, 0, said)
        self.assertIn(f"{len(ops.rules())} rules found", said)

    def test_promtool_takes_what_the_chart_makes_of_them(self):
        values = {"prometheusRule": {"enabled": True}, "fullnameOverride": "keys"}
        rule = next(it for it in chart.documents(values) if it["kind"] == "PrometheusRule")
        code, said = ops.promtool("check", "rules", "--lint=all", "--lint-fatal", "chart.yaml",
                                  files={"chart.yaml": yaml.safe_dump(rule["spec"])})
        self.assertEqual(code, 0, said)
        for rule in (rule for group in rule["spec"]["groups"] for rule in group["rules"]):
            for selector in promql.selectors(rule["expr"]):
                self.assertEqual(selector.matchers["namespace"], ("=", chart.NAMESPACE))
                self.assertEqual(selector.matchers["job"], ("=", "keys"))

    def test_promtool_refuses_what_is_none(self):
        for spoil in (lambda rule: rule.update(expr=rule["expr"] + " >"), lambda rule: rule.update(severity="critical"),
                      lambda rule: rule["annotations"].update(summary="{{ $labels.a")):
            code, said = ops.promtool("check", "rules", "spoilt.yaml", files={"spoilt.yaml": changed(spoil)})
            self.assertNotEqual(code, 0, said)

    def test_each_says_how_urgent_it_is_and_where_to_read_on(self):
        for name, rule in ALERTS.items():
            with self.subTest(name):
                self.assertRegex(name, r"^Countersign[A-Z][A-Za-z]+$")
                self.assertIn(rule["labels"], ({"severity": "critical"}, {"severity": "warning"}))
                self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook_url"})
                self.assertEqual(rule["annotations"]["runbook_url"], f"ops/RUNBOOK.md#{name.lower()}")
                self.assertNotIn("{{", rule["annotations"]["summary"], "one text, by which alerts can be grouped")

    def test_each_names_what_is_measured_of_this_job(self):
        for rule in ops.rules():
            name = rule.get("alert") or rule["record"]
            with self.subTest(name):
                self.assertEqual(ops.unknown_names(rule["expr"]), [])
                found = promql.selectors(rule["expr"])
                self.assertTrue(found)
                for selector in found:
                    self.assertEqual(selector.matchers.get("job"), ("=", "countersign"), selector)
                # The chart puts its own in the place of exactly this.
                self.assertEqual(rule["expr"].count('job="countersign"'), len(found))

    def test_what_is_recorded_is_used(self):
        used = {one.metric for rule in ALERTS.values() for one in promql.selectors(rule["expr"])}
        self.assertLessEqual({rule["record"] for rule in ops.rules() if "record" in rule}, used)

    def test_an_unknown_metric_or_label_is_noticed(self):
        self.assertEqual(ops.unknown_names('sum(countersign_redy{job="countersign"})'), ["countersign_redy"])
        self.assertEqual(ops.unknown_names('countersign_ready{jop="countersign"}'), ["countersign_ready{jop}"])
        self.assertEqual(ops.unknown_names("max by (instanz) (up)"), ["instanz"])
        self.assertEqual(ops.unknown_names("rate(rpc_server_call_duration_seconds[5m])"),
                         ["rpc_server_call_duration_seconds"])


class Cases(unittest.TestCase):
    def test_they_hold(self):
        code, said = cases()
        self.assertEqual(code, 0, said)

    def test_each_alert_is_seen_to_fire(self):
        code, said = cases(changed(lambda rule: rule.update(expr="vector(0) == 1")))
        self.assertNotEqual(code, 0)
        self.assertEqual(noticed(said), set(ALERTS))

    def test_each_alert_is_seen_to_be_silent(self):
        code, said = cases(changed(lambda rule: rule.update(expr="vector(1)")), near_misses())
        self.assertNotEqual(code, 0)
        self.assertEqual(noticed(said), set(ALERTS))

    def test_each_alert_is_seen_to_wait(self):
        code, said = cases(changed(lambda rule: rule.pop("for", None)), near_misses())
        self.assertNotEqual(code, 0)
        self.assertEqual(noticed(said), {name for name, rule in ALERTS.items() if "for" in rule})

    def test_what_each_alert_says_is_seen(self):
        code, said = cases(changed(lambda rule: rule["annotations"].update(description="another")))
        self.assertNotEqual(code, 0)
        self.assertEqual(noticed(said), set(ALERTS))

    def test_they_are_about_metrics_that_exist(self):
        metrics = ops.known()
        for test in yaml.safe_load(CASES)["tests"]:
            for series in test["input_series"]:
                selector, = promql.selectors(series["series"])
                with self.subTest(test["name"], series=series["series"]):
                    self.assertIn(selector.metric, metrics)
                    added = ops.OF_THE_SCRAPE | ops.OF_THE_OPERATOR
                    self.assertLessEqual(selector.matchers.keys(), metrics[selector.metric] | added)


if __name__ == "__main__":
    unittest.main()
