"""The tables of docs/benchmarks.md about bytes per view, as Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from tests.benchmarks.storage_formats import TEMPERATURES, Fidelity, Kept
from tests.benchmarks.storage_found import GOALS, Found
from tests.benchmarks.storage_tries import Try

__all__ = ["as_markdown"]

_AT = [f"T = {temperature:g}" for temperature in TEMPERATURES]


def as_markdown(everything: Sequence[Found], tried: Sequence[Try]) -> str:
    """Return all tables, one after the other."""
    sizes = (
        "teacher",
        "K",
        "bytes",
        "of TinyViT's",
        "goal",
        "class ids",
        "gaps",
        "head",
        "digest",
        "ideal coder",
    )
    truth = (
        "teacher",
        "K",
        "format",
        *(f"{what}, {t}" for what in ("KL", "of it bucket's", "L1") for t in _AT),
    )
    others = (
        "teacher",
        "encoding",
        "bytes",
        "ideal coder",
        *(f"{what}, {t}" for what in ("KL", "L1") for t in _AT),
    )
    attempts = ("what", "K", "bytes saved", "of all", *(f"KL of exact's, {t}" for t in _AT))
    parts = [
        "\n".join(
            f"- {found.teacher}: {found.diversity}; {found.rest:.0f} B of rest" for found in everything
        ),
        _table((*sizes, "worst case"), (line for found in everything for line in _sizes(found))),
        _table(truth, (line for found in everything for line in _truth(found))),
        _table(others, (line for found in everything for line in _others(found))),
        _table(attempts, map(_attempt, tried)),
    ]
    return "\n\n".join(parts) + "\n"


def _table(names: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, ["---"] * len(names), *lines))


def _sizes(found: Found) -> Iterator[Sequence[str]]:
    for kept in found.gap8():
        ratio = kept.bytes_per_view / found.tiny_vit[kept.k].bytes_per_view
        parts = (f"{kept.parts[what]:.1f}" for what in ("class ids", "gaps", "head", "digest"))
        goal = f"{GOALS[kept.k]}" if kept.k in GOALS else ""
        sizes = f"{kept.bytes_per_view:.1f}", f"{ratio:.3f}", goal, *parts, f"{kept.ideal:.1f}"
        yield found.teacher, f"{kept.k}", *sizes, f"{found.worst[kept.k]:.1f}"


def _truth(found: Found) -> Iterator[Sequence[str]]:
    for kept in found.gap8():
        for other in (kept, found.exact[kept.k], found.tiny_vit[kept.k]):
            numbers = [*_kls(other), *(f"{of.bucket:.1e}" for of in _by_temperature(other)), *_l1s(other)]
            yield found.teacher, f"{kept.k}", other.form, *numbers


def _others(found: Found) -> Iterator[Sequence[str]]:
    dense = [kept for kept in found.stored if kept.form != "gap8"]
    records = [kept for k, kept in found.tiny_vit.items() if k not in found.exact]
    for kept in (*dense, *records):
        ideal = f"{kept.ideal:.1f}" if kept.ideal else ""
        yield found.teacher, kept.form, f"{kept.bytes_per_view:.1f}", ideal, *_kls(kept), *_l1s(kept)


def _attempt(tried: Try) -> Sequence[str]:
    ratios = [f"{ratio:.3f}" for ratio in tried.kl_of_exact.values()]
    return tried.what, f"{tried.k}", f"{tried.saved:.1f}", f"{tried.saved / tried.stored:.1%}", *ratios


def _by_temperature(kept: Kept) -> list[Fidelity]:
    return [kept.at[temperature] for temperature in TEMPERATURES]


def _kls(kept: Kept) -> list[str]:
    return [f"{of.kl:.5f}" for of in _by_temperature(kept)]


def _l1s(kept: Kept) -> list[str]:
    return [f"{of.l1:.4f}" for of in _by_temperature(kept)]
