"""Write two small shards and the settings of both stages: ``python3 make_shards.py FOLDER``.

Pictures, teacher and settings are those of ``kdcache demo`` and come with the package: 200 labelled pictures to learn
from, 1,000 to evaluate on.
"""  # noqa: INP001 - a script beside the compose file

import shutil
import sys
from pathlib import Path
from typing import Final

from kdcache.demo.recipe import LABELLED, TEST, Recipe

__all__ = ["main"]

VIEWS: Final = 4


def main() -> None:
    """Write ``train.tar``, ``test.tar``, ``precompute.yaml`` and ``train.yaml`` into the folder that is named."""
    folder = Path(sys.argv[1])
    shutil.copyfile(LABELLED, folder / "train.tar")
    shutil.copyfile(TEST, folder / "test.tar")
    Recipe(views=VIEWS, epochs=1).write(folder)


if __name__ == "__main__":
    main()
