"""The chart, rendered by Helm itself, under all the values that the tests know."""

import copy
import os

import helm_python
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATH = os.path.join(ROOT, "helm", "countersign")
RELEASE, NAMESPACE = "countersign", "apps"

# The one in C where there is one: it is ten times faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Made up, and never used on a store.
ROOT_KEY = "1:" + "Q" * 43 + "="
URL = "postgres://somebody:made-up@127.0.0.1:1/countersign"
SECRETS = {"root-key": ROOT_KEY + "\n", "database-url": URL, "admin.env": "COUNTERSIGN_KEY_ID=a\nCOUNTERSIGN_SECRET=b\n",
           "otlp-headers": "authorization=Bearer%20made-up"}

OWN = {"database": {"type": "postgres", "url": URL}, "rootKey": {"value": ROOT_KEY}}
EXISTING = {"database": {"type": "postgres", "existingSecret": "mine"}, "rootKey": {"existingSecret": "mine"}}
ALL_SETTINGS = {
    "database-max-connections": 20, "database-listen": "off", "max-staleness": "10s", "brands": ["acme", "cs"],
    "verify-auth": "off", "verify-threads": 3, "max-connections": 1_000_000, "max-watchers": 7,
    "watch-ring-events": 1_000_000, "gateway-key-header": "x-key", "gateway-secret-header": "x-secret",
    "gateway-trusted-hops": 1, "gateway-unknown-routes": "verify",
    "gateway-max-connections": 7,
    "gateway": {"routes": [{"path": "/v1/{account}/**", "methods": ["GET"], "scopes": ["a:read"],
                            "account": "{account}", "application": "billing", "environment": "test"},
                           {"path": "/v2/all", "scopes": []}]},
    "log": "countersign=debug,warn", "log-format": "text",
}
EVERYTHING = {
    "commonLabels": {"team": "platform"},
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 3,
    "adminCredential": {"existingSecret": "mine"},
    "settings": ALL_SETTINGS,
    "otel": {"endpoint": "http://127.0.0.1:1", "protocol": "http/protobuf", "existingSecret": "mine",
             "sampler": "parentbased_traceidratio", "samplerArg": "0.25",
             "resourceAttributes": {"deployment.environment.name": "production"},
             "variables": {"OTEL_BSP_MAX_QUEUE_SIZE": 1_000_000, "OTEL_LOGS_EXPORTER": "none"}},
    "extraEnv": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    "service": {"grpcPort": 443, "adminPort": 8443, "httpPort": 80, "annotations": {"a": "b"}},
    "externalService": {"enabled": True, "port": 443, "annotations": {"a": "b"},
                        "loadBalancerSourceRanges": ["198.51.100.0/24"]},
    "gatewayHttp": {"enabled": True, "port": 81, "from": [{"podSelector": {"matchLabels": {"app": "nginx"}}}]},
    "hooks": {"podAnnotations": {"a": "b"}, "podLabels": {"sidecar.istio.io/inject": "false"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "persistence": {"storageClass": "fast", "annotations": {"a": "b"}},
    "autoscaling": {"enabled": True},
    "networkPolicy": {"verification": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "198.51.100.0/24"}}],
                      "administration": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.1/32"]}}],
                      "metrics": [{"namespaceSelector": {}}]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}, "extraGroups": [
        {"name": "mine", "rules": [{"alert": "Down", "expr": "up == 0", "for": "5m"}]}]},
    "podAnnotations": {"a": "b"}, "podLabels": {"a": "b"}, "nodeSelector": {"a": "b"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}]}},
    "priorityClassName": "high",
}


def merged(*layers):
    """One tree of values; later layers win."""
    result = {}
    for layer in layers:
        for name, value in layer.items():
            below = result.get(name)
            both = isinstance(below, dict) and isinstance(value, dict)
            result[name] = merged(below, value) if both else copy.deepcopy(value)
    return result


MATRIX = {
    "defaults": {},
    "sqlite-own-secrets": {"rootKey": {"value": ROOT_KEY}, "adminCredential": {"value": SECRETS["admin.env"]}},
    "sqlite-existing-secrets": {"rootKey": {"existingSecret": "mine", "existingSecretKey": "root-key"},
                                "adminCredential": {"existingSecret": "mine"}},
    "sqlite-settings": {"settings": ALL_SETTINGS, "listenAddress": "::", "preStopSleepSeconds": 0},
    "sqlite-unmeasured": {"otel": {"disabled": True, "endpoint": "http://127.0.0.1:1"}},
    "sqlite-traces-alone": {"otel": {"variables": {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}}},
    "sqlite-bare": {"networkPolicy": {"enabled": False}, "serviceAccount": {"create": False},
                    "resources": {}, "fullnameOverride": "keys", "hooks": {"checkConfig": False}},
    "sqlite-gateway": {"gatewayHttp": {"enabled": True}},
    "sqlite-gateway-and-no-other-policy": {"gatewayHttp": {"enabled": True}, "networkPolicy": {"enabled": False}},
    "postgres-own-secrets": merged(OWN, {"adminCredential": {"value": SECRETS["admin.env"]}}),
    "postgres-existing-secrets": merged(EXISTING, {"replicas": 3, "adminCredential": {"existingSecret": "mine"}}),
    "postgres-deployment": merged(EXISTING, {"replicas": 2, "persistence": {"enabled": False}}),
    "postgres-autoscaled-deployment": merged(OWN, {"persistence": {"enabled": False},
                                                   "autoscaling": {"enabled": True}}),
    "postgres-no-hooks": merged(OWN, {"hooks": {"migrate": False, "checkConfig": False}, "replicas": 2,
                                      "serviceAccount": {"create": False, "name": "mine"}}),
    "postgres-node-ports": merged(OWN, {
        "externalService": {"enabled": True, "type": "NodePort", "externalTrafficPolicy": "Cluster"},
        "networkPolicy": {"verification": [{"ipBlock": {"cidr": "2001:db8::/32"}}]}}),
    "postgres-closed": merged(OWN, {"networkPolicy": {"verification": []},
                                    "podDisruptionBudget": {"enabled": False}, "topologySpread": {"enabled": False}}),
    "postgres-everything": merged(EXISTING, EVERYTHING),
    "postgres-by-digest": merged(OWN, {"image": {"digest": "sha256:" + "0" * 64}, "nameOverride": "x" * 80}),
}


def load():
    return helm_python.Chart.load(PATH)


def render(values, upgrade=False):
    """The text of each template, as an install or an upgrade would have it."""
    with load() as chart:
        return chart.render(values, name=RELEASE, namespace=NAMESPACE, is_install=not upgrade, is_upgrade=upgrade)


def documents(values, upgrade=False):
    texts = render(values, upgrade).items()
    return [one for name, text in texts if name.endswith(".yaml") for one in yaml.load_all(text, LOADER) if one]


def default_values():
    with open(os.path.join(PATH, "values.yaml"), encoding="utf-8") as file:
        return yaml.safe_load(file)


def hooks_of(document):
    """The moments at which Helm makes an object; none for one that belongs to the release."""
    annotations = document["metadata"].get("annotations", {})
    return set(filter(None, annotations.get("helm.sh/hook", "").split(",")))


def pod_of(document):
    """The pod that an object is or makes, as {metadata, spec}; None for other objects."""
    if document["kind"] == "Pod":
        return document
    return document["spec"]["template"] if document["kind"] in ("Deployment", "StatefulSet", "Job") else None
