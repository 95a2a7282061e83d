"""As much of a kubelet as it takes to run a rendered pod's program here: what it mounts is laid out under a folder,
with the modes that Kubernetes gives, and the program gets the pod's arguments and variables and nothing else. The
paths of its file system stand below that folder; nothing else is changed.

Where these tests run as root, so in containers and in CI, the program runs as the pod's user, with the pod's groups and
without any rights of root's: everything but the volumes is root's, so that it can write there alone. Otherwise it runs
as whoever runs the tests."""

import base64
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time

OURS = ("/etc/countersign", "/var/lib/countersign")
# Everything is on loopback here, and ports are taken as they are free.
LISTEN = {"grpc": "COUNTERSIGN_LISTEN", "grpc-admin": "COUNTERSIGN_ADMIN_LISTEN", "http": "COUNTERSIGN_HTTP_LISTEN",
          "gateway": "COUNTERSIGN_GATEWAY_LISTEN"}
PATIENCE = 60
AS_ROOT = os.geteuid() == 0
# What a folder is made with must not depend on who runs the tests: the pods' user has to pass through.
os.umask(0o022)


class Cluster:
    """Objects by kind and name: what a release has made, and the Secrets that its user has."""

    def __init__(self, secrets=()):
        self.objects = {}
        self.users = {("Secret", name): entries for name, entries in dict(secrets).items()}

    def apply(self, documents):
        for document in documents:
            self.objects[document["kind"], document["metadata"]["name"]] = document

    def delete(self, documents):
        for document in documents:
            del self.objects[document["kind"], document["metadata"]["name"]]

    def entries(self, kind, name):
        """What a ConfigMap or Secret holds, as text."""
        if (kind, name) in self.users:
            return self.users[kind, name]
        document = self.objects.get((kind, name))
        if document is None:
            raise AssertionError(f"there is no {kind} {name}: the pod would wait for it for ever")
        encoded = {key: base64.b64decode(text).decode() for key, text in document.get("data", {}).items()
                   if kind == "Secret"}
        return encoded | document.get("stringData", {}) | (document.get("data", {}) if kind != "Secret" else {})


class Pod:
    """A pod's only container. `root` stands for its file system, `claims` has a folder for each volume that lasts."""

    def __init__(self, spec, cluster, program, root, claims=None):
        self.container, = spec["containers"]
        self.program, self.root, self.cluster = program, root, cluster
        self.context = spec["securityContext"] | self.container["securityContext"]
        self.mounted_over = []
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        # As a runtime does it: what contains others comes first.
        for mount in sorted(self.container.get("volumeMounts", []), key=lambda it: it["mountPath"].count("/")):
            self._mount(mount, volumes.get(mount["name"]), claims or {})

    def _mount(self, mount, volume, claims):
        target = self.at(mount["mountPath"])
        if volume is None:
            folder = claims[mount["name"]]
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if not os.path.islink(target):
                os.symlink(folder, target)
            if not os.stat(folder).st_mode & stat.S_ISGID:  # OnRootMismatch: once
                self._give(folder, 0o2775)
            return
        if "emptyDir" in volume:
            os.makedirs(target, exist_ok=True)
            self._give(target, 0o2777)
            return
        files, mode = self._files(volume)
        if "subPath" in mount:
            files, target = {os.path.basename(target): files[mount["subPath"]]}, os.path.dirname(target)
        os.makedirs(target, exist_ok=True)
        for name, text in files.items():
            path = os.path.join(target, name)
            if os.path.exists(path):
                os.remove(path)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            self._give(path, mode)
            if "subPath" in mount:
                self.mounted_over.append(path)

    def _give(self, path, mode):
        """What is in a volume belongs to root, and to the group that the pod names for volumes, if it does."""
        if AS_ROOT:
            os.chown(path, 0, self.context.get("fsGroup", 0))
        os.chmod(path, mode)

    def command(self, args):
        """The program with these arguments, as the pod's user."""
        if not AS_ROOT:
            return [self.program, *args]
        groups = ["--groups", str(self.context["fsGroup"])] if "fsGroup" in self.context else ["--clear-groups"]
        return [shutil.which("setpriv"), "--reuid", str(self.context["runAsUser"]), "--regid",
                str(self.context["runAsGroup"]), *groups, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
                self.program, *args]

    def unmount(self):
        """When the container ends: under a single file that was mounted into a volume lies the empty one that the
        runtime had made there to mount it over, for all to read."""
        for path in self.mounted_over:
            os.remove(path)
            with open(path, "x", encoding="utf-8"):
                os.chmod(path, 0o755)

    def _files(self, volume):
        if "configMap" in volume:
            source = volume["configMap"]
            entries, mode = self.cluster.entries("ConfigMap", source["name"]), source.get("defaultMode", 0o644)
            return {name: self.moved(text) for name, text in entries.items()}, mode
        source = volume["secret"]
        entries = self.cluster.entries("Secret", source["secretName"])
        return {item["path"]: entries[item["key"]] for item in source["items"]}, source["defaultMode"]

    def at(self, path):
        return self.root + path

    def moved(self, text):
        for prefix in OURS:
            text = text.replace(prefix, self.at(prefix))
        return text

    def environment(self):
        """The pod's variables. Of this process's own only where programs are found."""
        found = {}
        for one in self.container.get("env", []):
            value = one.get("value", "pod-0")  # the field of a pod, which is not in a manifest
            if secret := one.get("valueFrom", {}).get("secretKeyRef"):
                value = self.cluster.entries("Secret", secret["name"])[secret["key"]]
            for name, known in found.items():
                value = value.replace(f"$({name})", known)
            found[one["name"]] = self.moved(value)
        return found | {"PATH": os.environ["PATH"]}

    def run(self, args=None, more=(), patience=PATIENCE):
        """Runs the container, or another command in it as `kubectl exec` would, to its end."""
        args = [self.moved(arg) for arg in (self.container["args"] if args is None else args)]
        return subprocess.run(self.command(args), cwd=self.folder(), env=self.environment() | dict(more),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience, check=False)

    def folder(self):
        folder = self.at(self.container.get("workingDir", ""))
        os.makedirs(folder, exist_ok=True)
        return folder

    def listens(self):
        """Ports that nobody else on this machine has, in place of its own."""
        return {LISTEN[port["name"]]: "127.0.0.1:0" for port in self.container["ports"]}

    def start(self, log):
        return Server(self, log)


class Server:
    """A server's container until `stop`; it has said that it is ready."""

    def __init__(self, pod, log):
        self.pod, self.log = pod, log
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                pod.command(pod.container["args"]), cwd=pod.folder(), env=pod.environment() | pod.listens(),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.banner = []
        try:
            # Ends with its output, so also with a server that ends; a silent one is ended by whoever runs these tests.
            for line in self.process.stdout:
                self.banner.append(line)
                if line == "ready\n":
                    break
            words = [line.split() for line in self.banner]
            self.grpc, self.admin, self.http, self.gateways = (
                next((it[1] for it in words if it[:1] == [name]), None)
                for name in ("gRPC", "KeyAdmin", "HTTP", "gateways"))
            if self.banner[-1:] != ["ready\n"]:
                with open(log, encoding="utf-8") as file:
                    raise AssertionError(f"the server ended before it was ready: {file.read()[-2000:]}")
        except BaseException:
            self.kill()
            raise

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self, within):
        """As Kubernetes asks; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within)
        finally:
            self.kill()
            self.pod.unmount()


def in_order(hooks):
    """As Helm runs them: by weight, and of one weight objects before Jobs that need them."""
    return sorted(hooks, key=lambda it: (int(it["metadata"]["annotations"].get("helm.sh/hook-weight", 0)),
                                         it["kind"] in ("Job", "Pod")))


def wait_until(what, probe, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not probe():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience} s in vain: {what}")
        time.sleep(0.01)


def passable(folder, program):
    """A new folder below one that the pods' user can pass through, and the program in it, for that user to run."""
    made = tempfile.mkdtemp(prefix="helm-", dir=folder)
    os.chmod(made, 0o711)
    shutil.copy2(program, os.path.join(made, "countersign"))
    return made, os.path.join(made, "countersign")


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, 0o755)
    return folder
