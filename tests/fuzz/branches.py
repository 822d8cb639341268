"""Fails when too few branches of a source file were taken: python branches.py FILE PERCENT <llvm-cov's JSON."""

import json
import sys

name, needed = sys.argv[1], float(sys.argv[2])
files = json.load(sys.stdin)["data"][0]["files"]
(found,) = (entry["summary"]["branches"] for entry in files if entry["filename"].endswith("/" + name))
print(f"{name}: {found['covered']} of {found['count']} branches, {found['percent']:.1f} %; {needed:g} % are needed")
sys.exit(found["percent"] < needed)
