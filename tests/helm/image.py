"""The Dockerfile, as far as it goes without a container engine: its files are copied, its build steps run as scripts, and
what they would ship is run in a root of its own, where nothing else is.

Only the compiler is not run again: in its place stands the program that this run of the tests has built. Takes from
the environment: COUNTERSIGN_PROGRAM, SCRATCH.
"""

import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import unittest

import chart
import kubelet

PROGRAM, SCRATCH = os.environ["COUNTERSIGN_PROGRAM"], os.environ["SCRATCH"]
COMPILE = "cargo build --release --locked --bin countersign"


def read(name):
    with open(os.path.join(chart.ROOT, name), encoding="utf-8") as file:
        return file.read()


def stages():
    """The Dockerfile's instructions, as (word, rest), for each FROM; what stands before the first is left out."""
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", read("Dockerfile")))
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def in_context(path):
    """Whether .dockerignore lets a file of the repository through; the last pattern that fits decides."""
    kept = True
    for pattern in filter(lambda line: line and not line.startswith("#"), read(".dockerignore").splitlines()):
        wanted = pattern.removeprefix("!")
        parts = path.split("/")
        if any(fnmatch.fnmatchcase("/".join(parts[:n]), wanted) for n in range(1, len(parts) + 1)):
            kept = pattern.startswith("!")
    return kept


def files_of_the_repository():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=chart.ROOT,
                            capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in listed if os.path.isfile(os.path.join(chart.ROOT, path))]


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.build, cls.final = stages()
        cls.source = kubelet.emptied(os.path.join(SCRATCH, "src"))
        cls.out = os.path.join(SCRATCH, "out")
        cls.copied, cls.compiled = set(), False
        for word, rest in cls.build:
            if word == "COPY":
                cls.copy(rest)
            elif word == "RUN":
                cls.run_step(rest)
            elif word not in ("FROM", "WORKDIR", "ENV", "ARG"):
                raise AssertionError(f"this test knows no {word}")

    @classmethod
    def tearDownClass(cls):
        """Copies of the program, which the search for secrets need not read. What a server wrote stays for it."""
        for folder in ("src", "out", "less", "again", "running/usr", "running/lib"):
            shutil.rmtree(os.path.join(SCRATCH, folder), ignore_errors=True)

    @classmethod
    def copy(cls, rest):
        *sources, target = rest.split()
        before = len(cls.copied)
        for path in filter(in_context, files_of_the_repository()):
            for source in sources:
                if path == source or path.startswith(source + "/"):
                    inside = target.rstrip("/") + path.removeprefix(source) if path != source else (
                        os.path.join(target, path) if target.endswith("/") else target)
                    goal = os.path.join(cls.source, inside)
                    os.makedirs(os.path.dirname(goal), exist_ok=True)
                    shutil.copy2(os.path.join(chart.ROOT, path), goal)
                    cls.copied.add(path)
        assert len(cls.copied) - before >= len(sources), f"COPY {rest} finds too little: see .dockerignore"

    @classmethod
    def run_step(cls, step, out=None):
        if step == COMPILE:
            # What cargo would need is there: the manifest is whole, and its lock file fits.
            command = ["cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"]
            told = subprocess.run(command, cwd=cls.source, capture_output=True, text=True, check=True).stdout
            package, = json.loads(told)["packages"]
            cls.targets = {target["kind"][0]: target["src_path"] for target in package["targets"]}
            cls.compiled = True
            built = os.path.join(cls.source, "target", "release", "countersign")
            os.makedirs(os.path.dirname(built))
            shutil.copy2(PROGRAM, built)
            return
        cls.last_step = step
        subprocess.run(["sh", "-euc", step.replace("/out", out or cls.out)], cwd=cls.source, check=True,
                       env={"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": "1"})

    def root(self):
        return os.path.join(self.out, "root")

    def test_the_sources_are_whole(self):
        self.assertTrue(self.compiled, f"the step `{COMPILE}` is not there")
        for kind in ("lib", "bin", "custom-build"):
            self.assertTrue(os.path.isfile(self.targets[kind]), kind)
        needed = {path for path in files_of_the_repository() if path.startswith(("src/", "proto/", "third_party/"))}
        self.assertLessEqual(needed | {"Cargo.toml", "Cargo.lock", "build.rs"}, self.copied)
        for watched in re.findall(r"rerun-if-changed=(\S+?)\"", read("build.rs")):
            self.assertTrue(os.path.exists(os.path.join(self.source, watched)), watched)

    def test_every_file_and_variable_that_the_compiler_reads_is_there(self):
        """What is not run here, the compiler, would miss them only in the image's own build."""
        files, variables = read_by_the_compiler(self.source)
        self.assertGreater(len(files), 2, "the search finds nothing")
        self.assertEqual({path for path in files if not os.path.isfile(os.path.join(self.source, path))}, set())
        given = {rest.partition("=")[0] for word, rest in self.build if word in ("ENV", "ARG")}
        given |= set(re.findall(r"cargo::?rustc-env=([A-Z_]+)=", read("build.rs")))
        left = {name for name in variables if not name.startswith("CARGO_") and name not in given | {"OUT_DIR"}}
        self.assertEqual(left, set(), "nobody sets it in the image's build")
        self.assertIn("CARGO_PKG_VERSION", variables)

    def test_the_search_for_what_the_compiler_reads_finds_every_form(self):
        text = """
            const A: &str = include_str!("a.txt");
            const B: &[u8] = include_bytes!( "../b" );
            const C: &str = include_str!(
                r"c.txt",
            );
            include!("d.rs");
            #![doc = include_str!("../README.md")]
            const E: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/e"));
            const F: &str = concat!(env!("F1"), option_env!("F2"));
            include!(concat!(env!("OUT_DIR"), "/g.rs"));
            #[path = "h/other.rs"] mod h;
        """
        files, variables = named_by("src/x/y.rs", text)
        self.assertEqual(files, {"src/x/a.txt", "src/b", "src/x/c.txt", "src/x/d.rs", "src/README.md", "e",
                                 "src/x/h/other.rs"})
        self.assertEqual(variables, {"CARGO_MANIFEST_DIR", "F1", "OUT_DIR"})
        with self.assertRaises(AssertionError):
            named_by("src/x.rs", "include_str!(SOMEWHERE)")

    def test_nothing_private_gets_into_the_build(self):
        for path in (".git/config", "target/debug/countersign", "countersign-data/root-key", "admin.env", "root-key",
                     ".tools/stamp", "tests/it.rs", "helm/countersign/values.yaml"):
            self.assertFalse(in_context(path), path)

    def test_the_builder_is_not_older_than_the_program_asks_for(self):
        image = re.search(r"ARG RUST_IMAGE=\S+/rust:(\d+)\.(\d+)-", read("Dockerfile"))
        asked = re.search(r'rust-version = "(\d+)\.(\d+)"', read("Cargo.toml"))
        self.assertGreaterEqual([int(n) for n in image.groups()], [int(n) for n in asked.groups()])

    def test_the_final_image_is_what_the_chart_counts_on(self):
        words = dict(self.final)
        self.assertEqual(words["FROM"], "scratch")
        uid, gid = words["USER"].split(":")
        context = chart.default_values()["podSecurityContext"]
        self.assertEqual((int(uid), int(gid)), (context["runAsUser"], context["runAsGroup"]))
        self.assertEqual(json.loads(words["ENTRYPOINT"]), ["countersign"])
        self.assertEqual(words["ENV"], "PATH=/usr/local/bin")
        server = next(it for it in chart.documents({}) if it["kind"] == "StatefulSet")
        container = chart.pod_of(server)["spec"]["containers"][0]
        self.assertEqual(words["WORKDIR"], container["workingDir"])
        self.assertNotIn("command", container)
        copies = [rest for word, rest in self.final if word == "COPY"]
        self.assertEqual(copies, ["--from=build /out/root /",
                                  f"--from=build --chown={uid}:{gid} /out/home {words['WORKDIR']}"])

    def test_it_holds_the_program_its_libraries_and_little_else(self):
        files = {os.path.relpath(os.path.join(folder, name), self.root())
                 for folder, _, names in os.walk(self.root()) for name in names}
        libraries = {path for path in files if path.startswith("lib")}
        self.assertEqual(files - libraries, {
            "usr/local/bin/countersign", "etc/ssl/certs/ca-certificates.crt", "etc/nsswitch.conf", "etc/passwd",
            "etc/group"})
        names = {os.path.basename(path) for path in libraries}
        needed = set()
        for path in {"usr/local/bin/countersign"} | libraries:
            told = subprocess.run(["readelf", "--dynamic", os.path.join(self.root(), path)], capture_output=True,
                                  text=True, check=True).stdout
            needed |= set(re.findall(r"\(NEEDED\).*\[(.+)\]", told))
        self.assertLessEqual(needed, names)
        self.assertEqual({name for name in names - needed if not name.startswith("ld-")}, set(), "nobody needs it")

    def test_the_libraries_have_every_symbol_version_that_is_asked_for(self):
        """Said by the loader of the image itself, which binds everything before the program starts."""
        loader = next(os.path.join(folder, name) for folder, _, names in os.walk(self.root()) for name in names
                      if name.startswith("ld-"))
        folders = {folder for folder, _, names in os.walk(self.root()) for name in names if ".so" in name}
        told = subprocess.run([loader, "--inhibit-cache", "--library-path", ":".join(sorted(folders)), "--list",
                               os.path.join(self.root(), "usr/local/bin/countersign")],
                              env={"LD_BIND_NOW": "1"}, capture_output=True, text=True, check=True)
        self.assertNotIn("not found", told.stdout + told.stderr)
        paths = re.findall(r"=> (\S+) \(", told.stdout)
        self.assertTrue(paths and all(path.startswith(self.root()) for path in paths), told.stdout)

    def test_it_runs_where_nothing_else_is(self):
        """A server on SQLite in the image's working directory, and a name that has to be resolved."""
        root = os.path.join(SCRATCH, "running")
        shutil.copytree(self.root(), root)
        home = os.path.join(root, "var/lib/countersign")
        shutil.copytree(os.path.join(self.out, "home"), home)
        with open(os.path.join(root, "etc/hosts"), "w", encoding="utf-8") as hosts:
            hosts.write("127.0.0.1 the-service\n")
        if os.geteuid() == 0:
            os.chown(home, 65532, 65532)
        server = subprocess.Popen(
            inside(root, "serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"), cwd=home, text=True,
            env={"PATH": "/usr/local/bin"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            banner = []
            for line in server.stdout:
                banner.append(line)
                if line == "ready\n":
                    break
            self.assertEqual(banner[-1:], ["ready\n"], server.stderr.read() if server.poll() is not None else banner)
            port = re.search(r"gRPC +127\.0\.0\.1:(\d+)", "".join(banner))[1]
            asked = subprocess.run(inside(root, "health", f"--endpoint=http://the-service:{port}"), cwd=home,
                                   env={}, capture_output=True, text=True, timeout=kubelet.PATIENCE, check=False)
            self.assertEqual(asked.returncode, 0, asked)
            # The command line's way to the first admin's credential, as `kubectl exec` goes it.
            listed = subprocess.run(inside(root, "keys", "list", f"--endpoint=http://127.0.0.1:{port}"), cwd=home,
                                    env={}, capture_output=True, text=True, timeout=kubelet.PATIENCE, check=False)
            self.assertIn("first administrator", listed.stdout, listed)
        finally:
            server.terminate()
            server.wait()
            server.stdout.close()
            server.stderr.close()

    def test_it_does_not_run_with_a_library_less(self):
        """Otherwise the test above would prove nothing."""
        root = os.path.join(SCRATCH, "less")
        shutil.copytree(self.root(), root)
        missing = next(os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names
                       if name.startswith("libgcc_s"))
        os.remove(missing)
        os.makedirs(os.path.join(root, "var/lib/countersign"))
        tried = subprocess.run(inside(root, "--version"), capture_output=True, text=True, check=False)
        self.assertNotEqual(tried.returncode, 0)
        self.assertIn("libgcc_s", tried.stderr)

    def test_the_same_program_gives_the_same_tree(self):
        def laid_out(folder):
            found = {}
            for path, _, names in os.walk(folder):
                for name in [".", *names]:
                    one = os.path.join(path, name)
                    state = os.lstat(one)
                    found[os.path.relpath(one, folder)] = (state.st_mode, state.st_mtime, digest_of(one))
            return found
        again = os.path.join(SCRATCH, "again")
        self.run_step(self.last_step, again)
        first = laid_out(self.root())
        self.assertEqual(first, laid_out(os.path.join(again, "root")))
        self.assertEqual({time for _, time, _ in first.values()}, {1.0})


def read_by_the_compiler(root):
    """The files and variables that macros of the sources below a folder name, and manifests as theirs."""
    files, variables = set(), set()
    for folder, _, names in os.walk(root):
        for name in filter(lambda name: name.endswith(".rs"), names):
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8") as file:
                some, more = named_by(os.path.relpath(path, root), file.read())
            files, variables = files | some, variables | more
    return files, variables


def named_by(path, text):
    """The same of one file; what a build script writes (OUT_DIR) is no file of the repository. One that is named in a
    way this does not know is an error."""
    # Comments tell of macros, too.
    text = re.sub(r"(?m)^\s*//.*$", "", text)
    files = set(re.findall(r'#\[path\s*=\s*"([^"]+)"', text))
    of_the_manifest = set()
    for start in re.finditer(r"\binclude(?:_str|_bytes)?!\s*\(", text):
        named = in_parentheses(text, start.end()).strip().rstrip(",").strip()
        literal = re.fullmatch(r'r?"([^"]+)"', named)
        joined = re.fullmatch(r'concat!\(\s*env!\("(\w+)"\),\s*"/?([^"]+)"\s*,?\s*\)', named)
        assert literal or joined, f"{path}: this test can't read include!({named})"
        if literal:
            files.add(literal[1])
        elif joined[1] != "OUT_DIR":
            assert joined[1] == "CARGO_MANIFEST_DIR", named
            of_the_manifest.add(joined[2])
    here = os.path.dirname(path)
    return ({os.path.normpath(os.path.join(here, name)) for name in files} | of_the_manifest,
            set(re.findall(r'(?<!_)\benv!\(\s*"(\w+)"', text)))


def in_parentheses(text, start):
    depth = 1
    for end in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    raise AssertionError("a parenthesis that is never closed")


def digest_of(path):
    if os.path.isdir(path):
        return None
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def inside(root, *words):
    """The program in that root, as the image's user where we may become it, otherwise as root of a user namespace."""
    user = ["--setgid=65532", "--setuid=65532"] if os.geteuid() == 0 else ["--map-root-user"]
    return [shutil.which("unshare"), *user, f"--root={root}", "--wd=/var/lib/countersign", "/usr/local/bin/countersign", *words]


if __name__ == "__main__":
    unittest.main()
