"""Real teachers' logits, computed once for all tests of the losses."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import kdcache.demo
from kdcache.demo.teacher import IMAGE_MEAN, IMAGE_STD, fashion_cnn
from kdcache.logits import top_k
from kdcache.losses.targets import TeacherTargets
from kdcache.store.encoding import decode, encode
from kdcache.store.gap8 import count_saturated
from tests.support.imagenet_teachers import ARCHITECTURES, save_imagenet_teacher
from tests.support.photographs import photographs


@dataclass(frozen=True)
class Real:
    """A teacher's logits on real pictures, a student on its way to them, and labels.

    Rows that ``gap8`` saturates (a gap above 15.9 nats, 4 of the demo's 40) are left out: their error is not
    that of rounding, and caches count them.

    Attributes:
        kept: how many classes the cache keeps.
        teacher_BC: all logits, float32.
        student_BC: float32.
        labels_B: the teacher's best class in most rows, another one in every fourth.
    """

    kept: int
    teacher_BC: Tensor
    student_BC: Tensor
    labels_B: Tensor

    @property
    def exact(self) -> TeacherTargets:
        """The cut without an encoding."""
        return TeacherTargets.from_numpy(top_k(self.teacher_BC.numpy(), self.kept))

    @property
    def cached(self) -> TeacherTargets:
        """The cut as a ``gap8`` cache gives it back."""
        cut = top_k(self.teacher_BC.numpy(), self.kept)
        planes = encode(cut, encoding="gap8", top_k=self.kept)
        return TeacherTargets.from_numpy(
            decode(planes, encoding="gap8", top_k=self.kept, num_classes=cut.num_classes)
        )


@pytest.fixture(scope="session")
def demo() -> Real:
    """The demo's teacher on 40 of its test pictures: 10 classes, 4 kept."""
    folder = Path(kdcache.demo.__file__).parent
    with tarfile.open(folder / "data" / "test-000.tar") as tar:
        names = [member for member in tar if member.name.endswith(".png")][:40]
        pictures = [Image.open(io.BytesIO(_read(tar, name))).convert("RGB") for name in names]
    model = fashion_cnn()
    model.load_state_dict(load_file(folder / "teacher.safetensors"))
    return _real(model, pictures, mean=IMAGE_MEAN, std=IMAGE_STD, kept=4)


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Real:
    """EfficientNet-Lite0 on eight photographs: 1,000 classes, 20 kept."""
    model = timm.create_model(ARCHITECTURES[0])
    model.load_state_dict(load_file(save_imagenet_teacher(0, tmp_path_factory.mktemp("lite0"))))
    pictures = [
        Image.open(io.BytesIO(photograph.encoded)).convert("RGB").resize((224, 224))
        for photograph in photographs()[:8]
    ]
    return _real(model, pictures, mean=(0.5,) * 3, std=(0.5,) * 3, kept=20)


@pytest.fixture(params=["demo", "imagenet"])
def real(request: pytest.FixtureRequest) -> Real:
    """Each of the two."""
    found: Real = request.getfixturevalue(request.param)
    return found


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _real(
    model: nn.Module,
    pictures: list[Image.Image],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    kept: int,
) -> Real:
    images_BHW3 = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    images_B3HW = (images_BHW3.permute(0, 3, 1, 2) / 255.0 - torch.tensor(mean)[:, None, None]) / (
        torch.tensor(std)[:, None, None]
    )
    with torch.inference_mode():
        teacher_BC = model.eval()(images_B3HW).numpy().copy()
    teacher_BC = teacher_BC[[not count_saturated(top_k(row_C[None], kept)) for row_C in teacher_BC]]
    rng = np.random.Generator(np.random.Philox(5))
    noise_BC = rng.normal(size=teacher_BC.shape).astype(np.float32)
    labels_B = teacher_BC.argmax(axis=1)
    labels_B[::4] = rng.integers(0, teacher_BC.shape[1], len(labels_B[::4]))
    return Real(
        kept=kept,
        teacher_BC=torch.from_numpy(teacher_BC),
        student_BC=torch.from_numpy(0.5 * teacher_BC + noise_BC),
        labels_B=torch.from_numpy(labels_B),
    )
