"""PostgreSQL's own regression scripts, one after the other in the order of its schedule, each as pg_regress runs it.

What is compared is what psql prints: directly, and through the proxy. A script whose two direct runs differ says nothing and is left out.
"""

import difflib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from .pair import CACHE, Stage, give

ENVIRONMENT = {"PGTZ": "America/Los_Angeles", "PGDATESTYLE": "Postgres, MDY", "PGOPTIONS": "-c intervalstyle=postgres_verbose", "LC_MESSAGES": "C"}
DATABASE = "regression"
SETTINGS = ("lc_messages TO 'C'", "lc_monetary TO 'C'", "lc_numeric TO 'C'", "lc_time TO 'C'", "bytea_output TO 'hex'",
            "timezone_abbreviations TO 'Default'")


class Regress:
    def __init__(self, options):
        self.options = options
        self.source = source()
        self.scripts = options.only or schedule(self.source)

    def run(self, target):
        """Runs every script against a target; what they print is left in a directory."""
        results = pathlib.Path(self.options.results) / "regress" / target.replace(" ", "-")
        shutil.rmtree(results, ignore_errors=True)
        (results / "results").mkdir(parents=True)
        give(results / "results")
        with Stage() as stage:
            library = build(self.source, stage)
            settings = lambda port: [stage.sql(port, f"ALTER DATABASE {DATABASE} SET {setting}") for setting in SETTINGS]
            port = stage.target(target, DATABASE, self.options.settings, settings)
            environment = os.environ | ENVIRONMENT | {
                "PG_ABS_SRCDIR": str(self.source), "PG_ABS_BUILDDIR": str(results), "PG_LIBDIR": library, "PG_DLSUFFIX": ".so",
                "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGDATABASE": DATABASE,
            }
            for script in self.scripts:
                self.script(stage, script, results, environment)
            if proxy := stage.the_proxy:
                (results / "status.json").write_text(json.dumps(proxy.status(), indent=1))
                shutil.copy(proxy.log, results / "proxy.log")

    def script(self, stage, name, results, environment):
        command = [f"{stage.bin}/psql", "-X", "-a", "-q", "-d", DATABASE, "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]
        environment = environment | {"PGAPPNAME": f"pg_regress/{name}"}
        with open(self.source / "sql" / f"{name}.sql", "rb") as text, open(results / f"{name}.out", "wb") as out:
            try:
                subprocess.run(command, stdin=text, stdout=out, stderr=out, env=environment, cwd=results, timeout=300)
            except subprocess.TimeoutExpired:
                out.write(b"\n*** did not end within 300 s ***\n")

    def compare(self, targets):
        """Prints which scripts print the same; the differences are left beside the results. True: all do."""
        outputs = {target: self.output(target) for target in targets}
        direct, again = outputs.pop("direct"), outputs.pop("direct again")
        flaky = [name for name in self.scripts if direct[name] != again[name]]
        expected = [name for name in self.scripts if name not in flaky]
        print(f"regress: {len(self.scripts)} scripts, {len(flaky)} print something else each time: {' '.join(flaky)}")
        same = True
        for target, printed in outputs.items():
            differing = [name for name in expected if printed[name] != direct[name]]
            same &= not differing
            print(f"regress, {target}: {len(expected) - len(differing)} of {len(expected)} as direct; not: {' '.join(differing)}")
            self.explain(target, differing, direct, printed)
        return same

    def output(self, target):
        results = pathlib.Path(self.options.results) / "regress" / target.replace(" ", "-")
        read = lambda name: (results / f"{name}.out").read_bytes().replace(str(results).encode(), b"RESULTS")
        return {name: read(name) for name in self.scripts}

    def explain(self, target, names, direct, printed):
        lines = lambda text: text.decode(errors="replace").splitlines()
        path = pathlib.Path(self.options.results) / "regress" / f"{target}.diff"
        with open(path, "w") as out:
            for name in names:
                diff = difflib.unified_diff(lines(direct[name]), lines(printed[name]), f"{name} direct", f"{name} {target}", lineterm="")
                out.writelines(line + "\n" for line in diff)
        if names:
            print(f"  the differences: {path}")


def schedule(source):
    text = (source / "parallel_schedule").read_text()
    groups = re.findall(r"^test:\s*(.*)$", text, re.M)
    return [name for group in groups for name in group.split()]


def source():
    """The scripts of the server's own version where they are to be had, else the nearest, from the distribution's source package."""
    home = CACHE / "suites" / "postgresql"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        subprocess.run(["sh", "-c", FETCH], cwd=home, check=True)
        (home / "complete").touch()
    return next(home.glob("*/src/test/regress"))


# The package's own lists and state, so that nothing of the machine's is changed; the server's headers are unpacked, not installed.
FETCH = r"""set -e
version=$(dpkg-query -W -f '${Version}' "$(basename "$(ls -d /usr/lib/postgresql/* | sort -V | tail -1)" | sed s/^/postgresql-/)")
package=postgresql-${version%%.*}
. /etc/os-release
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep debian | grep -v security | head -1)
mkdir -p lists/partial
printf 'deb-src %s %s main\n' "$mirror" "$VERSION_CODENAME" >sources.list
options="-o Dir::Etc::sourcelist=$PWD/sources.list -o Dir::Etc::sourceparts=- -o Dir::State::lists=$PWD/lists -o APT::Sandbox::User=root"
apt-get update -q $options
apt-get source -q -d $options "$package=$version" || apt-get source -q -d $options "$package"
tar xf *.orig.tar.*
apt-get download -q "postgresql-server-dev-${version%%.*}=$version" || apt-get download -q "postgresql-server-dev-${version%%.*}"
dpkg -x postgresql-server-dev-*.deb headers
chmod -R a+rX .
"""


def build(source, stage):
    """A directory with regress.so beside the server's own modules."""
    library = stage.home / "lib"
    library.mkdir()
    config = f"{stage.bin}/pg_config"
    ask = lambda what: subprocess.run([config, what], capture_output=True, text=True, check=True).stdout.strip()
    for module in pathlib.Path(ask("--pkglibdir")).glob("*.so"):
        (library / module.name).symlink_to(module)
    headers = source.parents[3] / "headers"
    headers = pathlib.Path(f"{headers}{ask('--includedir-server')}")
    command = ["gcc", "-O2", "-shared", "-fPIC", "-w", "-I", headers, source / "regress.c", "-o", library / "regress.so"]
    subprocess.run(command, check=True)
    return str(library)
