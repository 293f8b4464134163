"""How many bytes a view takes, and how true its targets stay: against exact top-k and against TinyViT's records.

Run ``python -m tests.benchmarks.storage [--short] [--json] [--plot PNG] [--tables FILE]``. Real teachers: three
ImageNet networks over ``rrc`` crops of 19 photographs, and the demo's over its own pictures. Each teacher's outputs
are written to a real cache, once in each encoding, and read again; its bytes are those of the objects on disk, head
and view digest included. All figures but the last digits are the same on every machine, so none has a spread.

1,024 crops a teacher, a block of 1,024 rows; the short form is EfficientNet-Lite0 alone, the full form all three.
``--plot`` and ``--tables`` write the picture and the tables of docs/benchmarks.md.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.rows import Row, run_alone
from tests.benchmarks.storage_formats import Kept
from tests.benchmarks.storage_found import GOALS, Found, measure
from tests.benchmarks.storage_outputs import Outputs, demo_outputs, imagenet_outputs
from tests.benchmarks.storage_tries import tries

__all__ = ["KS", "main", "outputs_of", "report", "rows", "rows_of"]

KS = (10, 25, 50, 100)
_DEMO_KS = (5,)


def outputs_of(*, short: bool, num_samples: int = 1024) -> list[Outputs]:
    """Return what the teachers of one form of the benchmark say; the demo's comes last."""
    return [
        *imagenet_outputs((0,) if short else (0, 1, 2), num_samples=num_samples, num_aug_seeds=1),
        demo_outputs(num_samples=num_samples, num_aug_seeds=1),
    ]


def rows(*, short: bool = False, plot: Path | None = None, tables: Path | None = None) -> list[Row]:
    """Return every figure that has a budget, and the sizes of the other encodings."""
    return report(outputs_of(short=short), plot=plot, tables=tables)


def report(outputs: list[Outputs], *, plot: Path | None = None, tables: Path | None = None) -> list[Row]:
    """Store what the teachers say, draw and write what is asked for, and return the figures."""
    *of_imagenet, of_demo = outputs
    everything = [*(measure(one, KS) for one in of_imagenet), measure(of_demo, _DEMO_KS)]
    if plot is not None:
        from tests.benchmarks.storage_plot import draw

        draw(everything, plot)
    if tables is not None:
        from tests.benchmarks.storage_tables import as_markdown

        tried = tries(of_imagenet[0], sorted(GOALS))
        tables.write_text(as_markdown(everything, tried), encoding="utf-8")
    return [row for found in everything for row in rows_of(found)]


def rows_of(found: Found) -> Iterator[Row]:
    """Yield one teacher's figures beside the budget."""
    for kept in found.stored:
        name = f"{found.teacher}, {kept.form}, K = {kept.k}"
        record = found.tiny_vit.get(kept.k)
        if record is None:
            yield _row(f"{name}: bytes a view", kept.bytes_per_view, "B", note=_sizes(kept))
            continue
        goal = GOALS.get(kept.k) if kept.form == "gap8" else None
        ratio = kept.bytes_per_view / record.bytes_per_view
        note = f"{kept.bytes_per_view:.1f} B of {record.bytes_per_view:.0f} B: {_sizes(kept)}"
        yield _row(f"{name}: bytes a view, of TinyViT's", ratio, "x", goal=goal, note=note)
        if kept.form == "gap8":
            yield from _fidelity_rows(name, kept, found)


def _fidelity_rows(name: str, kept: Kept, found: Found) -> Iterator[Row]:
    has_budget = kept.k in GOALS
    for temperature, goal in ((1.0, 1.01), (2.0, 1.0), (4.0, 1.0)):
        whose, other = ("exact top-k's", found.exact) if temperature == 1.0 else ("TinyViT's", found.tiny_vit)
        ours, theirs = kept.at[temperature], other[kept.k].at[temperature]
        note = f"{ours.kl:.5f} against {theirs.kl:.5f} nat; L1 {ours.l1:.4f} against {theirs.l1:.4f}"
        what = f"{name}: KL at T = {temperature:g}, of {whose}"
        yield _row(what, ours.kl / theirs.kl, "x", goal=goal if has_budget else None, note=note)


def _row(what: str, value: float, unit: str, *, goal: float | None = None, note: str) -> Row:
    return Row(what, value, value, value, unit, goal=goal, at_least=False, note=note)


def _sizes(kept: Kept) -> str:
    parts = ", ".join(f"{what} {size:.1f}" for what, size in kept.parts.items())
    return f"{parts}; an ideal coder {kept.ideal:.1f}"


def main() -> None:
    """Print the figures; ``--plot`` and ``--tables`` write what docs/benchmarks.md shows."""
    run_alone(__doc__, rows, flags={"plot": Path, "tables": Path})


if __name__ == "__main__":
    main()
