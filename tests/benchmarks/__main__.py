"""All benchmarks in their short form: ``python -m tests.benchmarks [NAME ...]``, which is ``make bench``.

Each runs in a process of its own, so that none finds another's caches or threads. Ends with 1 if a budget is missed.
"""

import json
import subprocess
import sys
import time

from tests.benchmarks.rows import Row, as_text

NAMES = ("storage", "read", "write", "views", "precompute", "train_step", "startup", "scale", "remote")


def main(names: list[str]) -> int:
    """Print a table of each, and one of the budgets that are missed or within the spread."""
    rows = []
    for name in names or NAMES:
        started = time.monotonic()
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--short", "--json"]
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        found = [
            Row(**{key: value for key, value in row.items() if key != "verdict"})
            for row in json.loads(output)
        ]
        sys.stdout.write(f"{name}, {time.monotonic() - started:.0f} s\n{as_text(found)}\n\n")
        sys.stdout.flush()
        rows += found
    open_ones = [row for row in rows if row.verdict in ("missed", "within the spread")]
    budgets = sum(row.goal is not None for row in rows)
    sys.stdout.write(f"{budgets - len(open_ones)} of {budgets} budgets met\n")
    if open_ones:
        sys.stdout.write(f"{as_text(open_ones)}\n")
    return int(any(row.verdict == "missed" for row in open_ones))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
