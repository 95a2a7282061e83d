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
OPEN = {"settings", "affinity", "otel.resourceAttributes", "otel.variables", "commonLabels", "podSecurityContext",
        "containerSecurityContext", "resources", "hooks.resources"}


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
    "extraEnv": [{"name": "A", "value": "b"}], "extraVolumes": [{"name": "ca", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/another"}],
    "adminCredential.value": "COUNTERSIGN_KEY_ID=another\nCOUNTERSIGN_SECRET=one\n",
    "externalService.type": "NodePort", "externalService.loadBalancerSourceRanges": ["198.51.100.1/32"],
    "externalService.externalTrafficPolicy": "Cluster", "gatewayHttp.from": [{"podSelector": {}}],
    "image.repository": "example.com/another", "resources": {"requests": {"cpu": 7}},
    "hooks.resources": {"limits": {"memory": "7Mi"}}, "affinity": {"podAffinity": {"a": "another"}},
    "listenAddress": "::",
    "persistence.size": "7Gi", "persistence.accessModes": ["ReadWriteOncePod"],
    "persistence.whenDeleted": "Delete", "persistence.whenScaled": "Delete",
    "topologySpread.topologyKeys": ["another"], "topologySpread.whenUnsatisfiable": "DoNotSchedule",
    "networkPolicy.verification": [{"ipBlock": {"cidr": "198.51.100.1/32"}}],
    "networkPolicy.administration": [{"ipBlock": {"cidr": "198.51.100.0/24"}}],
    "networkPolicy.metrics": [{"ipBlock": {"cidr": "198.51.100.0/24"}}],
    "serviceMonitor.interval": "7s", "serviceMonitor.scrapeTimeout": "7s",
    "prometheusRule.extraGroups": [{"name": "another", "rules": [{"alert": "A", "expr": "1"}]}],
    "tolerations": [{"operator": "Exists"}],
    "podSecurityContext": {"runAsUser": 1000}, "containerSecurityContext": {"runAsUser": 1000},
    "terminationGracePeriodSeconds": 300, "serviceAccount.create": False,
}
# What else has to be said for a value to show.
FULL = chart.merged(chart.EXISTING, chart.EVERYTHING)
# Where nothing is measured, nothing is scraped.
UNMEASURED = chart.merged(FULL, {"serviceMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}})
NODE_PORT = chart.merged(FULL, {"externalService": {"loadBalancerSourceRanges": []}})
AMONG = {
    "externalService.type": NODE_PORT,
    "otel.disabled": UNMEASURED,
    "database.url": chart.OWN, "rootKey.value": chart.OWN, "adminCredential.value": chart.OWN,
    "replicas": chart.OWN, "fullnameOverride": {}, "nameOverride": {},
}


# Values of the right type at the top, that Kubernetes would refuse halfway through an install, or that would make
# another thing of the pods than the chart promises.
BELOW = [
    ("fullnameOverride", "Bad_Name"), ("fullnameOverride", "1a"), ("nameOverride", "a.b"), ("nameOverride", "A"),
    ("commonLabels", {"a": "no spaces"}), ("podLabels", {"a b": "c"}), ("podLabels", {"a": 1}),
    ("image.repository", "no spaces"), ("image.tag", "a:b"), ("imagePullSecrets", [{"name": "A"}]),
    ("podSecurityContext.runAsUser", "abc"), ("podSecurityContext.runAsUser", 0),
    ("podSecurityContext.runAsNonRoot", False), ("podSecurityContext.fsgroup", 1),
    ("podSecurityContext.seccompProfile", {"type": "Unconfined"}),
    ("containerSecurityContext.privileged", True), ("containerSecurityContext.allowPrivilegeEscalation", True),
    ("containerSecurityContext.readOnlyRootFilesystem", False), ("containerSecurityContext.runAsUser", 0),
    ("containerSecurityContext.capabilities", {"drop": []}),
    ("containerSecurityContext.capabilities", {"add": ["NET_ADMIN"], "drop": ["ALL"]}),
    ("networkPolicy.verification", [{"ipBlock": {"cidr": 7}}]),
    ("networkPolicy.verification", [{"ipBlock": {"cidr": "192.0.2.1"}}]),
    ("networkPolicy.verification", [{"ipBlock": {"except": ["192.0.2.1/32"]}}]),
    ("networkPolicy.administration", [{"ipBlock": {"cidr": "192.0.2.0/24"}, "podSelector": {}}]),
    ("networkPolicy.metrics", [{"namespaceSelector": {"name": "monitoring"}}]), ("networkPolicy.metrics", [{}]),
    ("gatewayHttp.from", [{"podSelector": {"matchLabels": {"a": 1}}}]),
    ("externalService.loadBalancerSourceRanges", ["everybody"]), ("externalService.type", "ClusterIP"),
    ("podDisruptionBudget.maxUnavailable", "0%"), ("podDisruptionBudget.maxUnavailable", "101%"),
    ("podDisruptionBudget.maxUnavailable", 0), ("autoscaling.minReplicas", 0),
    ("extraEnv", [{"name": "A", "value": 1}]), ("extraEnv", [{"name": "A B", "value": ""}]),
    ("extraEnv", [{"name": "A", "valueFrom": {"secret": {"name": "a", "key": "b"}}}]),
    ("extraVolumes", [{"name": "a"}]), ("extraVolumes", [{"name": "A", "emptyDir": {}}]),
    ("extraVolumeMounts", [{"name": "a", "mountPath": "relative"}]),
    ("resources", {"request": {"cpu": 1}}), ("resources", {"limits": {"memory": "1 GB"}}),
    ("hooks.resources", {"limits": {"memory": ["1Gi"]}}),
    ("tolerations", [{"operator": "Is"}]), ("affinity", {"podAfinity": {}}),
]


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

    def test_what_kubernetes_would_refuse_below_a_value_is_refused_here(self):
        """Groups of Kubernetes' own, and forms that a type alone does not say."""
        for path, wrong in BELOW:
            with self.subTest(path, wrong=wrong), self.assertRaises(helm_python.HelmValuesError) as refused:
                chart.render(chart.merged(FULL, with_value(path, wrong)))
            # Of a wrong name in a map, Helm says the name alone, or the map.
            group, _, name = path.replace(".", "/").rpartition("/")
            self.assertRegex(str(refused.exception),
                             f"at '/{group}/?{name}[/']|invalid propertyName|'{name}' not allowed")

    def test_what_is_documented_below_a_value_is_taken(self):
        for path, right in (
                ("podSecurityContext", {"runAsUser": None, "runAsGroup": None, "fsGroup": None}),
                ("podSecurityContext.supplementalGroups", [1000]), ("fullnameOverride", "keys-1"),
                ("containerSecurityContext.seccompProfile", {"type": "Localhost", "localhostProfile": "a.json"}),
                ("podDisruptionBudget.maxUnavailable", "34%"), ("podDisruptionBudget.maxUnavailable", "100%"),
                ("resources", {"requests": {"cpu": 1, "memory": "1.5Gi", "example.com/gpu": 1}}),
                ("networkPolicy.metrics", [{"ipBlock": {"cidr": "::/0", "except": ["2001:db8::/32"]}}]),
                ("networkPolicy.metrics", [{"podSelector": {"matchExpressions": [
                    {"key": "a", "operator": "In", "values": ["b"]}]}, "namespaceSelector": {}}]),
                ("tolerations", [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 7}]),
                ("image.repository", "registry.example.com:5000/a/b"), ("commonLabels", {"example.com/a.b": ""})):
            with self.subTest(path, right=right):
                chart.render(chart.merged(FULL, with_value(path, right)))

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

    def test_the_notes_warn_of_what_the_values_open(self):
        def notes(values):
            return " ".join(chart.render(values)["countersign/templates/NOTES.txt"].split())
        outside = {"externalService": {"enabled": True}, "networkPolicy": {"verification": [
            {"ipBlock": {"cidr": "198.51.100.0/24"}}]}}
        door = {"gatewayHttp": {"enabled": True}}
        for warning, values in (("by the Service countersign-external, and what goes over it is not encrypted", outside),
                                ("Nobody reaches the door for gateways over plain HTTP yet", door)):
            self.assertIn(warning, notes(values))
            self.assertNotIn(warning, notes({}))
        named = notes(chart.merged(door, {"gatewayHttp": {"from": [{"podSelector": {}}]}}))
        self.assertIn("countersign-gateway.apps.svc:8081", named)
        self.assertNotIn("Nobody reaches", named)

    def test_what_an_upgrade_can_not_change_is_said(self):
        """Kubernetes takes changes of a StatefulSet in few places, and an object of another name is another one."""
        fixed = ("selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy")
        kept = chart.merged(FULL, {"persistence": {"enabled": True}})
        rows = {path: meaning for path, _, meaning in values_table.rows(values_table.read("values.yaml"))}

        def state(values):
            server = next(it for it in chart.documents(values) if it["kind"] in ("StatefulSet", "Deployment"))
            return server["metadata"]["name"], server["kind"] == "StatefulSet" and [server["spec"][name] for name in fixed]
        for path in set(LEAVES) - {"database.type", "persistence.enabled"}:
            among = AMONG.get(path, kept)
            value = value_at(chart.merged(chart.default_values(), among), path)
            changed = state(chart.merged(among, with_value(path, another(path, value))))
            with self.subTest(path):
                self.assertEqual(state(among) != changed, "can't be changed by an upgrade" in rows[path])

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
        "a credential of another form": ({"adminCredential": {"value": "hunter"}}, "must be the two lines COUNTERSIGN_KEY_ID="),
        "half a credential": ({"adminCredential": {"value": "COUNTERSIGN_KEY_ID=a\n"}}, "must be the two lines"),
        "one half twice": ({"adminCredential": {"value": "COUNTERSIGN_KEY_ID=a\nCOUNTERSIGN_KEY_ID=b"}},
                           "must be the two lines"),
        "an empty half": ({"adminCredential": {"value": "COUNTERSIGN_KEY_ID=a\nCOUNTERSIGN_SECRET="}},
                          "must be the two lines"),
        "a selector's label for all": ({"commonLabels": {"app.kubernetes.io/name": "mine"}},
                                       "commonLabels: the label app.kubernetes.io/name is the chart's own"),
        "a selector's label for pods": ({"podLabels": {"app.kubernetes.io/component": "mine"}},
                                        "podLabels: the label app.kubernetes.io/component is the chart's own"),
        "a selector's label for hooks": ({"hooks": {"podLabels": {"helm.sh/chart": "mine"}}},
                                         "hooks.podLabels: the label helm.sh/chart"),
        "a variable of OpenTelemetry's": ({"extraEnv": [{"name": "OTEL_SDK_DISABLED", "value": "true"}]},
                                          "extraEnv: say OTEL_SDK_DISABLED as otel.disabled"),
        "a variable of the chart's": ({"extraEnv": [{"name": "K8S_POD_NAME", "value": "a"}]}, "is the chart's own"),
        "a volume of the chart's": ({"extraVolumes": [{"name": "data", "emptyDir": {}}]},
                                    "a volume named data is there already"),
        "a volume twice": ({"extraVolumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]},
                           "two are named a"),
        "a mount of nothing": ({"extraVolumeMounts": [{"name": "a", "mountPath": "/a"}]}, "there is no volume a"),
        "a mount over the store": ({"extraVolumes": [{"name": "a", "emptyDir": {}}], "extraVolumeMounts": [
            {"name": "a", "mountPath": "/var/lib/countersign"}]}, "would hide /var/lib/countersign/countersign-data"),
        "a mount over the secrets": ({"extraVolumes": [{"name": "a", "emptyDir": {}}], "extraVolumeMounts": [
            {"name": "a", "mountPath": "/etc/countersign/root-key"}]}, "or lie in it"),
        "two ports of one number": ({"service": {"httpPort": 50051}}, "service.grpcPort and service.httpPort are both 50051"),
        "open to the outside, and closed": ({"externalService": {"enabled": True}},
                                            "networkPolicy.verification lists no ipBlock: nobody outside"),
        "addresses of no balancer": (chart.merged(FULL, {"externalService": {"type": "NodePort"}}),
                                     "is for externalService.type=LoadBalancer"),
        "scaled by nothing": (chart.merged(chart.OWN, {"autoscaling": {"enabled": True}, "resources": {
            "requests": {"cpu": None}}}), "resources.requests.cpu is not given"),
        "another database": ({"database": {"url": "mysql://h/d"}}, "must begin with postgres://"),
        "fewest above most": (chart.merged(chart.OWN, {"autoscaling": {"minReplicas": 9}}), "is more than"),
        "no time to end": ({"terminationGracePeriodSeconds": 14}, "would be killed with requests in hand"),
        "scraped though disabled": ({"otel": {"disabled": True}, "serviceMonitor": {"enabled": True}},
                                    "serviceMonitor.enabled, but otel.disabled.*/metrics is 404"),
        "scraped by nobody": ({"serviceMonitor": {"enabled": True}},
                              "networkPolicy.metrics is empty: Prometheus would not get through"),
        "alerts though disabled": ({"otel": {"disabled": True}, "prometheusRule": {"enabled": True}},
                                   "prometheusRule.enabled, but otel.disabled"),
        "a password in an endpoint": ({"otel": {"endpoint": "https://a:hunter2@collector"}},
                                      "^(?!.*hunter2)(?s:.*)otel.endpoint must hold no user and no password"),
        "an endpoint twice": ({"otel": {"variables": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}}},
                              "otel.variables.OTEL_EXPORTER_OTLP_ENDPOINT: say it as otel.endpoint"),
        "headers for all to read": ({"otel": {"variables": {"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}}},
                                    "OTEL_EXPORTER_OTLP_HEADERS: say it as otel.existingSecret"),
    }

    def test_a_release_that_no_service_can_be_named_after_is_refused(self):
        with chart.load() as loaded:
            for release in ("1st", "keys.prod"):
                with self.subTest(release), self.assertRaisesRegex(helm_python.HelmRenderError, "begins with a letter"):
                    loaded.render({}, name=release, namespace=chart.NAMESPACE, is_install=True)
                loaded.render({"fullnameOverride": "keys"}, name=release, namespace=chart.NAMESPACE, is_install=True)

    def test_what_can_not_work_is_refused_with_the_reason(self):
        for name, (values, reason) in self.CASES.items():
            for upgrade in (False, True):
                with self.subTest(name, upgrade=upgrade), self.assertRaisesRegex(helm_python.HelmRenderError, reason):
                    chart.render(values, upgrade)


if __name__ == "__main__":
    unittest.main()
