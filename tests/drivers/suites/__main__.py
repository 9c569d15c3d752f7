import argparse
from . import regress
p = argparse.ArgumentParser()
p.add_argument("--results", default="/var/tmp/pgduet-suites")
p.add_argument("--settings", default="")
p.add_argument("--only", nargs="*")
p.add_argument("--compare", action="store_true")
p.add_argument("targets", nargs="*")
o = p.parse_args()
r = regress.Regress(o)
if o.compare:
    r.compare(o.targets)
else:
    for t in o.targets: r.run(t)
