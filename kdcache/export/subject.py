"""What is exported: a run's student, the input it takes, and its description in timm's words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kdcache.config.views import ViewPolicy
from kdcache.errors import ConfigError
from kdcache.models.preprocess import InputSpec, Preprocess
from kdcache.students import Student
from kdcache.train.trained import TrainedRun

__all__ = ["Subject"]

_KEPT = ("fixed_input_size", "pool_size", "first_conv", "classifier")
"""What ``timm`` needs of the architecture's own config to load weights into another number of classes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A student to be exported.

    Attributes:
        student: on the CPU, with the run's weights.
        class_names: in class order, if they are known.
    """

    run: TrainedRun
    student: Student
    class_names: tuple[str, ...] | None

    @classmethod
    def of(cls, run: TrainedRun, class_names: tuple[str, ...] | None = None) -> "Subject":
        """Build the student of a run.

        Raises:
            ConfigError: it cannot be built, or there are more or fewer names than classes.
            CheckpointError: the weights are damaged, or are not this student's.
        """
        student = run.student()
        if class_names is not None and len(class_names) != student.num_classes:
            raise ConfigError(
                f"{len(class_names):,} class names for the {student.num_classes:,} classes of {student.name}; "
                "give one a class, in class order"
            )
        return cls(run, student, class_names)

    @property
    def architecture(self) -> str:
        """The model's name in timm, without the tag of pretrained weights."""
        return self.student.name.partition(".")[0]

    @property
    def is_timms_own(self) -> bool:
        """False for models that timm knows only once kdcache is imported."""
        return str(timm.model_entrypoint(self.architecture).__module__).startswith("timm.")

    @property
    def preprocess(self) -> Preprocess:
        """From views of the student's input size to its input."""
        size = self.run.provenance.get("view_size") or (self.student.spec.height, self.student.spec.width)
        return self.student.preprocess((size[0], size[1]))

    @property
    def spec(self) -> InputSpec:
        """The student's input."""
        return self.preprocess.spec

    def timm_config(self) -> dict[str, Any]:
        """Return the model in the words of timm's ``config.json``.

        Crop and filter are those of the run's validation views, so that timm's own evaluation sees the same.
        """
        own: dict[str, Any] = dict(self.student.model.pretrained_cfg)  # type: ignore[arg-type]
        policy = self.run.config.val_policy or ViewPolicy.named("center")
        pretrained_cfg = {name: own[name] for name in _KEPT if own.get(name) is not None}
        return {
            "architecture": self.architecture,
            "num_classes": self.student.num_classes,
            "num_features": self.student.model.num_features,
            **({"label_names": list(self.class_names)} if self.class_names else {}),
            **({"model_args": self.model_args} if self.model_args else {}),
            "pretrained_cfg": pretrained_cfg
            | {
                "tag": "kdcache",
                "custom_load": False,
                "input_size": [3, self.spec.height, self.spec.width],
                "interpolation": policy.interpolation,
                "crop_pct": policy.crop_pct,
                "crop_mode": "center",
                "mean": list(self.spec.mean),
                "std": list(self.spec.std),
                "num_classes": self.student.num_classes,
            },
        }

    @property
    def model_args(self) -> dict[str, Any]:
        """The arguments of ``timm.create_model`` that make this architecture, beside ``num_classes``."""
        return dict(self.run.config.student_kwargs)

    def create_call(self, checkpoint: Path) -> str:
        """Return the Python that builds the model with the weights in ``checkpoint``."""
        given = {"num_classes": self.student.num_classes, **self.model_args}
        arguments = "".join(f", {name}={value!r}" for name, value in given.items())
        call = f'timm.create_model("{self.architecture}", checkpoint_path="{checkpoint}"{arguments})'
        return f"{self.imports}\nmodel = {call}.eval()"

    @property
    def imports(self) -> str:
        """The imports after which timm knows the model."""
        return "import timm" if self.is_timms_own else "import kdcache.students\nimport timm"

    def metadata(self) -> dict[str, str]:
        """Return what a single file carries along: where the weights come from."""
        facts = {
            "student": self.student.name,
            "num_classes": str(self.student.num_classes),
            "cache": self.cache_url,
            "cache_id": self.run.report.get("cache_id"),
            "kdcache": self.run.provenance.get("software", {}).get("kdcache"),
        }
        return {name: value for name, value in facts.items() if value}

    @property
    def cache_url(self) -> str | None:
        """Where others find the cache; None for a path on somebody's disk, which is nobody's business."""
        url = str(self.run.report.get("cache", ""))
        return url if "://" in url and not url.startswith("file:") else None

    def views(self, count: int) -> Tensor:
        """Return uint8 pictures of soft colours and some noise, the same ones always."""
        generator = torch.Generator().manual_seed(0)
        size = (self.spec.height, self.spec.width)
        soft_B3HW = interpolate(
            torch.rand(count, 3, 4, 4, generator=generator), size=size, mode="bilinear", align_corners=False
        )
        noise_B3HW = torch.rand(count, 3, *size, generator=generator)
        return (255.0 * (0.9 * soft_B3HW + 0.1 * noise_B3HW)).to(torch.uint8)
