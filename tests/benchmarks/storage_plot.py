"""The plot of docs/benchmarks.md: bytes per view against KL."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.benchmarks.storage_formats import Kept
from tests.benchmarks.storage_found import Found

__all__ = ["draw"]

_COLOURS = {"gap8": "tab:blue", "TinyViT": "tab:orange", "exact": "tab:gray"}
_LABELS = {
    "gap8": "gap8, as stored",
    "TinyViT": "TinyViT's records",
    "exact": "exact top-k as float32 and uint16",
}
_MARKERS = {"dense8": "s", "hard": "v"}
_LEAST_KL = 1e-6
_TICKS = (10, 30, 100, 300, 1000)


def draw(everything: Sequence[Found], path: Path) -> None:
    """Draw a panel for each teacher of many classes, and write a PNG."""
    shown = [found for found in everything if len(found.gap8()) > 1]
    figure = Figure(figsize=(4.6 * len(shown), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, found in zip(figure.subplots(1, len(shown), squeeze=False, sharey=True)[0], shown, strict=True):
        _panel(axes, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": ""})


def _panel(axes: Axes, found: Found) -> None:
    _line(axes, "exact", [(_exact_bytes(k), kept) for k, kept in found.exact.items()])
    _line(axes, "TinyViT", [(kept.bytes_per_view, kept) for kept in found.tiny_vit.values()])
    _line(axes, "gap8", [(kept.bytes_per_view, kept) for kept in found.gap8()])
    for kept in found.stored:
        if kept.form in _MARKERS:
            kl = max(kept.at[1.0].kl, _LEAST_KL)
            axes.plot(kept.bytes_per_view, kl, _MARKERS[kept.form], color=_COLOURS["gap8"], label=kept.form)
    axes.set(xscale="log", yscale="log", title=found.teacher, xlabel="bytes per view")
    axes.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
    axes.set_ylabel("KL to the dense teacher at T = 1, nat")
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=8)


def _exact_bytes(k: int) -> float:
    """Return what plain arrays take: float32 and uint16 for each class, float32 tails at three temperatures."""
    return 6.0 * k + 12.0


def _line(axes: Axes, form: str, points: Sequence[tuple[float, Kept]]) -> None:
    sizes, kls = [size for size, _ in points], [kept.at[1.0].kl for _, kept in points]
    axes.plot(sizes, kls, "o-", markersize=4, color=_COLOURS[form], label=_LABELS[form])
    for size, kept in points:
        place = (-4, -11) if form == "gap8" else (3, 4)
        axes.annotate(
            f"K={kept.k}", (size, kept.at[1.0].kl), xytext=place, textcoords="offset points", fontsize=7
        )
