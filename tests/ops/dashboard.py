"""The dashboard: promtool takes what it asks, Grafana finds what it needs, and a person finds out what is meant."""

import itertools
import json
import re
import unittest

import ops
import promql

DASHBOARD = json.loads(ops.read("ops", "grafana", "countersign.json"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
# By what each query is narrowed to what was chosen above.
CHOSEN = {"namespace": ("=~", "$namespace"), "job": ("=~", "$job"), "instance": ("=~", "$instance")}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Measured for whoever asks, and shown nowhere: how large a sum is says a rate, and memory is what is resident.
NOT_SHOWN = {"process_threads", "process_virtual_memory_bytes"}


def queries():
    """Each expression with the title of its panel, as Grafana would send it for some span of time."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def all_expressions():
    """Those of panels, of the marks in all of them, and of the variables."""
    marks = [it["expr"].replace("$__rate_interval", "5m") for it in DASHBOARD["annotations"]["list"] if "expr" in it]
    variables = [re.fullmatch(r"label_values\((.+), (\w+)\)", it["query"]["query"]) for it in VARIABLES.values()
                 if it["type"] == "query"]
    return [expr for _, expr in queries()] + marks + [match[1] for match in variables]


class Dashboard(unittest.TestCase):
    def test_promtool_takes_every_query(self):
        expressions = all_expressions()
        self.assertGreater(len(expressions), 40)
        self.assertEqual(ops.parses(expressions), "")

    def test_every_query_names_what_is_measured(self):
        for expression in all_expressions():
            with self.subTest(expression):
                self.assertEqual(ops.unknown_names(expression), [])

    def test_everything_that_is_measured_is_shown(self):
        shown = {selector.metric for _, expression in queries() for selector in promql.selectors(expression)}
        shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
        measured = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ops.documented()}
        self.assertEqual(measured - shown - NOT_SHOWN, set())

    def test_every_query_is_narrowed_to_what_was_chosen(self):
        for title, expression in queries():
            for selector in promql.selectors(expression):
                with self.subTest(title, selector=selector.metric):
                    chosen = {label: selector.matchers.get(label) for label in CHOSEN}
                    self.assertEqual(chosen, CHOSEN)
        self.assertEqual(list(VARIABLES), ["datasource", *CHOSEN])

    def test_every_source_is_the_one_that_was_chosen(self):
        for one in itertools.chain(PANELS, VARIABLES.values(), DASHBOARD["annotations"]["list"]):
            if "datasource" in one and not one.get("builtIn"):
                self.assertEqual(one["datasource"], SOURCE)
        self.assertTrue(all("datasource" not in target for panel in PANELS for target in panel["targets"]))
        chosen = VARIABLES["datasource"]
        self.assertEqual((chosen["type"], chosen["query"]), ("datasource", "prometheus"))

    def test_every_panel_says_what_it_shows_and_in_what_unit(self):
        titles = [panel["title"] for panel in PANELS]
        self.assertEqual(sorted(titles), sorted(set(titles)))
        for panel in PANELS:
            with self.subTest(panel["title"]):
                self.assertGreater(len(panel["description"]), 20)
                self.assertTrue(panel["description"].endswith("."))
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertTrue(panel["targets"])
                names = [target["refId"] for target in panel["targets"]]
                self.assertEqual(names, sorted(set(names)))

    def test_what_a_legend_names_is_there(self):
        for panel in PANELS:
            for target in panel["targets"]:
                for label in re.findall(r"{{ *(\w+) *}}", target["legendFormat"]):
                    with self.subTest(panel["title"], label=label):
                        grouped = promql.grouping_labels(target["expr"])
                        first = promql.selectors(target["expr"])[0]
                        kept = grouped if " by (" in target["expr"] else ops.known()[first.metric] | ops.OF_THE_SCRAPE
                        self.assertIn(label, kept)

    def test_it_can_be_imported_anywhere(self):
        """Its number is given by the Grafana that it comes to; its name is its own, so that links to it last."""
        self.assertIsNone(DASHBOARD["id"])
        self.assertRegex(DASHBOARD["uid"], r"^[a-z]+$")
        ids = [panel["id"] for panel in DASHBOARD["panels"]]
        self.assertEqual(sorted(ids), sorted(set(ids)))
        self.assertNotIn("__inputs", DASHBOARD)

    def test_panels_lie_beside_each_other(self):
        taken = set()
        for panel in DASHBOARD["panels"]:
            at = panel["gridPos"]
            cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken |= cells
        rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
        self.assertEqual(rows, ["Now", "Verification", "Replicas", "Administration", "Resources"])


if __name__ == "__main__":
    unittest.main()
