"""The settings of stage one."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from kdcache.config.base import Settings
from kdcache.config.views import ViewPolicy

__all__ = ["PrecomputeConfig", "TeacherConfig"]

Precision = Literal["float32", "bfloat16", "float16"]
Encoding = Literal["gap8", "dense8", "float32", "hard"]
Channels = tuple[float, float, float]
Positive = Annotated[int, Field(ge=1)]


class TeacherConfig(Settings):
    """One teacher: where its network comes from, what it is fed, and how its targets are kept.

    Attributes:
        model: a timm name, or ``module:factory`` for a callable that returns a torch module.
        name: its name in the cache; by default made from ``model``.
        checkpoint: local weights (.safetensors, or .pth / .pt that load with ``weights_only``); a timm name
            without one takes timm's pretrained weights, a factory without one what the factory returns.
        kwargs: passed on to timm or to the factory.
        mean: of pixels in [0, 1]; by default what the network says.
        std: likewise.
        size: input (height, width) or side; views of another size are resized for this teacher.
        interpolation: how they are resized.
        precision: of matrix products; the classifier and all that follows it are in float32.
        top_k: kept classes, or ``auto``: as few as hold 90 % of the mass, measured before the run.
        encoding: by default ``dense8`` (all classes) up to 256 classes unless fewer are asked for, else
            ``gap8``.
    """

    model: str = Field(min_length=1)
    name: str | None = None
    checkpoint: Path | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)
    mean: Channels | None = None
    std: Channels | None = None
    size: Positive | tuple[Positive, Positive] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    precision: Precision = "float32"
    top_k: Positive | Literal["auto"] = "auto"
    encoding: Encoding | None = None

    @model_validator(mode="after")
    def _check_normalisation(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both or none")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std is {self.std}, expected three numbers above 0")
        return self

    @property
    def cache_name(self) -> str:
        """The teacher's name in the cache.

        >>> TeacherConfig(model="mylab.nets:Big_CNN").cache_name
        'big_cnn'
        """
        if self.name is not None:
            return self.name
        last = self.model.rpartition(":")[2].rpartition("/")[2]
        return re.sub(r"[^a-z0-9_.-]+", "-", last.lower()).lstrip("_.-") or "teacher"


class PrecomputeConfig(Settings):
    """Which data, which teachers, which views, and how the work is done.

    Attributes:
        shards: paths of WebDataset tars; braces and globs are expanded.
        cache: where the cache is or will be.
        teachers: at least one; all see the same views.
        policy: how a sample becomes a view.
        views: augmentation seeds of each sample.
        rows_per_block: rows of a work unit; by default the largest shard rounded up to 64, at most 4,096.
        seeds_per_group: seeds of a work unit; must divide ``views``.
        batch_size: views that a teacher sees at once; by default what the cache was begun with, else 64.
        teacher_threads: CPU threads of a teacher; by default what the cache was begun with, else all
            cores but one.
        workers: reader processes; 0 reads in the main process.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        compile: run the teachers through ``torch.compile``.
        on_bad_sample: ``skip`` marks a sample that cannot be decoded in the cache and goes on.
        max_bad: the share of such samples at which the run stops all the same.
        teacher_check: stop before the run if a teacher is not better than chance on labelled samples.
        check_samples: samples for that check, and for the pilot behind ``top_k: auto``.
    """

    shards: tuple[str, ...] = Field(min_length=1)
    cache: str = Field(min_length=1)
    teachers: tuple[TeacherConfig, ...] = Field(min_length=1)
    policy: ViewPolicy = Field(default_factory=lambda: ViewPolicy.named("rrc"))
    views: Positive = 10
    rows_per_block: Annotated[int, Field(ge=1, le=4096)] | None = None
    seeds_per_group: Positive | None = None
    batch_size: Positive | None = None
    teacher_threads: Positive | None = None
    workers: int = Field(default=4, ge=0)
    device: str = "auto"
    compile: bool = False
    on_bad_sample: Literal["skip", "fail"] = "skip"
    max_bad: float = Field(default=0.05, ge=0.0, le=1.0)
    teacher_check: bool = True
    check_samples: int = Field(default=256, ge=1)

    @field_validator("shards", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("teachers", mode="before")
    @classmethod
    def _a_name_is_a_teacher(cls, value: Any) -> Any:
        entries = (value,) if isinstance(value, str | dict) else value
        if not isinstance(entries, list | tuple):
            return value
        return tuple({"model": entry} if isinstance(entry, str) else entry for entry in entries)

    @field_validator("policy", mode="before")
    @classmethod
    def _a_name_is_a_policy(cls, value: Any) -> Any:
        return {"preset": value} if isinstance(value, str) else value

    @field_validator("max_bad", mode="before")
    @classmethod
    def _read_percent(cls, value: Any) -> Any:
        if isinstance(value, str) and value.rstrip().endswith("%"):
            return float(value.rstrip().removesuffix("%")) / 100.0
        return value

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [teacher.cache_name for teacher in self.teachers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two teachers are called {twice[0]!r}; give each a name of its own")
        return self

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        if self.seeds_per_group is not None and self.views % self.seeds_per_group:
            raise ValueError(
                f"views is {self.views}, not a multiple of seeds_per_group {self.seeds_per_group}: "
                "views come in whole groups"
            )
        return self
