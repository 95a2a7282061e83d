"""A release, as running.py runs it: its hooks, its servers, what probes, `helm test` and NOTES.txt do with them."""

import json
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request

import helm_python

import chart
import kubelet

SCRATCH, PROGRAM = kubelet.passable(os.environ["CSTEST_RUN_DIR"], os.environ["COUNTERSIGN_PROGRAM"])
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

    def hooks(self, moment, documents, fails=None):
        """Runs the hooks of a moment in Helm's order, and removes what they leave when all have succeeded. With
        `fails`, the name of the Job that fails, and ends it all."""
        hooks = kubelet.in_order(it for it in documents if moment in chart.hooks_of(it))
        said = ""
        for document in hooks:
            self.cluster.apply([document])
            if document["kind"] == "Job":
                root = kubelet.emptied(os.path.join(self.folder, document["metadata"]["name"]))
                done = kubelet.Pod(chart.pod_of(document)["spec"], self.cluster, PROGRAM, root).run()
                said += done.stdout + done.stderr
                if document["metadata"]["name"] == fails:
                    self.test.assertNotEqual(done.returncode, 0, done)
                    return said
                self.test.assertEqual(done.returncode, 0, done)
        self.test.assertIsNone(fails)
        self.cluster.delete(hooks)
        return said

    def roll_out(self, documents):
        """Every replica of the workload, each on the volume of its ordinal."""
        self.cluster.apply(it for it in documents if not chart.hooks_of(it))
        self.workload = next(it for it in documents if it["kind"] in ("StatefulSet", "Deployment"))
        for ordinal in range(self.workload["spec"]["replicas"]):
            claim = os.path.join(self.folder, f"data-{ordinal}")
            os.makedirs(claim, 0o755, exist_ok=True)
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
        values = chart.merged(self.values, {"serviceMonitor": {"enabled": True},
                                            "networkPolicy": {"metrics": [{"namespaceSelector": {}}]}})
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
        self.test.assertIn(" 127.0.0.1:50052 ", lines[-1])
        lines[-1] = lines[-1].replace(" 127.0.0.1:50052 ", f" {server.admin} ")
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
        inside = pod.environment() | {"COUNTERSIGN_ENDPOINT": f"http://{server.admin}"}
        secrets = [it["metadata"]["name"] for it in documents if it["kind"] == "Secret" and not chart.hooks_of(it)]
        secrets += [name for _, name in self.cluster.users]
        services = {f"service/{it['metadata']['name']}": [f"50052:{one['port']}" for one in it["spec"]["ports"]
                                                          if one["name"] == "grpc-admin"]
                    for it in documents if it["kind"] == "Service"}
        return shell(self.folder, {
            "namespace": chart.NAMESPACE, "services": services,
            "pods": {name: {"command": pod.command([]), "folder": pod.folder(), "environment": inside}},
            "secrets": {name: self.cluster.entries("Secret", name) for name in secrets}})

    def rotate(self):
        """The first admin's credential gets another secret, and the one in its Secret is worth nothing any more."""
        more = self.admin | {"COUNTERSIGN_ENDPOINT": f"http://{self.servers[0].admin}"}
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
        more = self.admin | {"COUNTERSIGN_ENDPOINT": f"http://{self.servers[0].admin}"}
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
