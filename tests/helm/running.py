"""What the chart renders, run: its settings through `check-config`, and whole installs on a real store, with the hooks,
the servers, the probes, `helm test`, NOTES.txt and an upgrade, everything but Kubernetes itself.

Takes from the environment: COUNTERSIGN_PROGRAM, GRPCURL, CSTEST_RUN_DIR, SCRATCH (a new folder of the run), and for
PostgreSQL DATABASE_URL, DATABASE_URL_2 and DATABASE_URL_3 (empty databases).
"""

import json
import os
import re
import stat
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

import helm_python

import chart
import kubelet

PROGRAM, SCRATCH = os.environ["COUNTERSIGN_PROGRAM"], os.environ["SCRATCH"]
# Where the chart says what, and no setting of the user may.
OF_THE_CHART = {"config", "listen", "http-listen", "data-dir", "database-url", "database-url-file", "root-key-file"}
# The chart opens no door for gateways that ask over plain HTTP: whoever reaches it may ask.
NOT_IN_THE_CHART = {"gateway-listen", "gateway-max-connections"}
# What only the file can say.
WITHOUT_FLAG = {"gateway"}
# A kubeconfig of nowhere: a dry run on the client's side asks no cluster.
NOWHERE = """{"apiVersion": "v1", "kind": "Config", "current-context": "a", "users": [{"name": "a", "user": {}}],
"clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
"contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]}"""


def countersign(*args):
    done = subprocess.run([PROGRAM, *args], capture_output=True, text=True, check=True, env={})
    return done.stdout


def note_secret(kind, secret):
    """The run is searched for it when it is over."""
    path = os.path.join(os.environ["CSTEST_RUN_DIR"], "canaries", f"helm-{os.getpid()}.txt")
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{kind} {secret}\n")


def pods_with_settings(documents):
    for document in documents:
        pod = chart.pod_of(document)
        if pod and any(it["name"] == "config" for it in pod["spec"].get("volumes", [])):
            yield document["metadata"]["name"], pod["spec"]


class CheckConfig(unittest.TestCase):
    def test_the_program_takes_the_settings_of_every_pod(self):
        for name, values in chart.MATRIX.items():
            for upgrade in (False, True):
                documents = chart.documents(values, upgrade)
                cluster = kubelet.Cluster({"mine": chart.SECRETS})
                cluster.users["ConfigMap", "ca"] = {}
                cluster.apply(documents)
                pods = list(pods_with_settings(documents))
                self.assertTrue(pods)
                for pod_name, spec in pods:
                    with self.subTest(name, upgrade=upgrade, pod=pod_name):
                        self.check(values, spec, cluster)

    def check(self, values, spec, cluster):
        values = chart.merged(chart.default_values(), values)
        root = kubelet.emptied(os.path.join(SCRATCH, "checked"))
        claim = kubelet.emptied(os.path.join(SCRATCH, "claim"))
        pod = kubelet.Pod(spec, cluster, PROGRAM, root, {"data": claim})
        said = pod.run(["check-config"])
        self.assertEqual((said.returncode, said.stderr), (0, ""), said)
        settings = dict(line.split(" = ", 1) for line in said.stdout.splitlines())
        for name, value in values["settings"].items():
            if name in WITHOUT_FLAG:  # not printed; the program has taken the file that holds it
                with open(pod.at("/etc/countersign/config/countersign.toml"), encoding="utf-8") as file:
                    self.assertIn(value["routes"][0]["path"], file.read())
                continue
            wanted = ",".join(value) if isinstance(value, list) else str(value)
            self.assertEqual(settings[name], wanted, name)
        self.assertTrue(settings["listen"].endswith(":50051") and settings["http-listen"].endswith(":8080"))
        self.assertEqual(settings["data-dir"], pod.at("/var/lib/countersign/countersign-data"))
        given = values["rootKey"]["value"] or values["rootKey"]["existingSecret"]
        root_key = pod.at("/etc/countersign/root-key/root-key") if given else settings["data-dir"] + "/root-key"
        self.assertEqual(settings["root-key-file"], root_key)
        if values["database"]["type"] == "postgres":
            self.assertRegex(settings["database-url"], "^postgres://.*127.0.0.1:1/countersign")
            for secret in ("database-url/database-url", "root-key/root-key"):
                mode = stat.S_IMODE(os.stat(pod.at(f"/etc/countersign/{secret}")).st_mode)
                self.assertEqual(mode, 0o440)
        else:
            self.assertEqual(settings["database-url"], f"sqlite:{settings['data-dir']}/countersign.db")

    def test_a_secret_that_others_may_read_is_noticed_here(self):
        documents = chart.documents(chart.EXISTING)
        cluster = kubelet.Cluster({"mine": chart.SECRETS})
        cluster.apply(documents)
        _, spec = next(pods_with_settings(documents))
        for volume in spec["volumes"]:
            if "secret" in volume:
                volume["secret"]["defaultMode"] = 0o444
        root = kubelet.emptied(os.path.join(SCRATCH, "open"))
        said = kubelet.Pod(spec, cluster, PROGRAM, root, {"data": SCRATCH}).run(["check-config"])
        self.assertEqual(said.returncode, 2)
        self.assertIn("can be used by others", said.stderr)

    def test_the_chart_takes_every_setting_of_the_program_and_no_other(self):
        flags = set(re.findall(r"(?m)^ +--([a-z][a-z-]+) <", countersign("serve", "--help")))
        self.assertLessEqual(OF_THE_CHART | NOT_IN_THE_CHART, flags)
        with chart.load() as loaded:
            of_schema = set(loaded.schema["properties"]["settings"]["properties"])
        self.assertEqual(of_schema, flags - OF_THE_CHART - NOT_IN_THE_CHART | WITHOUT_FLAG)
        self.assertEqual(set(chart.ALL_SETTINGS), of_schema, "tests/helm/chart.py renders them all")


class Install:
    """One release, from `helm install` on."""

    def __init__(self, test, name, values, secrets):
        self.test, self.name, self.values = test, name, values
        self.folder = kubelet.emptied(os.path.join(SCRATCH, name))
        self.cluster = kubelet.Cluster(secrets)
        self.servers = []
        test.addCleanup(self.kill)

    def kill(self):
        for server in self.servers:
            server.kill()

    def hooks(self, moment, documents):
        """Runs the hooks of a moment in Helm's order, and removes what they leave when all have succeeded."""
        hooks = kubelet.in_order(it for it in documents if moment in chart.hooks_of(it))
        said = ""
        for document in hooks:
            self.cluster.apply([document])
            if document["kind"] == "Job":
                root = kubelet.emptied(os.path.join(self.folder, document["metadata"]["name"]))
                done = kubelet.Pod(chart.pod_of(document)["spec"], self.cluster, PROGRAM, root).run()
                self.test.assertEqual(done.returncode, 0, done)
                said += done.stdout + done.stderr
        self.cluster.delete(hooks)
        return said

    def roll_out(self, documents):
        """Every replica of the workload, each on the volume of its ordinal."""
        self.cluster.apply(it for it in documents if not chart.hooks_of(it))
        self.workload = next(it for it in documents if it["kind"] in ("StatefulSet", "Deployment"))
        for ordinal in range(self.workload["spec"]["replicas"]):
            claim = os.path.join(self.folder, f"data-{ordinal}")
            os.makedirs(claim, 0o700, exist_ok=True)
            root = os.path.join(self.folder, f"pod-{ordinal}")
            pod = kubelet.Pod(chart.pod_of(self.workload)["spec"], self.cluster, PROGRAM, root, {"data": claim})
            log = os.path.join(os.environ["CSTEST_RUN_DIR"], "logs", f"helm-{self.name}-{ordinal}.log")
            self.servers.append(pod.start(log))

    def stop(self):
        spec = chart.pod_of(self.workload)["spec"]
        sleep = self.servers[0].pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        for server in self.servers:
            self.test.assertEqual(server.stop(spec["terminationGracePeriodSeconds"] - sleep), 0)
        self.servers = []

    def probe(self):
        for server in self.servers:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                url = f"http://{server.http}{server.pod.container[probe]['httpGet']['path']}"
                kubelet.wait_until(f"{url} says yes", lambda url=url: answers(url))

    def scrape(self):
        """What a ServiceMonitor has Prometheus ask each server."""
        values = chart.merged(self.values, {"serviceMonitor": {"enabled": True}})
        monitor = next(it for it in chart.documents(values) if it["kind"] == "ServiceMonitor")
        endpoint, = monitor["spec"]["endpoints"]
        self.test.assertEqual(endpoint["port"], "http")
        for server in self.servers:
            with urllib.request.urlopen(f"http://{server.http}{endpoint['path']}", timeout=5) as reply:
                self.test.assertRegex(reply.read().decode(), r"(?m)^countersign_ready 1$")

    def helm_test(self, documents):
        """The pod of `helm test`, with the Service's name resolved to the first server, and then to nobody."""
        document = next(it for it in documents if "test" in chart.hooks_of(it))
        service = next(it for it in documents if it["kind"] == "Service" and it["spec"].get("clusterIP") != "None")
        port = next(it["port"] for it in service["spec"]["ports"] if it["name"] == "grpc")
        named = f"--endpoint=http://{service['metadata']['name']}:{port}"
        pod = kubelet.Pod(document["spec"], self.cluster, PROGRAM, os.path.join(self.folder, "test"))
        self.test.assertIn(named, pod.container["args"])
        for address, code in ((self.servers[0].grpc, 0), ("127.0.0.1:1", 2)):
            args = [f"--endpoint=http://{address}" if it == named else it for it in pod.container["args"]]
            done = pod.run(args)
            self.test.assertEqual(done.returncode, code, done)

    def follow_the_notes(self, documents):
        """Types what NOTES.txt says into a shell. Its last line is the grpcurl line; gives the reply."""
        notes = self.notes()
        lines = [line[2:] for line in notes.splitlines() if line.startswith(("  (", "  kubectl "))]
        self.test.assertEqual(lines[-1], notes.splitlines()[-1].strip())
        self.test.assertIn("grpcurl", lines[-1])
        self.test.assertEqual([line.split()[0] for line in lines], ["(umask", "kubectl", "(set"])
        server, folder = self.servers[0], kubelet.emptied(os.path.join(self.folder, "terminal"))
        environment = self.terminal(documents, server)
        # The port that port-forward would open.
        lines[-1] = lines[-1].replace(" 127.0.0.1:50051 ", f" {server.grpc} ")
        for line in lines:
            done = subprocess.run(["sh", "-euc", line], cwd=folder, env=environment, capture_output=True, text=True,
                                  timeout=kubelet.PATIENCE, check=False)
            self.test.assertEqual((done.returncode, done.stderr), (0, ""), line)
            if ".env" in line and "grpcurl" not in line:
                self.test.assertEqual(stat.S_IMODE(os.stat(os.path.join(folder, "admin.env")).st_mode), 0o600)
                with open(os.path.join(folder, "admin.env"), encoding="utf-8") as file:
                    self.admin = dict(line.rstrip("\n").split("=", 1) for line in file)
                note_secret("secret", self.admin["COUNTERSIGN_SECRET"])
                if "bootstrap" in line:
                    # It wrote to the database, and the server learns of it as of any change: in less than a second,
                    # but a script may be faster.
                    kubelet.wait_until("the server knows the credential", lambda: self.list_keys().returncode == 0)
        reply = json.loads(done.stdout)
        note_secret("secret", reply["secret"])
        return reply

    def notes(self):
        """As `helm install` shows them; a dry run makes nothing."""
        with helm_python.Config(kubeconfig_content=NOWHERE, namespace=chart.NAMESPACE, storage_driver="memory") as config:
            release = config.install(chart.PATH, chart.RELEASE, self.values, namespace=chart.NAMESPACE, dry_run="client")
        return release["notes"]

    def terminal(self, documents, server):
        """A shell's variables: grpcurl, and a kubectl that knows the pod, the Secrets and the Services."""
        name = f"{self.workload['kind'].lower()}/{self.workload['metadata']['name']}"
        pod = server.pod
        # The command line within the pod finds the server where servers listen; here that is another port.
        inside = pod.environment() | {"COUNTERSIGN_ENDPOINT": f"http://{server.grpc}"}
        secrets = [it["metadata"]["name"] for it in documents if it["kind"] == "Secret" and not chart.hooks_of(it)]
        secrets += [name for _, name in self.cluster.users]
        services = {f"service/{it['metadata']['name']}": [f"50051:{one['port']}" for one in it["spec"]["ports"]
                                                          if one["name"] == "grpc"]
                    for it in documents if it["kind"] == "Service"}
        return shell(self.folder, {
            "namespace": chart.NAMESPACE, "services": services,
            "pods": {name: {"program": PROGRAM, "folder": pod.folder(), "environment": inside}},
            "secrets": {name: self.cluster.entries("Secret", name) for name in secrets}})

    def rotate(self):
        """The first admin's credential gets another secret, and the one in its Secret is worth nothing any more."""
        more = self.admin | {"COUNTERSIGN_ENDPOINT": f"http://{self.servers[0].grpc}"}
        words = ["keys", "rotate", self.admin["COUNTERSIGN_KEY_ID"], "--overlap", "0s", "--json"]
        done = self.servers[0].pod.run(words, more)
        self.test.assertEqual(done.returncode, 0, done)
        self.admin["COUNTERSIGN_SECRET"] = json.loads(done.stdout)["secret"]
        note_secret("secret", self.admin["COUNTERSIGN_SECRET"])

    def keys(self):
        """The keys that the first replica knows, asked as the administrator whom the notes made."""
        done = self.list_keys()
        self.test.assertEqual(done.returncode, 0, done)
        return [json.loads(line)["keyId"] for line in done.stdout.splitlines()]

    def list_keys(self):
        more = self.admin | {"COUNTERSIGN_ENDPOINT": f"http://{self.servers[0].grpc}"}
        return self.servers[0].pod.run(["keys", "list", "--json"], more)


def shell(folder, state):
    """The variables of a shell that finds grpcurl, countersign, and a kubectl which knows that state."""
    bin_folder = kubelet.emptied(os.path.join(folder, "bin"))
    with open(os.path.join(bin_folder, "kubectl"), "w", encoding="utf-8") as file:
        kubectl = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kubectl.py")
        file.write(f'#!/bin/sh\nexec "{sys.executable}" "{kubectl}" "$@"\n')
    os.chmod(os.path.join(bin_folder, "kubectl"), 0o755)
    os.symlink(os.environ["GRPCURL"], os.path.join(bin_folder, "grpcurl"))
    os.symlink(PROGRAM, os.path.join(bin_folder, "countersign"))
    state_file = os.path.join(folder, "kubectl.allow-secrets")
    with open(state_file, "w", encoding="utf-8") as file:
        json.dump(state, file)
    return {"PATH": f"{bin_folder}:{os.environ['PATH']}", "KUBECTL_STATE": state_file}


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except urllib.error.HTTPError:
        return False


class Story(unittest.TestCase):
    def story(self, name, values, secrets=(), hidden=()):
        """Install, follow the notes, upgrade. `hidden`: what no hook may say."""
        release = Install(self, name, values, secrets)
        documents = chart.documents(values)
        said = release.hooks("pre-install", documents)
        release.roll_out(documents)
        release.probe()
        release.scrape()
        release.helm_test(documents)
        reply = release.follow_the_notes(documents)
        self.assertEqual(reply["key"]["accountId"], "acme")
        # A credential that was brought along counts once: an upgrade comes through although it is refused by now.
        release.rotate()
        release.stop()

        documents = chart.documents(values, upgrade=True)
        said += release.hooks("pre-upgrade", documents)
        release.roll_out(documents)
        release.probe()
        self.assertIn(reply["key"]["keyId"], release.keys())
        for secret in hidden:
            self.assertNotIn(secret, said)
        return release, said


class Sqlite(Story):
    def test_the_default_values_are_enough(self):
        release, said = self.story("defaults", {})
        self.assertEqual(said, "", "there is nothing to migrate and nobody to install")
        kept = sorted(os.listdir(os.path.join(release.folder, "data-0")))
        self.assertLessEqual({"admin.env", "countersign.db", "root-key"}, set(kept))
        with open(os.path.join(release.folder, "data-0", "root-key"), encoding="utf-8") as file:
            note_secret("root-key", file.read().strip().partition(":")[2])
        release.stop()

    def test_it_takes_a_root_key_and_a_credential_of_the_users(self):
        root_key, admin = countersign("root-key", "generate"), countersign("keys", "mint")
        values = {"rootKey": {"value": root_key}, "adminCredential": {"existingSecret": "mine"}}
        release, _ = self.story("sqlite-secrets", values, {"mine": {"admin.env": admin}})
        note_secret("root-key", root_key.strip().partition(":")[2])
        self.assertIn(release.admin["COUNTERSIGN_KEY_ID"], admin)
        self.assertNotIn("root-key", os.listdir(os.path.join(release.folder, "data-0")), "none was made besides")
        release.stop()

        # Taken away later, it leaves nothing behind that would be taken for a credential.
        self.assertIn("admin.env", os.listdir(os.path.join(release.folder, "data-0")), "the empty file")
        release.roll_out(chart.documents({"rootKey": {"value": root_key}}, upgrade=True))
        self.assertNotIn("admin.env", os.listdir(os.path.join(release.folder, "data-0")))
        self.assertIn("with whoever bootstrapped this store", "".join(release.servers[0].banner))
        more = {"COUNTERSIGN_ENDPOINT": f"http://{release.servers[0].grpc}"}
        done = release.servers[0].pod.run(["keys", "list"], more)
        self.assertRegex(done.stderr, "UNAUTHENTICATED")
        self.assertTrue(release.keys())
        release.stop()


class Postgres(Story):
    def test_the_readme_leads_to_three_replicas_on_an_empty_database(self):
        secrets = self.secrets_by_the_readme(os.environ["DATABASE_URL"])
        root_key, admin = secrets["root-key"], secrets["admin.env"]
        note_secret("root-key", root_key.strip().partition(":")[2])
        hidden = [secret.strip().rpartition(sign)[2] for secret, sign in ((root_key, ":"), (admin, "="))]
        values = helm_python.values_from_yaml(readme_block("yaml values"))
        release, said = self.story("postgres", values, {"countersign-secrets": secrets}, hidden)
        self.assertRegex(said, "up to date\nthe credential .* is installed\n.*up to date\n")
        replicas = release.servers[0].pod.run(["replicas", "--json"], release.admin | {
            "COUNTERSIGN_ENDPOINT": f"http://{release.servers[0].grpc}"})
        self.assertEqual(len(replicas.stdout.splitlines()), 3, replicas)
        for ordinal in range(3):
            self.assertIn("high-water.json", os.listdir(os.path.join(release.folder, f"data-{ordinal}")))
        release.stop()

    def secrets_by_the_readme(self, url):
        """Types the README's block into a shell, with a real URL in the place of its example."""
        folder = kubelet.emptied(os.path.join(SCRATCH, "readme"))
        typed = re.sub(r"'postgres://[^']*'", f"'{url}'", readme_block("sh secrets"))
        environment = shell(folder, {"namespace": "", "secrets": {}})
        done = subprocess.run(["sh", "-euc", typed], cwd=folder, env=environment, capture_output=True, text=True,
                              timeout=kubelet.PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        with open(environment["KUBECTL_STATE"], encoding="utf-8") as file:
            return json.load(file)["secrets"]["countersign-secrets"]

    def test_secrets_in_values_do_as_well(self):
        root_key, admin = countersign("root-key", "generate"), countersign("keys", "mint")
        note_secret("root-key", root_key.strip().partition(":")[2])
        values = {"database": {"type": "postgres", "url": os.environ["DATABASE_URL_2"]}, "rootKey": {"value": root_key},
                  "adminCredential": {"value": admin}, "persistence": {"enabled": False}}
        release, said = self.story("postgres-own", values)
        self.assertEqual(release.workload["kind"], "Deployment")
        self.assertIn("is installed", said)
        release.stop()

    def test_without_a_credential_the_notes_make_the_first_one(self):
        root_key = countersign("root-key", "generate")
        note_secret("root-key", root_key.strip().partition(":")[2])
        values = {"database": {"type": "postgres", "url": os.environ["DATABASE_URL_3"]},
                  "rootKey": {"existingSecret": "mine", "existingSecretKey": "another-name"}}
        release, said = self.story("postgres-bare", values, {"mine": {"another-name": root_key}})
        self.assertNotIn("is installed", said)
        release.stop()


def readme_block(note):
    """A fenced block of the chart's README, e.g. the values that it tells for PostgreSQL."""
    with open(os.path.join(chart.PATH, "README.md"), encoding="utf-8") as file:
        return file.read().partition(f"```{note}\n")[2].partition("```")[0]


if __name__ == "__main__":
    unittest.main()
