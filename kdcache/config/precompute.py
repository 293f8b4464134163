"""The settings of stage one."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from kdcache.config.base import Settings
from kdcache.config.terms import Terms
from kdcache.config.views import ViewPolicy

__all__ = ["CombineConfig", "PrecomputeConfig", "TeacherConfig"]

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
        class_map: a JSON or CSV file that maps the network's classes to those of the cache.
        features: also store what the classifier is given, a pooled vector a view, in float16.
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
    class_map: Path | None = None
    features: bool = False

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

    @property
    def features_name(self) -> str:
        """The name of its features in the cache, beside its own.

        >>> TeacherConfig(model="resnet50").features_name
        'resnet50.features'
        """
        return f"{self.cache_name}.features"


class CombineConfig(Settings):
    """An ensemble of the teachers, stored as one teacher more.

    Attributes:
        how: ``mean-prob`` averages probabilities (in float32, before any class is cut off), ``mean-logit``
            averages logits.
        name: its name in the cache.
        members: names of the teachers that it combines; by default all of them.
        weights: one for each member, in the same order; by default equal. They are scaled to sum to 1.
        top_k: as of a teacher.
        encoding: as of a teacher.
    """

    how: Literal["mean-prob", "mean-logit"]
    name: str = "ensemble"
    members: tuple[str, ...] | None = None
    weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = None
    top_k: Positive | Literal["auto"] = "auto"
    encoding: Encoding | None = None


class PrecomputeConfig(Terms):
    """Which data, which teachers, which views, and how the work is done.

    Attributes:
        shards: paths of WebDataset tars; braces and globs are expanded.
        cache: where the cache is or will be.
        teachers: at least one; all see the same views.
        combine: ensembles of them, each stored as one teacher more.
        policy: how a sample becomes a view.
        views: augmentation seeds of each sample.
        rows_per_block: rows of a work unit; by default the largest shard rounded up to 64, at most 4,096.
        seeds_per_group: seeds of a work unit; must divide ``views``.
        batch_size: views that a teacher sees at once; by default what the cache was begun with, else 64.
        teacher_threads: CPU threads of one batch; by default what the cache was begun with, else 1 on up to
            15 cores.
        parallel_batches: batches that a teacher works on at once; by default one per core (at most 8) on a
            CPU, else 1. It changes no bit of the cache.
        readers: reader processes of each worker; 0 reads in the main process. By default one per core.
        workers: processes on this machine that share the work, each with teachers and readers of its own.
        devices: the device of each worker, for machines with several accelerators.
        worker: (i, n): do the i-th of n shares of the work, counted from 0, then help with the rest. By
            default what ``RANK`` or ``SLURM_ARRAY_TASK_ID`` say.
        engine: ``local``, or ``ray`` for actors of a Ray cluster.
        ray_address: the cluster; by default what ``RAY_ADDRESS`` says, else one on this machine.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        compile: run the teachers through ``torch.compile``.
        on_bad_sample: ``skip`` marks a sample that cannot be decoded in the cache and goes on.
        max_bad: the share of such samples at which the run stops all the same.
        teacher_check: stop before the run if a teacher is not better than chance on labelled samples.
        check_samples: samples for that check, and for the pilot behind ``top_k: auto``.
        licence: for the manifest: an SPDX identifier or free text.
        contact: for the manifest: whom to ask.
    """

    shards: tuple[str, ...] = Field(min_length=1)
    cache: str = Field(min_length=1)
    teachers: tuple[TeacherConfig, ...] = Field(min_length=1)
    combine: tuple[CombineConfig, ...] = ()
    policy: ViewPolicy = Field(default_factory=lambda: ViewPolicy.named("rrc"))
    views: Positive = 10
    rows_per_block: Annotated[int, Field(ge=1, le=4096)] | None = None
    seeds_per_group: Positive | None = None
    batch_size: Positive | None = None
    teacher_threads: Positive | None = None
    parallel_batches: Positive | None = None
    readers: int | None = Field(default=None, ge=0)
    workers: Positive | None = None
    devices: tuple[str, ...] = ()
    worker: tuple[int, Positive] | None = None
    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None
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

    @field_validator("combine", mode="before")
    @classmethod
    def _a_word_is_an_ensemble(cls, value: Any) -> Any:
        entries = (value,) if isinstance(value, str | dict) else value
        if not isinstance(entries, list | tuple):
            return value
        return tuple({"how": entry} if isinstance(entry, str) else entry for entry in entries)

    @field_validator("devices", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return tuple(value.split(",")) if isinstance(value, str) else value

    @field_validator("worker", mode="before")
    @classmethod
    def _read_share(cls, value: Any) -> Any:
        return tuple(value.split("/")) if isinstance(value, str) else value

    @property
    def num_workers(self) -> int:
        """The processes that share the work on this machine."""
        return self.workers or max(1, len(self.devices))

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [teacher.cache_name for teacher in self.teachers] + [entry.name for entry in self.combine]
        names += [teacher.features_name for teacher in self.teachers if teacher.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two teachers are called {twice[0]!r}; give each a name of its own")
        return self

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        known = {teacher.cache_name for teacher in self.teachers}
        for entry in self.combine:
            members = entry.members or tuple(teacher.cache_name for teacher in self.teachers)
            strangers = [name for name in members if name not in known]
            if strangers:
                raise ValueError(
                    f"ensemble {entry.name!r} combines {strangers[0]!r}, which is no teacher of this run"
                )
            if len(set(members)) != len(members) or len(members) < 2:
                raise ValueError(
                    f"ensemble {entry.name!r} needs two teachers or more, each once; it has {members}"
                )
            if entry.weights is not None and len(entry.weights) != len(members):
                raise ValueError(
                    f"ensemble {entry.name!r} has {len(entry.weights)} weights for {len(members)} members"
                )
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.worker is not None and not 0 <= self.worker[0] < self.worker[1]:
            raise ValueError(f"worker is {self.worker[0]}/{self.worker[1]}, expected I/N with 0 <= I < N")
        shared = self.num_workers > 1
        if self.worker is not None and (shared or self.engine == "ray"):
            raise ValueError("worker names a share of the work: leave out workers, devices and engine ray")
        if self.devices and self.workers not in {None, len(self.devices)}:
            raise ValueError(f"{self.workers} workers for {len(self.devices)} devices; one worker a device")
        return self

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        if self.seeds_per_group is not None and self.views % self.seeds_per_group:
            raise ValueError(
                f"views is {self.views}, not a multiple of seeds_per_group {self.seeds_per_group}: "
                "views come in whole groups"
            )
        return self
