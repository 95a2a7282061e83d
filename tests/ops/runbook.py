"""The runbook: a section for each alert, and nothing in it that does not exist.

Takes from the environment, beside what ops.py takes: COUNTERSIGN_PROGRAM.
"""

import os
import re
import shlex
import subprocess
import unittest

import ops

TEXT = ops.read("ops", "RUNBOOK.md")


def sections():
    """The text below each heading, in order."""
    _, *found = re.split(r"(?m)^## (.+)\n", TEXT)
    return dict(zip(found[::2], found[1::2], strict=True))


def blocks(note):
    return re.findall(rf"(?ms)^```{note}\n(.*?)^```", TEXT)


class Runbook(unittest.TestCase):
    def test_it_has_a_section_for_each_alert_in_their_order(self):
        headings = [heading for heading in sections() if heading.startswith("Countersign")]
        self.assertEqual(headings, list(ops.alerts()))

    def test_each_section_says_what_it_means_how_to_look_and_what_to_do(self):
        for heading, text in sections().items():
            if heading.startswith("Countersign"):
                with self.subTest(heading):
                    self.assertEqual(re.findall(r"(?m)^\*\*(\w+)\.\*\* ", text), ["Means", "Look", "Do"])

    def test_it_has_a_word_on_every_reason_of_a_denial(self):
        enum = ops.read("proto", "countersign", "v1", "key_verifier.proto").partition("enum DenialReason {")[2]
        reasons = re.findall(r"(?m)^  DENIAL_REASON_(\w+) = [1-9]", enum.partition("\n}")[0])
        self.assertGreater(len(reasons), 10)
        rows = re.findall(r"(?m)^\| (`[^|]+) \|", sections()["CountersignDenialSpike"])
        self.assertEqual(sorted(re.findall(r"`(\w+)`", " ".join(rows))), sorted(reason.lower() for reason in reasons))

    def test_its_links_lead_somewhere(self):
        links = re.findall(r"\]\(#([a-z]+)\)", TEXT)
        self.assertGreater(len(links), 3)
        self.assertLessEqual(set(links), {heading.lower() for heading in sections()})
        for path in re.findall(r"`([a-zA-Z/_]+\.(?:md|yaml|json))`", TEXT):
            beside = [os.path.exists(os.path.join(ops.ROOT, folder, path)) for folder in ("", "ops")]
            self.assertTrue(any(beside), path)

    def test_its_queries_are_some_and_name_what_is_measured(self):
        queries = blocks("promql")
        self.assertGreater(len(queries), 10)
        self.assertEqual(ops.parses(queries), "")
        for query in queries:
            self.assertEqual(ops.unknown_names(query), [], query)
        for name in re.findall(r"`((?:countersign|process|rpc)_[a-z_]+)`", TEXT):
            self.assertIn(name, ops.known())

    def test_a_query_that_is_none_is_noticed(self):
        self.assertIn("parse error", ops.parses(["up", "sum(up"]))

    def test_its_commands_exist(self):
        program = os.environ["COUNTERSIGN_PROGRAM"]
        lines = [line for block in blocks("sh") for line in block.splitlines()]
        self.assertGreater(len(lines), 4)
        for line in lines:
            words = shlex.split(line)
            self.assertEqual(words[0], "countersign", line)
            first = next((n for n, word in enumerate(words) if word.startswith("-") or "_" in word), len(words))
            done = subprocess.run([program, *words[1:first], "--help"], capture_output=True, text=True, check=False,
                                  env={})
            self.assertEqual((done.returncode, done.stderr), (0, ""), line)
            said = set(re.findall(r"--[a-z-]+", done.stdout))
            self.assertLessEqual({word for word in words if word.startswith("--")}, said, line)

    def test_its_settings_of_prometheus_are_taken(self):
        settings, = blocks("yaml prometheus.yml")
        files = {"prometheus.yml": settings, "alerts.yaml": ops.read("ops", "alerts.yaml")}
        code, said = ops.promtool("check", "config", "prometheus.yml", files=files)
        self.assertEqual(code, 0, said)
        self.assertIn(f"{len(ops.rules())} rules found", said)
        self.assertIn("job_name: countersign\n", settings)


if __name__ == "__main__":
    unittest.main()
