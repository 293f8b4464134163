"""Settings of a training run: which shards, which views of them, whose targets."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from kdcache.config.base import Settings
from kdcache.config.views import ViewPolicy

__all__ = ["TrainData"]

Count = Annotated[int, Field(ge=1)]


class TrainData(Settings):
    """What is trained on.

    Attributes:
        shards: training shards (WebDataset URLs, braces allowed), all of them known to the cache.
        cache: the cache whose views and targets are used; with labels only its views alone.
        teacher: which teachers of the cache; may be left out when it has one.
        teacher_weights: one for each teacher, of its loss; default equal, and they sum to 1.
        val: validation shards; ``val_cache`` adds agreement with its teacher, under its policy.
        val_policy: views of the validation shards; default ``center`` at the student's size.
        views_per_decode: so many consecutive seeds of a sample come together, decoded once.
        shuffle_window: samples that are shuffled among each other, at least.
        lanes: at most so many shuffle windows are open at a time, over all processes.
        check_views: one view in this many is checked by digest, after each worker's whole first batch.
        allow_decoder_drift: count views that differ by a decoder's rounding instead of stopping at the first.
    """

    shards: tuple[str, ...] = Field(min_length=1)
    cache: str
    teacher: tuple[str, ...] = ()
    teacher_weights: tuple[Annotated[float, Field(gt=0.0)], ...] = ()
    val: tuple[str, ...] = ()
    val_cache: str | None = None
    val_policy: ViewPolicy | None = None
    val_batch_size: Count | None = None

    views_per_decode: Literal[1, 2, 4] = 1
    shuffle_window: Count = 4096
    lanes: Count = 48
    workers: int = Field(default=4, ge=0)
    check_views: Count = 64
    allow_decoder_drift: bool = False

    @field_validator("teacher", mode="before")
    @classmethod
    def _one_name_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else () if value is None else value
