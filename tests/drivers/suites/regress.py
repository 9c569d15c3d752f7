"""PostgreSQL's own regression scripts, one after the other in the order of its schedule, each as pg_regress runs it.

What is compared is what psql prints: directly, and through the proxy. A script whose two direct runs differ says nothing and is left out.
"""

import difflib
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
        """Runs every script against a target; returns the directory of what they printed."""
        results = pathlib.Path(self.options.results) / "regress" / target.replace(" ", "-")
        shutil.rmtree(results, ignore_errors=True)
        (results / "results").mkdir(parents=True)
        give(results / "results")
        with Stage() as stage:
            library = build(self.source, stage)
            old = stage.server("old", DATABASE)
            port, proxy = old, None
            if not target.startswith("direct"):
                new = stage.server("new", DATABASE)
                proxy = stage.proxy(old, new, DATABASE, self.options.settings)
                port = proxy.port
            for server in [old] + ([new] if proxy else []):
                for setting in SETTINGS:
                    stage.sql(server, f"ALTER DATABASE {DATABASE} SET {setting}")
            if target != "old_only" and proxy:
                proxy.policy(phase="dual_write")
            if target == "reads":
                proxy.policy(read_percent=100)
            environment = os.environ | ENVIRONMENT | {
                "PG_ABS_SRCDIR": str(self.source), "PG_ABS_BUILDDIR": str(results), "PG_LIBDIR": library, "PG_DLSUFFIX": ".so",
                "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGDATABASE": DATABASE,
            }
            for script in self.scripts:
                self.script(stage, script, results, environment)
            if proxy:
                (results / "status.json").write_text(str(proxy.status()))
                shutil.copy(proxy.log, results / "proxy.log")
        return results

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
    """The scripts of the server's own version, from the distribution's source package."""
    found = sorted((CACHE / "src").glob("postgresql-[0-9]*.[0-9]*/src/test/regress"))
    if not found:
        sys.exit("the sources are missing")
    return found[-1]


def build(source, stage):
    """A directory with regress.so beside the server's own modules."""
    library = stage.home / "lib"
    library.mkdir()
    config = f"{stage.bin}/pg_config"
    ask = lambda what: subprocess.run([config, what], capture_output=True, text=True, check=True).stdout.strip()
    for module in pathlib.Path(ask("--pkglibdir")).glob("*.so"):
        (library / module.name).symlink_to(module)
    command = ["gcc", "-O2", "-shared", "-fPIC", "-w", "-I", ask("--includedir-server"), source / "regress.c", "-o", library / "regress.so"]
    subprocess.run(command, check=True)
    return str(library)
