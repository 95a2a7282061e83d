"""What the chart renders, run: its settings through `check-config`, and whole installs on a real store, with the hooks,
the servers, the probes, `helm test`, NOTES.txt and an upgrade, everything but Kubernetes itself.

Takes from the environment: COUNTERSIGN_PROGRAM, GRPCURL, CSTEST_RUN_DIR, and for PostgreSQL DATABASE_URL and
DATABASE_URL_2 to _4 (empty databases).
"""

import json
import os
import re
import stat
import subprocess
import unittest
import urllib.error
import urllib.request

import helm_python

import chart
import kubelet
from install import PROGRAM, SCRATCH, Install, countersign, note_secret, shell

# Where the chart says what, and no setting of the user may.
OF_THE_CHART = {"config", "listen", "admin-listen", "http-listen", "gateway-listen", "data-dir", "database-url",
                "database-url-file", "root-key-file"}
# What only the file can say.
WITHOUT_FLAG = {"gateway"}


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
        for name, port in (("listen", 50051), ("admin-listen", 50052), ("http-listen", 8080)):
            self.assertTrue(settings[name].endswith(f":{port}"), settings[name])
        self.assertEqual(settings["gateway-listen"].endswith(":8081"), values["gatewayHttp"]["enabled"])
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
        self.assertLessEqual(OF_THE_CHART, flags)
        with chart.load() as loaded:
            of_schema = set(loaded.schema["properties"]["settings"]["properties"])
        self.assertEqual(of_schema, flags - OF_THE_CHART | WITHOUT_FLAG)
        self.assertEqual(set(chart.ALL_SETTINGS), of_schema, "tests/helm/chart.py renders them all")

    def test_no_variable_overrides_what_the_chart_says(self):
        flags = re.findall(r"(?m)^ +--([a-z][a-z-]+) <", countersign("serve", "--help"))
        for name in ["COUNTERSIGN_" + flag.upper().replace("-", "_") for flag in flags] + ["COUNTERSIGN_ENDPOINT"]:
            with self.subTest(name), self.assertRaisesRegex(helm_python.HelmRenderError, f"extraEnv: {name} would be"):
                chart.render({"extraEnv": [{"name": name, "value": "a"}]})

    def test_routes_that_overlap_are_named_by_the_lines_that_people_see(self):
        routes = [{"path": "/v1/reports", "scopes": ["reports:read"]},
                  {"path": "/v1/accounts/{account}", "scopes": [], "account": "{account}"},
                  {"path": "/v1/accounts/mine", "scopes": ["accounts:read"]}]
        documents = chart.documents({"settings": {"gateway": {"routes": routes}}})
        cluster = kubelet.Cluster()
        cluster.apply(documents)
        _, spec = next(pods_with_settings(documents))
        root, claim = (kubelet.emptied(os.path.join(SCRATCH, name)) for name in ("overlap", "overlap-claim"))
        said = kubelet.Pod(spec, cluster, PROGRAM, root, {"data": claim}).run(["check-config"])
        self.assertEqual(said.returncode, 2, said)
        lines = [int(line) for line in re.findall(r"\bline (\d+)", said.stderr)]
        self.assertEqual(len(set(lines)), 2, said.stderr)
        text = cluster.entries("ConfigMap", "countersign")["countersign.toml"].splitlines()
        blocks = ["\n".join(text[line - 1:]).split("[[")[1] for line in lines]
        self.assertIn('"/v1/accounts/{account}"', blocks[0])
        self.assertIn('"/v1/accounts/mine"', blocks[1])
        self.assertTrue(all(text[line - 1].strip() == "[[gateway.routes]]" for line in lines), lines)


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
    def test_settings_that_the_program_does_not_take_change_nothing(self):
        release, good = Install(self, "sqlite-mistaken", {}, {}), chart.documents({})
        release.hooks("pre-install", good)
        release.roll_out(good)
        before = dict(release.cluster.objects)
        mistaken = chart.documents({"settings": {"max-staleness": "a while"}}, upgrade=True)
        self.assertIn("max-staleness", release.hooks("pre-upgrade", mistaken, fails="countersign-check-config"))
        left = {name: it for name, it in release.cluster.objects.items() if not chart.hooks_of(it)}
        self.assertEqual(left, before)
        release.probe()
        release.stop()

    def test_the_pods_user_owns_what_it_writes_and_writes_nothing_without_its_group(self):
        """So the other tests notice a user, a group or a mode that is wrong. By anybody but root they can't be."""
        release, documents = Install(self, "sqlite-user", {}, {}), chart.documents({})
        release.roll_out(documents)
        release.stop()
        written = [os.path.join(release.folder, "data-0", name) for name in ("countersign.db", "root-key", "admin.env")]
        owner = 65532 if kubelet.AS_ROOT else os.geteuid()
        self.assertEqual({os.stat(path).st_uid for path in written}, {owner})
        if kubelet.AS_ROOT:
            spec = chart.pod_of(release.workload)["spec"]
            del spec["securityContext"]["fsGroup"]
            claim = kubelet.emptied(os.path.join(release.folder, "no-group"))
            pod = kubelet.Pod(spec, release.cluster, PROGRAM, os.path.join(release.folder, "other"), {"data": claim})
            done = pod.run(more=pod.listens())
            self.assertEqual((done.returncode, os.listdir(claim)), (2, []), done)
            self.assertRegex(done.stderr, "(?i)permission denied")

    def test_the_default_values_are_enough(self):
        release, said = self.story("defaults", {})
        self.assertNotRegex(said, "up to date|installed", "there is nothing to migrate and nobody to install")
        self.assertEqual(said.count("max-staleness = "), 2, "the settings were checked twice")
        kept = sorted(os.listdir(os.path.join(release.folder, "data-0")))
        self.assertLessEqual({"admin.env", "countersign.db", "root-key"}, set(kept))
        with open(os.path.join(release.folder, "data-0", "root-key"), encoding="utf-8") as file:
            note_secret("root-key", file.read().strip().partition(":")[2])
        release.stop()

    def test_it_takes_a_root_key_and_a_credential_of_the_users(self):
        root_key, admin = countersign("root-key", "generate"), countersign("keys", "mint")
        values = {"rootKey": {"value": root_key}, "adminCredential": {"existingSecret": "mine"},
                  "gatewayHttp": {"enabled": True}, "settings": {"gateway-unknown-routes": "verify"}}
        release, _ = self.story("sqlite-secrets", values, {"mine": {"admin.env": admin}})
        note_secret("root-key", root_key.strip().partition(":")[2])
        self.assertIn(release.admin["COUNTERSIGN_KEY_ID"], admin)
        self.assertNotIn("root-key", os.listdir(os.path.join(release.folder, "data-0")), "none was made besides")
        asked = urllib.request.Request(f"http://{release.servers[0].gateways}/v1/forward-auth", headers={
            "x-forwarded-method": "GET", "x-forwarded-uri": "/v1/reports", "x-forwarded-for": "192.0.2.1"})
        with self.assertRaises(urllib.error.HTTPError) as denied:
            urllib.request.urlopen(asked, timeout=5)
        self.assertEqual(denied.exception.code, 401, "the door for gateways answers, and lets nobody in without a key")
        denied.exception.close()
        release.stop()

        # Taken away later, it leaves nothing behind that would be taken for a credential.
        self.assertIn("admin.env", os.listdir(os.path.join(release.folder, "data-0")), "the empty file")
        release.roll_out(chart.documents({"rootKey": {"value": root_key}}, upgrade=True))
        self.assertNotIn("admin.env", os.listdir(os.path.join(release.folder, "data-0")))
        self.assertIn("with whoever bootstrapped this store", "".join(release.servers[0].banner))
        more = {"COUNTERSIGN_ENDPOINT": f"http://{release.servers[0].admin}"}
        done = release.servers[0].pod.run(["keys", "list"], more)
        self.assertRegex(done.stderr, "no credential: looked for")
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
        self.assertRegex(said, r"(?s)max-staleness = .*up to date\nthe credential \S+ is installed\n"
                               r".*max-staleness = .*up to date\nthe store has an administrator already")
        replicas = release.servers[0].pod.run(["replicas", "--json"], release.admin | {
            "COUNTERSIGN_ENDPOINT": f"http://{release.servers[0].admin}"})
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


    def test_an_upgrade_mends_an_install_that_failed(self):
        """The first try found no database. Helm then counts the release as there, and upgrades it."""
        root_key, admin = countersign("root-key", "generate"), countersign("keys", "mint")
        note_secret("root-key", root_key.strip().partition(":")[2])
        url = os.environ["DATABASE_URL_4"]
        values = {"database": {"type": "postgres", "url": chart.URL}, "rootKey": {"value": root_key},
                  "adminCredential": {"value": admin}}
        release = Install(self, "postgres-mended", values, {})
        release.hooks("pre-install", chart.documents(values), fails="countersign-migrate")
        release.values = chart.merged(values, {"database": {"url": url}})
        documents = chart.documents(release.values, upgrade=True)
        self.assertIn("is installed", release.hooks("pre-upgrade", documents))
        release.roll_out(documents)
        release.probe()
        self.assertEqual(release.follow_the_notes(documents)["key"]["accountId"], "acme")
        release.stop()


def tearDownModule():
    """A copy of the program, which the search for secrets need not read."""
    os.remove(PROGRAM)


def readme_block(note):
    """A fenced block of the chart's README, e.g. the values that it tells for PostgreSQL."""
    with open(os.path.join(chart.PATH, "README.md"), encoding="utf-8") as file:
        return file.read().partition(f"```{note}\n")[2].partition("```")[0]


if __name__ == "__main__":
    unittest.main()
