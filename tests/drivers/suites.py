#!/usr/bin/env python3
"""Runs test suites that nobody here wrote directly against a server and through the proxy, and says what comes out differently.

    python3 tests/drivers/suites.py                          all suites against all targets, then the comparison
    python3 tests/drivers/suites.py regress --targets old_only --compare-only

A suite runs twice directly, so that what comes out differently by itself is left out. Everything is fetched into the cache by pip and
apt-get, into directories of its own. It takes some ten minutes; exit 1 when anything differs.
"""

import argparse
import os
import sys
import tempfile

from suite.packages import SUITES, Package
from suite.regress import Regress

TARGETS = ["direct", "direct again", "old_only", "dual_write", "reads"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", default=["regress", *SUITES])
    parser.add_argument("--targets", nargs="*", default=TARGETS, help="reads: dual_write with all reads on new")
    parser.add_argument("--only", nargs="*", default=[], help="some scripts or tests only")
    parser.add_argument("--settings", default="", help="further lines of proxy.yaml")
    parser.add_argument("--results", default=os.path.join(tempfile.gettempdir(), "pgduet-suites"), help="where outputs are left")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one suite of a driver")
    parser.add_argument("--compare-only", action="store_true", help="compare what earlier runs left")
    options = parser.parse_args()
    same = True
    for name in options.suites:
        suite = Regress(options) if name == "regress" else Package(name, options)
        for target in options.targets if not options.compare_only else []:
            suite.run(target)
        if {"direct", "direct again"} <= set(options.targets):
            same &= suite.compare(options.targets)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
