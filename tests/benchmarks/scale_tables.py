"""Where the bytes of a cache are, and how many a larger one would have."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kdcache.config.views import ViewPolicy
from kdcache.store import open_cache
from kdcache.store.layout import Layout, Unit, default_seeds_per_group
from kdcache.store.manifest import Identity, ShardEntry, TeacherIdentity
from kdcache.store.pack import encode_object
from tests.benchmarks.rows import Row
from tests.benchmarks.scale_cache import ROWS_PER_SHARD, Outputs, drawn_planes

__all__ = ["Costs", "bytes_by_part", "extrapolated"]

_ROWS = 1280
_PARTS = {
    "teachers": "targets",
    "views": "digests and thumbnails",
    "samples": "samples",
    "commits": "records and index",
}

_CASES = (
    ("ImageNet-1k", 1_281_167, 1000, 50, 10, "ImageNet+ 4.9 GB tar.gz, 10 classes; TinyViT's format 2.8 GB"),
    ("ImageNet-1k", 1_281_167, 1000, 50, 50, "TinyViT's format 13.1 GB"),
    ("ImageNet-1k", 1_281_167, 1000, 300, 10, "TinyViT 16.9 GB (published 16 GB) + 18 GB of keys"),
    (
        "ImageNet-1k",
        1_281_167,
        1000,
        300,
        50,
        "TinyViT's format 78.4 GB; dense float16 769 GB; ReLabel 12 GB without views",
    ),
    ("ImageNet-22k", 14_197_122, 21_841, 90, 50, "TinyViT's format 260.7 GB"),
    ("ImageNet-22k", 14_197_122, 21_841, 90, 100, "TinyViT 516.2 GB (published 481 GB, in GiB)"),
)


@dataclass(frozen=True)
class Costs:
    """Bytes beside the targets: of a view's digest and thumbnail, of a sample, of a unit's record and index entry."""

    view: float
    sample: float
    unit: float


def bytes_by_part(cache: Path, name: str) -> tuple[Row, Costs]:
    """Return the bytes per view of a cache, head, digests, samples, records and metadata included."""
    opened = open_cache(cache)
    num_samples = sum(block.num_rows for block in opened.blocks)
    num_views = num_samples * opened.identity.num_aug_seeds
    sizes: Counter[str] = Counter()
    for file in cache.rglob("*"):
        if file.is_file():
            sizes[_PARTS.get(file.relative_to(cache).parts[0], "manifest")] += file.stat().st_size
    total = sum(sizes.values())
    note = ", ".join(f"{part} {size / num_views:.2f}" for part, size in sizes.most_common())
    value = total / num_views
    costs = Costs(
        view=sizes[_PARTS["views"]] / num_views,
        sample=(sizes[_PARTS["samples"]] + sizes["manifest"]) / num_samples,
        unit=sizes[_PARTS["commits"]] / opened.layout.num_units,
    )
    what = f"bytes per view, {name}"
    return Row(what, value, value, value, "bytes", note=f"{total / 1e6:,.0f} MB: {note}"), costs


def extrapolated(outputs: Outputs, costs: Costs) -> list[Row]:
    """Return what whole caches of ImageNet would take: a block encoded here, and the costs of a cache made here."""
    found = []
    for name, num_samples, num_classes, views, kept, rivals in _CASES:
        per_view = _target_bytes(outputs, num_classes=num_classes, kept=kept)
        groups = views // default_seeds_per_group(views, _ROWS)
        num_units = -(-num_samples // ROWS_PER_SHARD) * (1 + 2 * groups)
        total = num_samples * (views * (per_view + costs.view) + costs.sample) + num_units * costs.unit
        what = f"{name} x {views} views, K={kept}"
        note = f"{per_view:.1f} bytes of targets a view; {rivals}"
        found.append(Row(what, total / 1e9, total / 1e9, total / 1e9, "GB", note=note))
    return found


def _target_bytes(outputs: Outputs, *, num_classes: int, kept: int) -> float:
    """Return the bytes that a view's targets take in a full block."""
    policy = ViewPolicy.named("rrc")
    teacher = TeacherIdentity(
        architecture="lite0",
        weights_sha256="0" * 64,
        num_classes=num_classes,
        precision="float32",
        encoding="gap8",
        top_k=kept,
    )
    identity = Identity(
        shards=(ShardEntry(name="a.tar", num_samples=_ROWS, digest="0" * 64),),
        num_classes=num_classes,
        policy=policy,
        policy_digest=policy.digest(),
        num_aug_seeds=1,
        rows_per_block=_ROWS,
        seeds_per_group=1,
        teachers={"lite0": teacher},
    )
    planes_PR = drawn_planes(outputs, _ROWS, top_k_=kept, num_classes=num_classes)
    ((spec, _),) = Layout.of(identity).objects_of(Unit("lite0", 0, 0))
    return len(encode_object(spec, planes_PR[None])) / _ROWS
