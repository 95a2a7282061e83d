"""What Helm makes of the chart is what Kubernetes takes, and its parts fit together."""

import functools
import json
import os
import re
import tempfile
import unittest

import helm_python
import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate import utils

import chart
import kubelet

# Otherwise megabytes of JSON are read again for each object.
utils.schema_contents = functools.cache(utils.schema_contents)
# From the oldest that the chart admits to the newest that the package knows.
VERSIONS = [version for version in utils.all_versions() if [int(n) for n in version.split(".")] >= [1, 30]]

# The package has no schemas of custom resources: this is their part that the chart writes, after the Prometheus
# Operator's API reference (monitoring.coreos.com/v1).
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION = {"type": "string", "pattern": "^(0|([0-9]+(ms|[smhdwy]))+)$"}


def closed(required, **properties):
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


METADATA = {"type": "object", "required": ["name", "labels"]}
RULE = closed(["expr"], alert={"type": "string"}, record={"type": "string"}, expr={"type": ["string", "integer"]},
              **{"for": DURATION, "keep_firing_for": DURATION, "labels": LABELS, "annotations": LABELS})
CUSTOM = {
    "ServiceMonitor": closed(["selector", "endpoints"], selector=closed(["matchLabels"], matchLabels=LABELS),
                             namespaceSelector=closed(["matchNames"], matchNames={"type": "array", "minItems": 1}),
                             endpoints={"type": "array", "minItems": 1, "items": closed(
                                 ["port"], port={"type": "string"}, path={"type": "string", "pattern": "^/"},
                                 interval=DURATION, scrapeTimeout=DURATION)}),
    "PrometheusRule": closed(["groups"], groups={"type": "array", "minItems": 1, "items": closed(
        ["name", "rules"], name={"type": "string", "minLength": 1}, interval=DURATION,
        rules={"type": "array", "minItems": 1, "items": RULE})}),
}


def validate(document, version):
    if document["kind"] in CUSTOM:
        whole = closed(["apiVersion", "kind", "metadata", "spec"], kind={}, metadata=METADATA,
                       apiVersion={"const": "monitoring.coreos.com/v1"}, spec=CUSTOM[document["kind"]])
        jsonschema.validate(document, whole)
    else:
        kubernetes_validate.validate(document, version, strict=True)


def name_of(document):
    return f"{document['kind']} {document['metadata']['name']}"


def for_each_of_the_matrix(check):
    """A test of the manifests of each set of values, at an install and at an upgrade."""
    def test(self):
        for name, values in chart.MATRIX.items():
            for upgrade in (False, True):
                with self.subTest(name, upgrade=upgrade):
                    check(self, chart.documents(values, upgrade))
    return test


class EachOfTheMatrix(unittest.TestCase):
    def test_lint_finds_nothing_to_warn_of(self):
        for name, values in chart.MATRIX.items():
            with self.subTest(name):
                report = helm_python.lint(chart.PATH, values, strict=True, namespace=chart.NAMESPACE)
                warnings = [message for message in report["messages"] if message["severity"] > 1]
                self.assertEqual((report["errors"], warnings), ([], []))
                self.assertEqual(report["total_charts_linted"], 1)

    def test_every_manifest_is_what_kubernetes_takes(self):
        self.assertGreaterEqual(len(VERSIONS), 8)
        texts, kinds = set(), set()
        for name, values in chart.MATRIX.items():
            for upgrade in (False, True):
                for document in chart.documents(values, upgrade):
                    kinds.add(document["kind"])
                    text = json.dumps(document)
                    if text in texts:
                        continue
                    texts.add(text)
                    for version in VERSIONS:
                        with self.subTest(name, upgrade=upgrade, version=version, what=name_of(document)):
                            validate(document, version)
        self.assertEqual(kinds, {
            "ConfigMap", "Secret", "Service", "ServiceAccount", "StatefulSet", "Deployment", "Job", "Pod",
            "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor", "PrometheusRule"})

    def test_the_check_is_strict(self):
        for kind, spoil in (("StatefulSet", lambda it: it["spec"].update(replica=1)),
                            ("StatefulSet", lambda it: it["spec"]["template"]["spec"]["containers"][0].update(port=1)),
                            ("Service", lambda it: it["spec"]["ports"][0].update(port="x")),
                            ("ServiceMonitor", lambda it: it["spec"]["endpoints"][0].update(ports="http"))):
            document = next(it for it in chart.documents(chart.MATRIX["postgres-everything"]) if it["kind"] == kind)
            spoil(document)
            with self.assertRaises(jsonschema.ValidationError):
                validate(document, VERSIONS[-1])

    @for_each_of_the_matrix
    def test_names_are_unique_and_are_labels_of_dns(self, documents):
        names = [name_of(document) for document in documents]
        self.assertEqual(sorted(names), sorted(set(names)))
        for document in documents:
            self.assertRegex(document["metadata"]["name"], r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")

    @for_each_of_the_matrix
    def test_every_pod_is_restricted(self, documents):
        """Kubernetes' Pod Security Standard `restricted`, and a root file system that nobody can write."""
        for document in documents:
            pod = chart.pod_of(document)
            if not pod:
                continue
            spec, context = pod["spec"], pod["spec"]["securityContext"]
            self.assertTrue(context["runAsNonRoot"])
            self.assertGreater(context["runAsUser"], 0)
            self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertIs(spec["automountServiceAccountToken"], False)
            self.assertIs(spec["enableServiceLinks"], False)
            self.assertFalse({"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys())
            for volume in spec.get("volumes", []):
                self.assertTrue({"configMap", "secret", "emptyDir"} & volume.keys(), volume)
            for container in spec["containers"]:
                own = container["securityContext"]
                self.assertIs(own["allowPrivilegeEscalation"], False)
                self.assertIs(own["readOnlyRootFilesystem"], True)
                self.assertEqual(own["capabilities"], {"drop": ["ALL"]})

    @for_each_of_the_matrix
    def test_secrets_are_for_the_group_alone_and_in_no_other_place(self, documents):
        for document in documents:
            pod = chart.pod_of(document)
            if pod:
                secrets = [it["secret"] for it in pod["spec"].get("volumes", []) if "secret" in it]
                self.assertTrue(all(secret["defaultMode"] == 0o440 for secret in secrets))
                self.assertEqual(pod["spec"]["securityContext"]["fsGroup"],
                                 pod["spec"]["securityContext"]["runAsGroup"])
            if document["kind"] != "Secret":
                text = json.dumps(document)
                for secret in (chart.ROOT_KEY.partition(":")[2], "made-up", "COUNTERSIGN_SECRET=b"):
                    self.assertNotIn(secret, text, name_of(document))

    @for_each_of_the_matrix
    def test_what_a_pod_mounts_is_there_when_it_starts(self, documents):
        """Hooks come before the release's own objects, so they mount only what are hooks themselves."""
        made = {(it["kind"], it["metadata"]["name"]): chart.hooks_of(it) for it in documents}
        for document in documents:
            pod = chart.pod_of(document)
            if not pod:
                continue
            spec, moments = pod["spec"], chart.hooks_of(document) - {"test"}
            mounted = [("Secret", it["secret"]["secretName"]) for it in spec.get("volumes", []) if "secret" in it]
            mounted += [("ConfigMap", it["configMap"]["name"]) for it in spec.get("volumes", []) if "configMap" in it]
            mounted.append(("ServiceAccount", spec["serviceAccountName"]))
            for kind, name in mounted:
                if name in ("mine", "ca", "default"):
                    continue  # the user's
                self.assertIn((kind, name), made, name_of(document))
                self.assertLessEqual(moments, made[kind, name], f"{name_of(document)} mounts {name}")
                self.assertEqual(bool(moments), bool(made[kind, name]), f"{name_of(document)} mounts {name}")
            templates = document["spec"].get("volumeClaimTemplates", [])
            volumes = {it["name"] for it in spec.get("volumes", [])} | {it["metadata"]["name"] for it in templates}
            for container in spec["containers"]:
                mounts = [it["name"] for it in container.get("volumeMounts", [])]
                self.assertLessEqual(set(mounts), volumes)
                self.assertEqual(volumes - set(mounts), set(), "a volume that nobody mounts")

    @for_each_of_the_matrix
    def test_selectors_find_the_servers_and_nothing_else(self, documents):
        pods = {name_of(it): chart.pod_of(it)["metadata"]["labels"] for it in documents if chart.pod_of(it)}
        services = {name_of(it): it["metadata"]["labels"] for it in documents if it["kind"] == "Service"}
        server = next(name for name in pods if name.split()[0] in ("Deployment", "StatefulSet"))
        for document in documents:
            spec, kind = document.get("spec", {}), document["kind"]
            if kind == "Service":
                self.assertEqual(found(spec["selector"], pods), [server])
            elif kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
                self.assertEqual(found(spec["selector"]["matchLabels"], pods), [server])
                spread = chart.pod_of(document) or {"spec": {}}
                for one in spread["spec"].get("topologySpreadConstraints", []):
                    self.assertEqual(found(one["labelSelector"]["matchLabels"], pods), [server])
            elif kind == "NetworkPolicy":
                self.assertEqual(found(spec["podSelector"]["matchLabels"], pods), [server])
                if not document["metadata"]["name"].endswith("-gateway"):
                    tester = spec["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
                    self.assertEqual([name.split()[0] for name in found(tester, pods)], ["Pod"])
            elif kind == "ServiceMonitor":
                self.assertEqual(len(found(spec["selector"]["matchLabels"], services)), 1)
            elif kind == "HorizontalPodAutoscaler":
                target = spec["scaleTargetRef"]
                self.assertEqual(f"{target['kind']} {target['name']}", server)
                scaled = next(it for it in documents if name_of(it) == server)
                self.assertNotIn("replicas", scaled["spec"], "two would decide")

    @for_each_of_the_matrix
    def test_ports_have_one_name_everywhere(self, documents):
        server = next(it for it in documents if it["kind"] in ("Deployment", "StatefulSet"))
        container = chart.pod_of(server)["spec"]["containers"][0]
        ports = {it["name"]: it["containerPort"] for it in container["ports"]}
        config = next(it for it in documents if it["kind"] == "ConfigMap")["data"]["countersign.toml"]
        listens = {"grpc": "listen", "grpc-admin": "admin-listen", "http": "http-listen", "gateway": "gateway-listen"}
        self.assertEqual(len(set(ports.values())), len(ports))
        for name, setting in listens.items():
            if name in ports:
                self.assertRegex(config, rf'(?m)^{setting} = ".*:{ports[name]}"$')
            else:
                self.assertNotIn(setting, config)
        endpoint = next(it["value"] for it in container["env"] if it["name"] == "COUNTERSIGN_ENDPOINT")
        self.assertRegex(endpoint, rf'^http://(127\.0\.0\.1|\[::1\]):{ports["grpc-admin"]}$')
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual(container[probe]["httpGet"]["port"], "http")
        name = server["metadata"]["name"]
        reached = {it["metadata"]["name"]: {port["targetPort"] for port in it["spec"]["ports"]}
                   for it in documents if it["kind"] == "Service"}
        inside = {"grpc", "grpc-admin", "http"}
        more = {f"{name}-gateway": {"gateway"}} if "gateway" in ports else {}
        if f"{name}-external" in reached:
            more[f"{name}-external"] = {"grpc"}
        self.assertEqual(reached, {name: inside, f"{name}-headless": inside} | more)
        self.assertLessEqual(inside, set(ports))
        for policy in (it for it in documents if it["kind"] == "NetworkPolicy"):
            for rule in policy["spec"]["ingress"]:
                self.assertLessEqual({port["port"] for port in rule["ports"]}, set(ports))

    def test_nothing_that_an_upgrade_changes_is_where_kubernetes_forbids_it(self):
        for name in ("defaults", "postgres-everything"):
            values = chart.MATRIX[name]
            labels = [it["metadata"]["labels"] for it in chart.documents(values) if it["kind"] == "StatefulSet"]
            before, after = (next(it for it in chart.documents(one) if it["kind"] == "StatefulSet")["spec"]
                             for one in (values, chart.merged(values, {"commonLabels": {"new": "label"}})))
            for fixed in ("selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"):
                self.assertEqual(before[fixed], after[fixed], fixed)
            changing = labels[0]["helm.sh/chart"]
            self.assertNotIn(changing, json.dumps([before["selector"], before["volumeClaimTemplates"]]))


def found(selector, labelled):
    return [name for name, labels in labelled.items() if selector.items() <= labels.items()]


class ThePackage(unittest.TestCase):
    def test_it_renders_as_the_folder_does_and_holds_what_people_need(self):
        with tempfile.TemporaryDirectory() as folder:
            archive = helm_python.package(chart.PATH, destination=folder)
            self.assertEqual(os.path.basename(archive), "countersign-0.1.0.tgz")
            with helm_python.Chart.load(archive) as packaged:
                files = {file["name"] for file in packaged.files}
                self.assertLessEqual({"README.md"}, files)
                self.assertIsNotNone(packaged.schema)
                for values in chart.MATRIX.values():
                    again = packaged.render(values, name=chart.RELEASE, namespace=chart.NAMESPACE, is_install=True)
                    self.assertEqual(again, chart.render(values))

    def test_it_is_of_the_version_of_the_program(self):
        with open(os.path.join(chart.ROOT, "Cargo.toml"), encoding="utf-8") as file:
            version = next(line for line in file if line.startswith("version")).split('"')[1]
        with chart.load() as loaded:
            self.assertEqual(loaded.metadata["appVersion"], version)

    def test_alert_rules_come_from_one_file(self):
        """ops/ has the rules for people without Kubernetes, the chart has them within its own folder: one text. In
        a cluster they are about the servers of their release, and link to where the runbook is."""
        ours, of_ops = (read(os.path.join(chart.ROOT, *path)) for path in (
            ("helm", "countersign", "files", "alerts.yaml"), ("ops", "alerts.yaml")))
        self.assertEqual(ours, of_ops, "run `make chart-values`")
        values = chart.merged(chart.OWN, {"fullnameOverride": "keys", "prometheusRule": {
            "enabled": True, "runbookUrl": "https://wiki.example.com/keys"}})
        rule = next(it for it in chart.documents(values) if it["kind"] == "PrometheusRule")
        narrowed = ours.replace('job="countersign"', f'namespace="{chart.NAMESPACE}", job="keys"')
        narrowed = narrowed.replace("ops/RUNBOOK.md#", "https://wiki.example.com/keys#")
        self.assertEqual(rule["spec"], yaml.safe_load(narrowed))
        text = json.dumps(rule["spec"])
        self.assertNotIn("job=\\\"countersign", text)
        self.assertNotIn("ops/RUNBOOK.md", text)
        # The Prometheus Operator takes the name of the Service for `job`.
        service = next(it for it in chart.documents(values) if it["kind"] == "Service")
        self.assertEqual(service["metadata"]["name"], "keys")

    def test_variables_of_opentelemetry_are_the_standards_own(self):
        def variables(otel):
            server = next(it for it in chart.documents({"otel": otel}) if it["kind"] == "StatefulSet")
            env = chart.pod_of(server)["spec"]["containers"][0]["env"]
            return {it["name"]: it.get("value", it.get("valueFrom")) for it in env if it["name"].startswith("OTEL_")}
        resource = f"k8s.namespace.name={chart.NAMESPACE},k8s.pod.name=$(K8S_POD_NAME)"
        self.assertEqual(variables({}), {"OTEL_RESOURCE_ATTRIBUTES": resource})
        self.assertEqual(variables({"disabled": True, "endpoint": "http://c:4317"}), {"OTEL_SDK_DISABLED": "true"})
        self.assertEqual(variables(chart.EVERYTHING["otel"]), {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_HEADERS": {"secretKeyRef": {"name": "mine", "key": "otlp-headers"}},
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_RESOURCE_ATTRIBUTES": f"deployment.environment.name=production,{resource}",
            "OTEL_BSP_MAX_QUEUE_SIZE": "1000000", "OTEL_LOGS_EXPORTER": "none"})
        own = variables({"resourceAttributes": {"k8s.namespace.name": "mine"}})
        self.assertEqual(own["OTEL_RESOURCE_ATTRIBUTES"], "k8s.namespace.name=mine,k8s.pod.name=$(K8S_POD_NAME)")

    def test_the_policy_says_who_reaches_what(self):
        lists = {name: [{"ipBlock": {"cidr": f"192.0.2.{n}/32"}}]
                 for n, name in enumerate(("verification", "administration", "metrics"))}
        rules = reached({"networkPolicy": lists})
        self.assertEqual(rules.pop("grpc")[1:], lists["verification"], "beside the pod of `helm test`")
        self.assertEqual(rules, {"grpc-admin": lists["administration"], "http": lists["metrics"]})
        nobody = reached({"networkPolicy": {"verification": [], "administration": [], "metrics": []}})
        self.assertEqual((set(nobody), len(nobody["grpc"])), ({"grpc"}, 1), "a rule without peers lets everybody in")
        self.assertNotIn("grpc-admin", reached({}), "administrators come by the node unless more is said")
        self.assertNotIn("http", reached({}), "who scrapes has to be named")

    def test_the_door_for_gateways_opens_for_those_that_are_named(self):
        somebody = [{"podSelector": {"matchLabels": {"app": "nginx"}}}]
        for others in (True, False):
            with self.subTest(other_policies=others):
                def with_door(peers, others=others):
                    return reached({"networkPolicy": {"enabled": others},
                                    "gatewayHttp": {"enabled": True, "from": peers}})
                self.assertNotIn("gateway", with_door([]))
                self.assertEqual(with_door(somebody)["gateway"], somebody)
                if not others:
                    # None of the other ports is closed by it: no peers at all are all peers.
                    self.assertEqual({name: peers for name, peers in with_door([]).items()},
                                     {"grpc": None, "grpc-admin": None, "http": None})
        self.assertNotIn("gateway", reached({}))

    def test_pods_of_hooks_and_tests_take_labels_and_annotations(self):
        labels, annotations = {"sidecar.istio.io/inject": "false"}, {"linkerd.io/inject": "disabled"}
        values = chart.merged(chart.MATRIX["postgres-own-secrets"], {
            "commonLabels": {"sidecar.istio.io/inject": "true"},
            "hooks": {"podLabels": labels, "podAnnotations": annotations}})
        pods = [it for it in chart.documents(values) if chart.pod_of(it) and chart.hooks_of(it)]
        self.assertEqual(sorted(it["metadata"]["name"] for it in pods), [
            f"countersign-{name}" for name in ("bootstrap", "check-config", "migrate", "test")])
        for document in pods:
            metadata = chart.pod_of(document)["metadata"]
            self.assertLessEqual(labels.items(), metadata["labels"].items(), name_of(document))
            self.assertLessEqual(annotations.items(), metadata["annotations"].items(), name_of(document))

    def test_hooks_end_before_helm_gives_them_up(self):
        """Helm's own default, of each hook; the README's commands say no other."""
        text = read(os.path.join(chart.PATH, "README.md"))
        said = re.findall(r"--timeout[ =](\d+)m\b", text)
        patience = min([5] + [int(minutes) for minutes in said]) * 60
        jobs = [it for it in chart.documents(chart.MATRIX["postgres-own-secrets"]) if it["kind"] == "Job"]
        self.assertEqual(len(jobs), 3)
        for job in jobs:
            self.assertLess(job["spec"]["activeDeadlineSeconds"], patience)

    def test_the_settings_are_checked_before_anything_is_changed(self):
        """By the program of the new release, with the new settings, on both databases."""
        for name in ("defaults", "postgres-own-secrets", "postgres-everything"):
            for upgrade in (False, True):
                with self.subTest(name, upgrade=upgrade):
                    documents = chart.documents(chart.MATRIX[name], upgrade)
                    moment = "pre-upgrade" if upgrade else "pre-install"
                    hooks = kubelet.in_order(it for it in documents if moment in chart.hooks_of(it))
                    jobs = [it for it in hooks if it["kind"] == "Job"]
                    container, = chart.pod_of(jobs[0])["spec"]["containers"]
                    self.assertEqual(container["args"], ["check-config"])
                    server = next(it for it in documents if it["kind"] == "StatefulSet")
                    served, = chart.pod_of(server)["spec"]["containers"]
                    self.assertEqual(container["image"], served["image"])
                    for one in container["volumeMounts"]:
                        self.assertIn(one, served["volumeMounts"])
                    of_the_command_line = [it for it in served["env"] if it["name"] == "COUNTERSIGN_ENDPOINT"]
                    self.assertEqual([it for it in served["env"] if it not in of_the_command_line], container["env"])
                    first, second = (it["data"] for it in documents if it["kind"] == "ConfigMap")
                    self.assertEqual(first, second)

    def test_the_readmes_command_removes_what_failed_hooks_leave_and_nothing_else(self):
        command = re.search(r"kubectl delete (\S+) --selector (\S+) --namespace countersign",
                            read(os.path.join(chart.PATH, "README.md")))
        kinds, selector = command[1].split(","), dict(it.split("=") for it in command[2].split(","))
        documents = chart.documents(chart.MATRIX["postgres-own-secrets"])
        chosen = {name_of(it) for it in documents if it["kind"].lower() in kinds
                       and selector.items() <= it["metadata"]["labels"].items()}
        copies = {name_of(it) for it in documents if chart.hooks_of(it) and it["kind"] not in ("Job", "Pod")}
        self.assertEqual(chosen, copies)
        self.assertTrue({it for it in copies if it.startswith("Secret ")})


def reached(values):
    """Who may reach each port that any may: the rules of all policies, which add up."""
    policies = [it for it in chart.documents(values) if it["kind"] == "NetworkPolicy"]
    return {port["port"]: rule.get("from") for policy in policies for rule in policy["spec"]["ingress"]
            for port in rule["ports"]}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    unittest.main()
