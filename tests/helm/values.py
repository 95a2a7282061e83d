"""Values, their schema, their documents and what refuses them say the same."""

import json
import os
import re
import sys
import unittest

import helm_python

import chart

sys.path.insert(0, os.path.join(chart.ROOT, "helm"))
import values_table  # noqa: E402

# Groups whose entries are not the chart's: of Kubernetes, of OpenTelemetry, of the server.
OPEN = {"settings", "otel.resourceAttributes", "otel.variables", "commonLabels", "podSecurityContext",
        "containerSecurityContext", "resources", "migration.resources"}


def leaves(values, at=()):
    for name, value in values.items():
        path = ".".join((*at, name))
        if isinstance(value, dict) and value and path not in OPEN:
            yield from leaves(value, (*at, name))
        else:
            yield path, value


def with_value(path, value):
    *groups, last = path.split(".")
    result = {last: value}
    for name in reversed(groups):
        result = {name: result}
    return result


LEAVES = dict(leaves(chart.default_values()))

# A value of a wrong type for each type of value.
WRONG = {str: [1], bool: "yes", int: "1", list: "one", dict: "one"}

# Another value, where the one made from its type alone would be refused or would show nothing.
ANOTHER = {
    "image.digest": "sha256:" + "1" * 64, "image.pullPolicy": "Always",
    "imagePullSecrets": [{"name": "another"}],
    "database.url": "postgres://another@h/d",
    "rootKey.value": "2:" + "B" * 43 + "=",
    "settings": {"log": "warn"},
    "otel.endpoint": "https://another:4317", "otel.protocol": "grpc",
    "otel.sampler": "always_off", "otel.samplerArg": "0.5",
    "otel.variables": {"OTEL_SERVICE_NAME": "another"},
    "extraEnv": [{"name": "A", "value": "b"}], "extraVolumes": [{"name": "another", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "another", "mountPath": "/another"}],
    "listenAddress": "::", "service.type": "NodePort",
    "persistence.size": "7Gi", "persistence.accessModes": ["ReadWriteOncePod"],
    "persistence.whenDeleted": "Delete", "persistence.whenScaled": "Delete",
    "topologySpread.topologyKeys": ["another"], "topologySpread.whenUnsatisfiable": "DoNotSchedule",
    "networkPolicy.verification": [{"ipBlock": {"cidr": "198.51.100.0/24"}}],
    "networkPolicy.administration": [{"ipBlock": {"cidr": "198.51.100.0/24"}}],
    "networkPolicy.metrics": [{"ipBlock": {"cidr": "198.51.100.0/24"}}],
    "serviceMonitor.interval": "7s", "serviceMonitor.scrapeTimeout": "7s",
    "prometheusRule.extraGroups": [{"name": "another", "rules": [{"alert": "A", "expr": "1"}]}],
    "tolerations": [{"operator": "Exists"}],
    "podSecurityContext": {"runAsUser": 1000}, "containerSecurityContext": {"capabilities": {"add": ["A"]}},
    "terminationGracePeriodSeconds": 300, "serviceAccount.create": False,
}
# What else has to be said for a value to show.
FULL = chart.merged(chart.EXISTING, chart.EVERYTHING)
# Where nothing is measured, nothing is scraped.
UNMEASURED = chart.merged(FULL, {"serviceMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}})
AMONG = {
    "otel.disabled": UNMEASURED,
    "database.url": chart.OWN, "rootKey.value": chart.OWN, "adminCredential.value": chart.OWN,
    "replicas": chart.OWN, "fullnameOverride": {}, "nameOverride": {},
}


def another(path, value):
    if path in ANOTHER:
        return ANOTHER[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return {"another": "one"} if isinstance(value, dict) else "another"


def value_at(tree, path):
    for name in path.split("."):
        tree = tree[name]
    return tree


class Documents(unittest.TestCase):
    def test_the_readme_has_the_table_that_the_comments_make(self):
        readme = values_table.read("README.md")
        wanted = values_table.with_table(readme, values_table.read("values.yaml"))
        self.assertEqual(readme, wanted, "run `make chart-values`")

    def test_every_value_has_a_row(self):
        rows = {path for path, _, _ in values_table.rows(values_table.read("values.yaml"))}
        self.assertEqual(rows, set(LEAVES))

    def test_every_value_that_the_readme_speaks_of_exists(self):
        text = values_table.read("README.md")
        groups = "|".join(chart.default_values())
        spoken_of = set(re.findall(rf"`((?:{groups})(?:\.[A-Za-z-]+)*)`", text))
        spoken_of |= set(re.findall(r"--set ([A-Za-z.]+)=", text))
        self.assertGreater(len(spoken_of), len(LEAVES))
        for path in spoken_of:
            if path.startswith("settings."):
                self.assertIn(path.partition(".")[2], chart.ALL_SETTINGS)
            else:
                value_at(chart.default_values(), path)


    def test_every_object_that_the_readme_speaks_of_exists(self):
        documents = chart.documents(chart.MATRIX["postgres-own-secrets"])
        names = {(it["kind"].lower(), it["metadata"]["name"]) for it in documents}
        text = values_table.read("README.md")
        spoken_of = set(re.findall(r"(statefulset|job|service)/([a-z-]+)", text))
        spoken_of |= {("service", name) for name in re.findall(r"([a-z-]+)\.countersign\.svc:50051", text)}
        self.assertGreater(len(spoken_of), 3)
        self.assertLessEqual(spoken_of | {("secret", "countersign-root-key")}, names)
        server = next(it for it in documents if it["kind"] == "StatefulSet")
        template, = server["spec"]["volumeClaimTemplates"]
        self.assertIn(f"`{template['metadata']['name']}-{server['metadata']['name']}-0`", text)
        self.assertEqual(template["metadata"]["labels"]["app.kubernetes.io/instance"], "countersign")


class Schema(unittest.TestCase):
    def setUp(self):
        with open(os.path.join(chart.PATH, "values.schema.json"), encoding="utf-8") as file:
            self.schema = json.load(file)

    def test_it_has_exactly_the_values(self):
        def paths(schema, at=()):
            for name, below in schema["properties"].items():
                path = ".".join((*at, name))
                if "properties" in below and path not in OPEN:
                    self.assertIs(below["additionalProperties"], False, path)
                    yield from paths(below, (*at, name))
                else:
                    yield path
        self.assertEqual(set(paths(self.schema)) - {"global"}, set(LEAVES))

    def test_a_wrong_type_is_refused_by_the_path_of_the_value(self):
        for path, value in LEAVES.items():
            with self.subTest(path), self.assertRaises(helm_python.HelmValuesError) as refused:
                chart.render(with_value(path, WRONG[type(value)]))
            self.assertIn("/" + path.replace(".", "/"), str(refused.exception))

    def test_an_unknown_name_is_refused(self):
        groups = {path.rpartition(".")[0] for path in LEAVES} | {"settings"}
        for group in sorted(groups):
            path = f"{group}.lissten".lstrip(".")
            with self.subTest(path), self.assertRaises(helm_python.HelmValuesError) as refused:
                chart.render(with_value(path, 1))
            self.assertIn("'lissten' not allowed", str(refused.exception))

    def test_a_wrong_value_of_a_setting_is_refused(self):
        for name, wrong in (("max-connections", "10"), ("max-connections", 0), ("brands", "cs"), ("brands", []),
                            ("verify-auth", False), ("log-format", "xml"), ("max-staleness", 30), ("listen", "[::]:1")):
            with self.subTest(name, wrong=wrong), self.assertRaises(helm_python.HelmValuesError):
                chart.render({"settings": {name: wrong}})

    def test_a_wrong_value_of_telemetry_is_refused(self):
        for name, wrong in (("endpoint", "collector:4317"), ("protocol", "http/json"), ("sampler", "sometimes"),
                            ("samplerArg", 0.1), ("samplerArg", "10%"), ("resourceAttributes", {"a": "b,c=d"}),
                            ("resourceAttributes", {"a": "$(HOME)"}), ("variables", {"PATH": "/tmp"}),
                            ("variables", {"OTEL_BSP_MAX_QUEUE_SIZE": [1]})):
            with self.subTest(name, wrong=wrong), self.assertRaises(helm_python.HelmValuesError):
                chart.render({"otel": {name: wrong}})

    def test_no_error_quotes_a_secret(self):
        secret = "hunter2"
        for path in ("database.url", "rootKey.value", "adminCredential.value"):
            for value in (secret, {"a": secret}, [secret]):
                try:
                    chart.render(chart.merged({"database": {"type": "postgres"}}, with_value(path, value)))
                except helm_python.HelmError as refused:
                    self.assertNotIn(secret, str(refused))
                else:
                    self.fail(f"{path} takes {value}")


class Templates(unittest.TestCase):
    def test_every_value_does_something(self):
        for path in LEAVES:
            with self.subTest(path):
                among = AMONG.get(path, FULL)
                value = value_at(chart.merged(chart.default_values(), among), path)
                change = with_value(path, another(path, value))
                if path == "database.type":
                    among, change = {}, chart.OWN  # it needs the others of its kind
                same = chart.render(among) == chart.render(chart.merged(among, change))
                self.assertFalse(same, "it changes nothing")

    def test_pods_are_replaced_when_their_settings_change(self):
        def template(values):
            return next(chart.pod_of(it) for it in chart.documents(values) if it["kind"] == "StatefulSet")
        before = template(chart.OWN)
        self.assertEqual(before, template(chart.merged(chart.OWN, {"replicas": 4})))
        for change in ({"settings": {"log": "warn"}}, {"rootKey": {"value": ANOTHER["rootKey.value"]}}):
            self.assertNotEqual(before, template(chart.merged(chart.OWN, change)))
        # As the README says: nothing of a password gets into an annotation.
        self.assertEqual(before, template(chart.merged(chart.OWN, {"database": {"url": ANOTHER["database.url"]}})))

    def test_every_value_that_a_template_reads_exists(self):
        read = set()
        with chart.load() as loaded:
            for template in loaded.templates:
                read |= set(re.findall(r"(?:\.Values|\$values)((?:\.[A-Za-z]+)+)", template["data"]))
        self.assertGreater(len(read), 40)
        for path in sorted(read):
            value_at(chart.default_values(), path[1:])


class Refusals(unittest.TestCase):
    CASES = {
        "several on SQLite": ({"replicas": 2}, "replicas is 2, but SQLite has one server.*database.type=postgres"),
        "scaled on SQLite": ({"autoscaling": {"enabled": True}}, "autoscaling.enabled.*SQLite has one server"),
        "SQLite without a volume": ({"persistence": {"enabled": False}}, "every key, and the root key, would end"),
        "SQLite with a URL": ({"database": {"url": chart.URL}}, "are for database.type=postgres"),
        "SQLite with a URL elsewhere": ({"database": {"existingSecret": "a"}}, "are for database.type=postgres"),
        "PostgreSQL without a root key": ({"database": {"type": "postgres", "url": chart.URL}},
                                          "PostgreSQL needs a root key.*countersign root-key generate"),
        "PostgreSQL nowhere": (chart.merged(chart.OWN, {"database": {"url": ""}}), "says where it is"),
        "two URLs": (chart.merged(chart.OWN, {"database": {"existingSecret": "a"}}),
                     "database.url and database.existingSecret are both given"),
        "two root keys": (chart.merged(chart.OWN, {"rootKey": {"existingSecret": "a"}}),
                          "rootKey.value and rootKey.existingSecret are both given"),
        "two credentials": ({"adminCredential": {"value": "a", "existingSecret": "a"}},
                            "adminCredential.value and adminCredential.existingSecret are both given"),
        "no root key": ({"rootKey": {"value": "1:short"}}, "rootKey.value must be lines of the form"),
        "another database": ({"database": {"url": "mysql://h/d"}}, "must begin with postgres://"),
        "fewest above most": (chart.merged(chart.OWN, {"autoscaling": {"minReplicas": 9}}), "is more than"),
        "no time to end": ({"terminationGracePeriodSeconds": 14}, "would be killed with requests in hand"),
        "scraped though disabled": ({"otel": {"disabled": True}, "serviceMonitor": {"enabled": True}},
                                    "serviceMonitor.enabled, but otel.disabled.*/metrics is 404"),
        "alerts though disabled": ({"otel": {"disabled": True}, "prometheusRule": {"enabled": True}},
                                   "prometheusRule.enabled, but otel.disabled"),
        "a password in an endpoint": ({"otel": {"endpoint": "https://a:hunter2@collector"}},
                                      "^(?!.*hunter2)(?s:.*)otel.endpoint must hold no user and no password"),
        "an endpoint twice": ({"otel": {"variables": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}}},
                              "otel.variables.OTEL_EXPORTER_OTLP_ENDPOINT: say it as otel.endpoint"),
        "headers for all to read": ({"otel": {"variables": {"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}}},
                                    "OTEL_EXPORTER_OTLP_HEADERS: say it as otel.existingSecret"),
    }

    def test_what_can_not_work_is_refused_with_the_reason(self):
        for name, (values, reason) in self.CASES.items():
            for upgrade in (False, True):
                with self.subTest(name, upgrade=upgrade), self.assertRaisesRegex(helm_python.HelmRenderError, reason):
                    chart.render(values, upgrade)


if __name__ == "__main__":
    unittest.main()
