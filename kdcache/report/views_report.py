"""Samples under several augmentation seeds, and what a cache's teacher says of each view."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdcache.config.views import ViewPolicy
from kdcache.data.view_check import Verdict
from kdcache.errors import ConfigError, ViewMismatchError
from kdcache.report.class_names import ClassNames
from kdcache.report.sheet import Guess, SheetRow, SheetView, contact_sheet

__all__ = ["ShownSample", "ShownView", "ViewsReport"]

_ALARMS = {"drift": "rounded by another decoder", "other": "not the cached view"}


@dataclass(frozen=True, slots=True)
class ShownView:
    """One view.

    Attributes:
        view_3HW: uint8.
        digest: its pixel digest.
        lam: the share of the sample itself; below 1 where it is mixed.
        partner: key of the sample that it is mixed with.
        partner_label: that one's class, -1 where unlabelled.
        guesses: (class id, probability at T = 1) of the teacher's best classes, best first.
        verdict: how it compares with the cache; None without one.
    """

    aug_seed: int
    view_3HW: NDArray[np.uint8]
    digest: int
    lam: float = 1.0
    partner: str | None = None
    partner_label: int = -1
    guesses: tuple[tuple[int, float], ...] = ()
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class ShownSample:
    """One sample and its views; a label of -1 means that there is none."""

    key: str
    label: int
    views: tuple[ShownView, ...]


@dataclass(frozen=True, slots=True)
class ViewsReport:
    """What a contact sheet shows.

    Attributes:
        cache: where the cache is, if there is one.
        teacher: whose guesses are shown, if there is a cache.
        num_classes: of the teacher; 0 without one.
        class_names: in class order; None shows numbers.
    """

    policy: ViewPolicy
    aug_seeds: tuple[int, ...]
    samples: tuple[ShownSample, ...]
    cache: str | None = None
    teacher: str | None = None
    num_classes: int = 0
    class_names: ClassNames | None = None

    @property
    def verdicts(self) -> dict[str, int]:
        """How many views are equal to the cache's, drifted, or others."""
        counts = Counter(view.verdict for sample in self.samples for view in sample.views)
        return {verdict: counts[verdict] for verdict in ("equal", "drift", "other")}

    @property
    def num_views(self) -> int:
        """How many views are shown."""
        return len(self.samples) * len(self.aug_seeds)

    def demand_cached_views(self) -> None:
        """Refuse views that are not the cache's; those that only drifted are said, not refused.

        Raises:
            ViewMismatchError: there are some; the sheet marks them.
        """
        others = [
            (sample.key, view.aug_seed)
            for sample in self.samples
            for view in sample.views
            if view.verdict == "other"
        ]
        if others:
            raise ViewMismatchError(
                f"{len(others)} of {self.num_views} views are not those of the cache {self.cache}, the first is "
                f"{others[0][0]!r} under aug_seed {others[0][1]}; they are framed on the sheet: restore the shards "
                "that the cache was made from, or precompute a new cache"
            )

    def draw(self) -> Image.Image:
        """Return the contact sheet."""
        policy = self.policy
        return contact_sheet(
            [self._row(sample) for sample in self.samples],
            aug_seeds=self.aug_seeds,
            title=f"View policy {policy.preset}, {policy.height} x {policy.width} pixels",
            subtitle=self._subtitle(),
            footer=self._footer(),
        )

    def save(self, path: Path) -> None:
        """Write the contact sheet as PNG.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.draw().save(path, "PNG", compress_level=6)
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror or error}; choose another --out"
            ) from error

    def summary(self) -> str:
        """Return what the sheet shows, in a few words."""
        text = (
            f"{len(self.samples)} samples under {len(self.aug_seeds)} seeds of policy {self.policy.preset!r}"
        )
        return text if self.cache is None else f"{text}; {self._comparison()}"

    def to_json(self) -> dict[str, Any]:
        """Return everything but the pixels as values that JSON has."""
        return {
            "policy": self.policy.preset,
            "policy_digest": self.policy.digest(),
            "size": [self.policy.height, self.policy.width],
            "aug_seeds": list(self.aug_seeds),
            "cache": self.cache,
            "teacher": self.teacher,
            "verdicts": self.verdicts if self.cache else None,
            "samples": [self._sample_facts(sample) for sample in self.samples],
        }

    def _sample_facts(self, sample: ShownSample) -> dict[str, Any]:
        return {
            "key": sample.key,
            "label": sample.label,
            "label_name": self._name(sample.label),
            "views": [
                {
                    "aug_seed": view.aug_seed,
                    "digest": f"{view.digest:08x}",
                    "verdict": view.verdict,
                    "lam": view.lam,
                    "partner": view.partner,
                    "guesses": [
                        {"class_id": class_id, "name": self._name(class_id), "prob": round(prob, 6)}
                        for class_id, prob in view.guesses
                    ],
                }
                for view in sample.views
            ],
        }

    def _row(self, sample: ShownSample) -> SheetRow:
        return SheetRow(
            sample.key, self._name(sample.label), [self._cell(view, sample.label) for view in sample.views]
        )

    def _cell(self, view: ShownView, label: int) -> SheetView:
        caption = ""
        if view.partner is not None:
            partner = self._name(view.partner_label) or view.partner
            caption = f"{view.lam:.0%} own + {1 - view.lam:.0%} {partner}"
        roles: dict[int, Literal["label", "partner"]] = {view.partner_label: "partner", label: "label"}
        guesses = [
            Guess(self._name(number), prob, roles.get(number, "other")) for number, prob in view.guesses
        ]
        return SheetView(view.view_3HW, caption, guesses, _ALARMS.get(view.verdict or "", ""))

    def _name(self, number: int) -> str:
        """Return what a class is called; nothing for a sample without a label."""
        if number < 0:
            return ""
        names = self.class_names or ()
        return names[number] if number < len(names) else f"class {number}"

    def _subtitle(self) -> str:
        if self.teacher is None:
            return (
                "Every column is one augmentation seed: the same pixels in every run, for teacher and student"
            )
        shown = max((len(view.guesses) for sample in self.samples for view in sample.views), default=0)
        return (
            f"Below each view: what the teacher {self.teacher} says of it, its best {shown} of "
            f"{self.num_classes:,} classes at T = 1, as cached"
        )

    def _footer(self) -> str:
        parts = [self._legend()] if self._shows_labels() else []
        parts += [f"policy digest {self.policy.digest()[:12]}"]
        parts += [] if self.cache is None else [self._comparison()]
        return "   ·   ".join(parts)

    def _legend(self) -> str:
        mixed = "" if self.policy.mixing is None else ", amber: its partner's"
        return f"Blue: the sample's label{mixed}"

    def _shows_labels(self) -> bool:
        return self.teacher is not None and any(sample.label >= 0 for sample in self.samples)

    def _comparison(self) -> str:
        counts = self.verdicts
        if counts["equal"] == self.num_views:
            return f"all {self.num_views} views have the cache's pixel digests"
        parts = [f"{counts['equal']} of {self.num_views} views have the cache's pixel digests"]
        parts += [f"{counts['drift']} differ by a decoder's rounding"] if counts["drift"] else []
        parts += [f"{counts['other']} are other views"] if counts["other"] else []
        return ", ".join(parts)
