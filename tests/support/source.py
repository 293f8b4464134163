"""The project's own files, as the contract tests read them."""

import ast
import functools
from pathlib import Path

__all__ = ["ROOT", "modules", "parsed"]

ROOT = Path(__file__).resolve().parents[2]
_HOUSES = (ROOT / "kdcache", ROOT / "cli" / "kdcache_cli")


def modules() -> tuple[Path, ...]:
    """Return every Python file that is shipped."""
    return tuple(sorted(path for house in _HOUSES for path in house.rglob("*.py")))


@functools.cache
def parsed() -> tuple[tuple[str, ast.Module], ...]:
    """Return (path from the root, syntax tree) of every Python file that is shipped."""
    return tuple(
        (str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))) for path in modules()
    )
