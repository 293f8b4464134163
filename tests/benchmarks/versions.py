"""Do the golden views keep their digests under other versions of Pillow and NumPy? One venv per pair.

python tests/benchmarks/versions.py [--json] [PILLOW/NUMPY ...]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAIRS = ("11/1.26", "11/2", "12/1.26", "12/2", "13/1.26", "13/2")

_NEEDED = ("pydantic>=2.10", "pyyaml>=6.0.2", "xxhash>=3.5")
_PROBE = """
import json, sys
from importlib.metadata import version
sys.path.insert(0, sys.argv[1])
from kdcache.views.digest import view_digest
from kdcache.views.fingerprint import decoder_fingerprint
from tests.golden.views.cases import HERE, golden_views
golden = json.loads((HERE / "digests.json").read_text())["views"]
found = {case.name: view_digest(view) for case, view in golden_views()}
other = sorted(name for name in golden if found.get(name) != golden[name])
facts = {"python": sys.version.split()[0], "pillow": version("pillow"), "numpy": version("numpy")}
print(json.dumps(facts | {"views": len(found), "other": other, "decoder": decoder_fingerprint()}))
"""


def measure(pair: str, folder: Path) -> dict[str, Any]:
    """Render the golden views in a new venv and return versions and the views that came out different."""
    pillow, numpy = pair.split("/")
    venv = folder / pair.replace("/", "-")
    python = str(venv / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    wanted = [f"pillow=={pillow}.*", f"numpy=={numpy}.*", *_NEEDED]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True, stderr=subprocess.DEVNULL)
    done = subprocess.run([python, "-c", _PROBE, str(ROOT)], check=True, capture_output=True, text=True)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each pair; the exit status says whether all views are equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="*", metavar="PILLOW/NUMPY", default=PAIRS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(pair, Path(folder)) for pair in options.pairs]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print("| Pillow | libjpeg-turbo | NumPy | golden views | different |")
        print("|---|---|---|---|---|")
        for row in rows:
            turbo = row["decoder"]["libjpeg_turbo"]
            print(f"| {row['pillow']} | {turbo} | {row['numpy']} | {row['views']} | {len(row['other'])} |")
    return 1 if any(row["other"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
