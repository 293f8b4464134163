"""Three real ImageNet teachers of three input sizes, in one pass over real photographs."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from kdcache.config.views import ViewPolicy
from kdcache.models.preprocess import Preprocess, input_spec_of
from kdcache.precompute import precompute
from kdcache.precompute.report import PrecomputeReport
from kdcache.store import Cache, open_cache
from kdcache.store.verify import verify
from kdcache.teachers.weights import load_strictly, module_sha256, read_weights
from kdcache.views import decode_for, render_views, view_digest
from tests.support.imagenet_teachers import ARCHITECTURES, reference_ensemble, save_imagenet_teacher
from tests.support.photographs import Photograph, photographs, write_photographs
from tests.support.precompute_runs import config_for

Float32 = NDArray[np.float32]

POLICY = ViewPolicy.named("center", size=224, crop_pct=0.875, interpolation="bicubic")
COMBINED: tuple[dict[str, Any], ...] = (
    {"how": "mean-prob", "name": "mean-prob", "encoding": "float32"},
    {"how": "mean-logit", "name": "weighted", "weights": [3, 2, 1], "encoding": "float32"},
)
DOMESTIC_CATS = {281, 282, 285}
BATCH = 8

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Run:
    """The run that all tests look at, and the networks that made it."""

    cache: Cache
    report: PrecomputeReport
    networks: dict[str, nn.Module]
    shown: tuple[Photograph, ...]
    views_N3HW: NDArray[np.uint8]

    def logits(self, teacher: str) -> Float32:
        """Return the stored logits (N, C), exact because they are kept as ``float32``."""
        targets = self.cache.targets(teacher, 0, 0).take(slice(len(self.shown)))
        assert targets.class_ids_NK is None
        return targets.logits_NK

    def network_logits(self, teacher: str, images_N3HW: Tensor) -> Float32:
        """Ask the network itself, in the run's batches: other batches are other sums."""
        network = self.networks[teacher]
        images_N3HW = images_N3HW.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            logits_NC: Float32 = torch.cat([network(part) for part in images_N3HW.split(BATCH)]).numpy()
        return logits_NC


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("imagenet")
    shard = write_photographs(folder / "photographs.tar")
    weights = {name: save_imagenet_teacher(number, folder) for number, name in enumerate(ARCHITECTURES)}
    teachers = [
        {"model": name, "checkpoint": str(path), "encoding": "float32"} for name, path in weights.items()
    ]
    config = config_for(
        folder / "cache.zarr",
        [str(shard)],
        teachers=teachers,
        combine=COMBINED,
        policy=POLICY.model_dump(),
        views=1,
        seeds_per_group=None,
        rows_per_block=64,
        batch_size=BATCH,
        teacher_check=True,
    )
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(folder / "home"))
        report = precompute(config, quiet=True)
        torch.set_num_threads(1)
        shown = photographs()
        images = [decode_for(POLICY, photo.encoded, where=photo.name) for photo in shown]
        yield Run(
            cache=open_cache(folder / "cache.zarr"),
            report=report,
            networks={name: _network(name, path) for name, path in weights.items()},
            shown=shown,
            views_N3HW=np.concatenate(
                [
                    render_views(photo.name, image, [0], POLICY)
                    for photo, image in zip(shown, images, strict=True)
                ]
            ),
        )
    torch.set_num_threads(threads)


def _network(name: str, path: Path) -> nn.Module:
    network: nn.Module = timm.create_model(name, pretrained=False).eval()
    load_strictly(network, read_weights(path), where=path.name)
    return network.to(memory_format=torch.channels_last)


def test_the_weights_are_those_of_the_package_under_timm_s_names(run: Run) -> None:
    # Loading was strict: no name is missing and none is left over.
    sizes = []
    for name, network in run.networks.items():
        entry = run.cache.identity.teachers[name]
        assert entry.weights_sha256 == module_sha256(network)
        assert entry.preprocessing is not None
        assert entry.preprocessing.mean == entry.preprocessing.std == (0.5, 0.5, 0.5)
        sizes.append((entry.preprocessing.height, entry.preprocessing.width))
    assert sizes == [(224, 224), (240, 240), (260, 260)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_teacher_sees_what_is_in_a_picture(run: Run, name: str) -> None:
    by_name = dict(zip([photo.name for photo in run.shown], run.logits(name), strict=True))
    assert set(np.argsort(-by_name["chelsea"])[:3].tolist()) == DOMESTIC_CATS
    assert set(np.argsort(-by_name["motorcycle_left"])[:2].tolist()) == {665, 670}


def test_the_cached_views_are_the_photographs(run: Run) -> None:
    assert run.cache.samples(0).keys == tuple(photo.name for photo in run.shown)
    digests = run.cache.view_digests(0, 0)[: len(run.shown)]
    assert digests.tolist() == [view_digest(view_3HW) for view_3HW in run.views_N3HW]
    verify(run.cache.url)


def test_a_teacher_at_its_own_size_says_what_it_says_in_timm_s_evaluation(run: Run) -> None:
    name = ARCHITECTURES[0]
    transform = create_transform(**resolve_model_data_config(run.networks[name]))
    images = [Image.open(io.BytesIO(photo.encoded)).convert("RGB") for photo in run.shown]
    for photo, image, view_3HW in zip(run.shown, images, run.views_N3HW, strict=True):
        pixels_HW3 = np.asarray(_resized_and_cropped(transform, image))
        np.testing.assert_array_equal(view_3HW.transpose(1, 2, 0), pixels_HW3, err_msg=photo.name)
    wanted_NC = run.network_logits(name, torch.stack([transform(image) for image in images]))
    found_NC = run.logits(name)
    assert (found_NC.argmax(axis=1) == wanted_NC.argmax(axis=1)).all()
    # The pixels are equal; timm normalises in two steps, we in one.
    np.testing.assert_allclose(found_NC, wanted_NC, atol=1e-4, rtol=0)


def _resized_and_cropped(transform: Any, image: Image.Image) -> Image.Image:
    """Return what timm's evaluation makes of a picture before it becomes a tensor."""
    resize, crop = transform.transforms[:2]
    cropped: Image.Image = crop(resize(image))
    return cropped


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_teacher_sees_the_same_view_at_its_own_size(run: Run, name: str) -> None:
    spec = input_spec_of(run.networks[name], where=name)
    images_N3HW: Tensor = Preprocess(spec)(torch.from_numpy(run.views_N3HW))
    found_NC, wanted_NC = run.logits(name), run.network_logits(name, images_N3HW)
    assert (found_NC.argmax(axis=1) == wanted_NC.argmax(axis=1)).all()
    np.testing.assert_allclose(found_NC, wanted_NC, atol=1e-5, rtol=0)


def test_the_labels_are_what_the_pictures_show(run: Run) -> None:
    info = ImageNetInfo()
    labelled = {photo.name: photo.label for photo in run.shown if photo.label is not None}
    words = {name: info.index_to_description(label, detailed=False) for name, label in labelled.items()}
    assert words == {"camera": "tripod", "coffee": "espresso", "china": "palace"}
    assert len(run.shown) == 19


@pytest.mark.parametrize("name", [*ARCHITECTURES, "mean-prob", "weighted"])
def test_the_report_counts_what_each_teacher_gets_right(run: Run, name: str) -> None:
    result = run.report.teachers[name]
    best_N = run.logits(name).argmax(axis=1)
    right = [photo.label == best for photo, best in zip(run.shown, best_N, strict=True)]
    assert (result.labelled, result.correct) == (3, sum(right))
    assert result.top1 == 1.0


@pytest.mark.parametrize("combined", COMBINED, ids=lambda combined: combined["how"])
def test_an_ensemble_is_the_mean_of_its_members(run: Run, combined: dict[str, Any]) -> None:
    members = [run.logits(name) for name in ARCHITECTURES]
    wanted_NC = reference_ensemble(members, combined["how"], combined.get("weights"))
    np.testing.assert_allclose(run.logits(combined["name"]), wanted_NC, atol=2e-5, rtol=0)


def test_members_of_an_ensemble_differ(run: Run) -> None:
    best_MN = np.stack([run.logits(name).argmax(axis=1) for name in ARCHITECTURES])
    agreed = float((best_MN == best_MN[0]).all(axis=0).mean())
    assert 0.2 < agreed < 0.9


def test_the_reference_averages_probabilities_or_logits() -> None:
    first_NC, second_NC = np.log([[0.5, 0.25, 0.25]]) + 7.0, np.log([[0.1, 0.8, 0.1]])
    mean_NC = np.exp(reference_ensemble([first_NC, second_NC], "mean-prob"))
    np.testing.assert_allclose(mean_NC, [[0.3, 0.525, 0.175]], rtol=1e-12)
    weighted_NC = np.exp(reference_ensemble([first_NC, second_NC], "mean-prob", [3, 1]))
    np.testing.assert_allclose(weighted_NC, [[0.4, 0.3875, 0.2125]], rtol=1e-12)
    logits_NC = reference_ensemble([first_NC, second_NC], "mean-logit", [3, 1])
    np.testing.assert_allclose(logits_NC, 0.75 * first_NC + 0.25 * second_NC, rtol=1e-12)
    sure_NC = reference_ensemble([np.array([[0.0, -np.inf]])] * 2, "mean-prob")
    assert sure_NC.tolist() == [[0.0, -np.inf]]
