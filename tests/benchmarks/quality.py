"""Do cached targets make better students? Fashion-MNIST, one small ViT, equal steps, five ways to train it.

Run ``python -m tests.benchmarks.quality [--out DIR] [--teacher-folder DIR] [--seeds N] [--labels N,N] [--only WAYS]``.
The pictures come from Debian's ``dataset-fashion-mnist``; they are packed as WebDataset shards, cached by ``kdcache
precompute`` and trained on by ``kdcache train``, one process each, all under one recipe (Adan: after so few steps its
students are two points better than AdamW's). Where only some of the pictures have a label, every way runs with seeds
0, 1, ...; where all have one, with a single further seed.

- labels only: cross-entropy on the labelled pictures, on the same views;
- soft: KL to the convolutional teacher at T = 1, no label is read;
- hard token: DeiT's recipe, a ViT with a distillation token; labels on one head, the teacher's class on the other;
- ensemble: as soft, from the mean probability of a convolutional and an involution network;
- self: as soft, from the cached outputs of the ``soft`` student, into a student of another seed;
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from kdcache.demo.recipe import BATCH
from tests.benchmarks.quality_report import QualityReport
from tests.benchmarks.quality_runs import Commands
from tests.benchmarks.quality_teacher import CONVOLUTION, involution_teacher
from tests.benchmarks.quality_ways import ENSEMBLE, WAYS, Benchmark, Scale

__all__ = ["FILES", "main", "measure"]

FILES = tuple(
    f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def measure(
    scale: Scale,
    *,
    data: Path,
    out: Path,
    teacher_folder: Path,
    side_by_side: int = 2,
    say: Callable[[str], None],
) -> QualityReport:
    """Train the teacher that is missing, run both stages, and return what came out."""
    commands = Commands(out, side_by_side=side_by_side, say=say)
    bench = Benchmark(scale, data=data, out=out, commands=commands)
    bench.pack()
    teachers, training_seconds = [CONVOLUTION], 0.0
    if ENSEMBLE in scale.ways:
        involution, training_seconds = involution_teacher(
            data, teacher_folder, epochs=scale.teacher_epochs, say=say
        )
        teachers.append(involution)
    bench.cache("test", teachers)
    settings = bench.settings(teachers)
    return QualityReport(
        steps=scale.steps,
        batch_size=BATCH,
        views=scale.views,
        test_images=scale.test_images,
        teachers=bench.teacher_accuracies(),
        teacher_training_cpu_seconds=training_seconds,
        stages_one={name: (run.wall_seconds, run.cpu_seconds) for name, run in bench.stages_one.items()},
        settings=settings,
    )


def main() -> None:
    """Print the tables, and whether the goal is reached."""
    parser = _parser()
    options = parser.parse_args()
    missing = [name for name in FILES if not (options.data / name).is_file()]
    if missing:
        parser.error(
            f"there is no {missing[0]} in {options.data}: install Debian's dataset-fashion-mnist "
            "(apt-get install dataset-fashion-mnist), or say with --data where the four files are"
        )
    scale = Scale(
        **{name: getattr(options, name) for name in ("labels", "seeds", "samples", "images", "test_images")},
        **{name: getattr(options, name) for name in ("views", "teacher_epochs", "workers")},
        ways=_ways(parser, options.only),
    )
    if any(count > scale.images or count % 10 for count in scale.labels):
        parser.error(f"--labels {options.labels}: expected multiples of 10 up to --images {scale.images}")
    with tempfile.TemporaryDirectory() as name:
        out = options.out or Path(name)
        report = measure(
            scale,
            data=options.data,
            out=out,
            teacher_folder=options.teacher_folder or out / "teachers",
            side_by_side=options.side_by_side,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
    print(json.dumps(report.to_json(), indent=2) if options.json else report.to_text())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DEBIAN, help="folder of the four files")
    parser.add_argument("--out", type=Path, help="kept, and gone on with; default: a temporary folder")
    parser.add_argument("--teacher-folder", type=Path, help="of trained teachers; default: OUT/teachers")
    parser.add_argument("--only", default=",".join(WAYS), help=f"some of: {', '.join(WAYS)}")
    parser.add_argument("--labels", type=_numbers, default=Scale.labels)
    parser.add_argument("--seeds", type=int, default=Scale.seeds)
    parser.add_argument("--samples", type=int, default=Scale.samples, help="views of every run")
    parser.add_argument("--images", type=int, default=Scale.images, help="pictures that the teachers see")
    parser.add_argument("--views", type=int, default=Scale.views, help="augmentation seeds of a picture")
    parser.add_argument("--test-images", type=int, default=Scale.test_images)
    parser.add_argument("--teacher-epochs", type=int, default=Scale.teacher_epochs)
    parser.add_argument("--workers", type=int, default=Scale.workers, help="loader processes of a run")
    parser.add_argument("--side-by-side", type=int, default=2, help="runs at a time; 0: in this process")
    parser.add_argument("--json", action="store_true")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(part) for part in text.split(",")}))


def _ways(parser: argparse.ArgumentParser, text: str) -> tuple[str, ...]:
    """Return the ways that ``text`` lists, in our order; ``self`` brings its teacher, ``soft``."""
    asked = {part.strip().replace("-", " ") for part in text.split(",")}
    if strangers := asked - set(WAYS):
        parser.error(f"--only {text}: unknown {sorted(strangers)}, expected some of {', '.join(WAYS)}")
    return tuple(way for way in WAYS if way in asked or (way == "soft" and "self" in asked))


if __name__ == "__main__":
    main()
