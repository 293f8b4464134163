"""A teacher in another class space than its network's."""

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from kdcache.errors import ConfigError
from kdcache.teachers.class_map import ClassMap
from kdcache.teachers.protocol import FeatureTeacher, Teacher

__all__ = ["MappedTeacher"]

_WIDTH: Final = 8


class MappedTeacher:
    """A teacher seen through a class map: the classes that go to one target are added up as probabilities.

    A target's logit is the logsumexp of the logits of its classes, -inf where it has none. See
    ``protocol.FeatureTeacher`` for the attributes; ``weights_sha256`` and features are the network's,
    ``num_classes`` is after the map.

    Attributes:
        class_map_sha256: digest of the map.
    """

    def __init__(self, teacher: FeatureTeacher, class_map: ClassMap) -> None:
        """Put ``class_map`` behind ``teacher``.

        Raises:
            ConfigError: the map is for a network with other classes.
        """
        _demand_fit(teacher, class_map)
        self.name = teacher.name
        self.architecture = teacher.architecture
        self.source = teacher.source
        self.inputs = teacher.inputs
        self.precision = teacher.precision
        self.weights_sha256 = teacher.weights_sha256
        self.device = teacher.device
        self.num_classes = class_map.num_target
        self.class_map_sha256: str | None = class_map.sha256
        self.ensemble = teacher.ensemble
        self.num_features = teacher.num_features
        self._teacher = teacher
        groups: list[list[int]] = [[] for _ in range(class_map.num_target)]
        for source, target in sorted(class_map.target_of.items()):
            groups[target].append(source)
        self._levels = [level_PM.to(teacher.device) for level_PM in _levels(groups, teacher.num_classes)]

    def __call__(self, views_B3HW: Tensor) -> Tensor:
        """Return float32 logits (B, C) of uint8 views on the teacher's device."""
        return self._mapped(self._teacher(views_B3HW))

    def with_features(self, views_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mapped logits, and the network's features, of one forward pass."""
        logits_BC, features_BD = self._teacher.with_features(views_B3HW)
        return self._mapped(logits_BC), features_BD

    def _mapped(self, logits_BC: Tensor) -> Tensor:
        with torch.inference_mode():
            logits_BC = logits_BC.to(torch.float32)
            for level_PM in self._levels:
                logits_BC = _add_up(logits_BC, level_PM)
            return logits_BC


def _demand_fit(teacher: Teacher, class_map: ClassMap) -> None:
    largest = max(class_map.target_of)
    if class_map.num_source not in {None, teacher.num_classes}:
        found = f"is a list of {class_map.num_source} classes"
    elif largest >= teacher.num_classes:
        found = f"names teacher class {largest}"
    else:
        return
    raise ConfigError(
        f"{class_map.where} {found}, but teacher {teacher.name!r} ({teacher.architecture}) has "
        f"{teacher.num_classes} classes, counted from 0; give the map that was made for this network, or the "
        "network that the map was made for (--teacher-kwargs num_classes=N)"
    )


def _levels(groups: Sequence[Sequence[int]], num_columns: int) -> Iterator[Tensor]:
    """Yield, level by level, which columns (P, M) make each piece of a group; the last has a piece a group.

    Groups may be very uneven (a hundred dogs, one zebra), so they are added up eight at a time. Adding by
    atomics instead (``index_add`` on CUDA) would make the last bits of two runs differ.
    """
    is_whole = False
    while not is_whole:
        cuts = [[group[i : i + _WIDTH] for i in range(0, max(len(group), 1), _WIDTH)] for group in groups]
        pieces = [piece for group in cuts for piece in group]
        width = max(map(len, pieces))
        # Column ``num_columns`` is the one of -inf that ``_add_up`` appends.
        yield torch.tensor([[*piece, *[num_columns] * (width - len(piece))] for piece in pieces])
        is_whole = len(pieces) == len(groups)
        numbers = iter(range(len(pieces)))
        groups, num_columns = [[next(numbers) for _ in group] for group in cuts], len(pieces)


def _add_up(logits_BS: Tensor, level_PM: Tensor) -> Tensor:
    nothing_B1 = logits_BS.new_full((len(logits_BS), 1), -torch.inf)
    parts_BN = torch.cat([logits_BS, nothing_B1], dim=1).index_select(1, level_PM.flatten())
    parts_BPM: Tensor = parts_BN.unflatten(1, level_PM.shape)
    # One class for each target is the common case, and exact as it stands.
    return parts_BPM[:, :, 0] if level_PM.shape[1] == 1 else parts_BPM.logsumexp(dim=-1)
