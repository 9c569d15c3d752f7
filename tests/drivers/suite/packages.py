"""The test suites in drivers' own source packages, run by pytest against the same release of the driver."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from .pair import CACHE, Stage


@dataclasses.dataclass
class Suite:
    """What a driver's suite runs with: the release, the database that it expects, what else it needs."""

    package: str
    database: str
    needs: list
    arguments: list = dataclasses.field(default_factory=list)
    # Directories that would hide the installed driver.
    hides: str = ""
    schema: str = ""


SUITES = {
    "psycopg2": Suite("psycopg2==2.9.13", "psycopg2_test", ["psycopg2-binary==2.9.13"], hides="lib"),
    "pg8000": Suite("pg8000==1.31.6", "postgres", ["pg8000==1.31.6", "pytest-mock", "pytest-benchmark", "pytz"],
                    ["--benchmark-disable", "--ignore=test/test_readme.py"], hides="src"),
    "asyncpg": Suite("asyncpg==0.32.0", "postgres", ["asyncpg==0.32.0", "distro"], ["tests"], hides="asyncpg"),
    "sqlalchemy": Suite("sqlalchemy==2.1.9", "test", ["sqlalchemy==2.1.9", "psycopg[binary]==3.3.9", "typing-extensions"], [
        "--dburi=postgresql+psycopg://postgres:pw@127.0.0.1:{port}/test",
        "test/dialect/postgresql", "--ignore=test/dialect/postgresql/test_compiler.py", "test/dialect/test_suite.py", "test/engine/test_reflection.py", "test/orm/test_unitofwork.py",
        "test/orm/test_unitofworkv2.py", "test/orm/test_versioning.py", "test/orm/test_transaction.py", "test/engine/test_transaction.py",
    ], schema="CREATE SCHEMA test_schema; CREATE SCHEMA test_schema_2; CREATE EXTENSION hstore; CREATE EXTENSION citext"),
}
TOOLS = ["pytest==9.2.0", "setuptools>=77", "wheel", "cython"]
OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S+)", re.M)


class Package:
    def __init__(self, name, options):
        self.name, self.options = name, options
        self.suite = SUITES[name]

    def run(self, target):
        """Runs the suite against a target; its outcomes by test are left in a file."""
        tests, python = self.fetch()
        with Stage() as stage:
            suite = self.suite
            prepare = lambda port: suite.schema and stage.sql(port, suite.schema, suite.database)
            port = stage.target(target, suite.database, self.options.settings, prepare)
            environment = os.environ | {
                "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGPASSWORD": "pw", "PGDATABASE": suite.database,
            }
            command = [python, "-m", "pytest", "-q", "-rap", "--tb=short", "-p", "no:cacheprovider"]
            command += [part.format(port=port) for part in suite.arguments] + self.options.only
            results = self.results(target)
            results.parent.mkdir(parents=True, exist_ok=True)
            with open(results, "w") as out:
                subprocess.run(command, cwd=tests, env=environment, stdout=out, stderr=out, timeout=self.options.timeout)
            if proxy := stage.the_proxy:
                results.with_suffix(".status.json").write_text(json.dumps(proxy.status(), indent=1))
                shutil.copy(proxy.log, results.with_suffix(".proxy.log"))

    def fetch(self):
        """The directory to run in, and the interpreter with the driver."""
        home = CACHE / "suites" / self.suite.package
        python = home / "venv/bin/python"
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
            pip = [python, "-m", "pip", "-q"]
            subprocess.run([*pip, "install", *TOOLS, *self.suite.needs], check=True)
            subprocess.run([*pip, "download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", home, self.suite.package], check=True)
            subprocess.run(["tar", "xzf", *home.glob("*.tar.gz"), "--strip-components=1", "--one-top-level=source"], cwd=home, check=True)
            # The tests are for the installed driver, not for the sources beside them.
            if self.suite.hides:
                shutil.rmtree(home / "source" / self.suite.hides)
            (home / "complete").touch()
        return home / "source", python

    def results(self, target):
        return pathlib.Path(self.options.results) / self.name / f"{target.replace(' ', '-')}.log"

    def compare(self, targets):
        """Prints which tests fail through the proxy alone. True: none."""
        outcomes = {target: dict(map(reversed, OUTCOME.findall(self.results(target).read_text()))) for target in targets}
        direct, again = outcomes.pop("direct"), outcomes.pop("direct again")
        flaky = {test for test in direct.keys() | again.keys() if direct.get(test) != again.get(test)}
        failing = failures(direct)
        print(f"{self.name}: {len(direct)} tests, {len(failing)} fail directly, {len(flaky)} come out differently each time")
        same = True
        for target, seen in outcomes.items():
            through = failures(seen)
            differs = sorted((through ^ failing | (direct.keys() ^ seen.keys())) - flaky)
            same &= not differs
            print(f"{self.name}, {target}: {len(through)} fail; not as direct: {' '.join(differs) or 'none'}")
        return same


def failures(outcomes):
    return {test for test, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")}
