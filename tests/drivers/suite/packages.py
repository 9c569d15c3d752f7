"""The test suites in drivers' own source packages, run by pytest against the same release of the driver."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

from .pair import CACHE, Stage

# name: the package with its release, the database that its tests expect, what else they need
SUITES = {
    "psycopg2": ("psycopg2==2.9.13", "psycopg2_test", ["psycopg2-binary==2.9.13", "pytest-benchmark"]),
    "pg8000": ("pg8000==1.31.6", "postgres", ["pg8000==1.31.6", "pytest-mock", "pytest-benchmark", "pytz"]),
}
TOOLS = ["pytest==9.2.0", "setuptools", "wheel"]
OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S+)", re.M)


class Package:
    def __init__(self, name, options):
        self.name, self.options = name, options
        self.package, self.database, self.needs = SUITES[name]

    def run(self, target):
        """Runs the suite against a target; its outcomes by test are left in a file."""
        tests, python = self.fetch()
        with Stage() as stage:
            port = stage.target(target, self.database, self.options.settings)
            environment = os.environ | {
                "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGPASSWORD": "pw", "PSYCOPG2_TESTDB_FAST": "1",
            }
            command = [python, "-m", "pytest", "-q", "-rA", "--tb=short", "-p", "no:cacheprovider", "--benchmark-disable", "--ignore=test/test_readme.py", *self.options.only]
            done = subprocess.run(command, cwd=tests, env=environment, capture_output=True, text=True, timeout=900)
        results = self.results(target)
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(done.stdout + done.stderr)

    def fetch(self):
        """The directory to run in, and the interpreter with the driver."""
        home = CACHE / "suites" / self.package
        python = home / "venv/bin/python"
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
            pip = [python, "-m", "pip", "-q"]
            subprocess.run([*pip, "install", *TOOLS, *self.needs], check=True)
            subprocess.run([*pip, "download", "--no-deps", "--no-binary", ":all:", "-d", home, self.package], check=True)
            subprocess.run(["tar", "xzf", *home.glob("*.tar.gz"), "--strip-components=1", "--one-top-level=source"], cwd=home, check=True)
            # The tests are for the installed driver, not for the sources beside them.
            source = home / "source"
            for directory in ("lib", "src"):
                shutil.rmtree(source / directory, ignore_errors=True)
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
