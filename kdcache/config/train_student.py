"""Settings of a training run: the student."""

from typing import Annotated, Any

from pydantic import Field

from kdcache.config.base import Settings

__all__ = ["TrainStudent"]

Rgb = tuple[float, float, float]


class TrainStudent(Settings):
    """Which model is trained, and from where it starts.

    Attributes:
        student: a timm model name; ``student_kwargs`` go to ``timm.create_model``.
        num_classes: classes of the student; default the cache's.
        pretrained: start from timm's weights; ``initial_checkpoint``: from the weights in a file.
        mean: normalisation of the student's input; default from timm's config of the model.
        head_init_scale: factor on the classifier's first weights.
        grad_checkpointing: keep fewer activations and compute them again in the backward pass.
        sync_bn: batch norms of all processes share their statistics.
    """

    student: str
    num_classes: Annotated[int, Field(ge=2)] | None = None
    student_kwargs: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    initial_checkpoint: str | None = None
    drop: float = Field(default=0.0, ge=0.0, lt=1.0)
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)
    head_init_scale: Annotated[float, Field(gt=0.0)] | None = None
    mean: Rgb | None = None
    std: Rgb | None = None
    grad_checkpointing: bool = False
    sync_bn: bool = False
    channels_last: bool = False
