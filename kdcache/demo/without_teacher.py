"""``python -m kdcache.demo.without_teacher train ...``: the ``kdcache`` command where no teacher can be had.

Importing ``kdcache.teachers``, ``kdcache.precompute`` or the demo's teacher raises in this process and in
its loader workers. A training run that ends well here has called no teacher.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from types import ModuleType
from typing import Final

__all__ = ["FORBIDDEN", "NoTeacherFinder", "main"]

FORBIDDEN: Final = ("kdcache.teachers", "kdcache.precompute", "kdcache.demo.teacher")


class NoTeacherFinder(importlib.abc.MetaPathFinder):
    """Refuse to find the modules that hold or run a teacher."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return None (somebody else's business) or raise.

        Raises:
            ModuleNotFoundError: ``fullname`` is, or is inside, a forbidden module.
        """
        del path, target
        if any(fullname == name or fullname.startswith(f"{name}.") for name in FORBIDDEN):
            raise ModuleNotFoundError(f"{fullname} is not to be had in this process", name=fullname)
        return None


def main() -> None:
    """Run the ``kdcache`` command, as installed, with the arguments of this process."""
    (command,) = entry_points(group="console_scripts", name="kdcache")
    command.load()()


# Spawned loader workers import this module again, as __mp_main__: the guard must not sit behind the name.
if __name__ in {"__main__", "__mp_main__"}:
    sys.meta_path.insert(0, NoTeacherFinder())

if __name__ == "__main__":
    main()
