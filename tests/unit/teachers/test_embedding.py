"""The embedding of a teacher as one teacher more."""

import torch

from kdcache.config.precompute import TeacherConfig
from kdcache.teachers.build import build_teacher
from kdcache.teachers.embedding import Embedding


def test_an_embedding_is_its_owner_s_but_for_name_and_outputs() -> None:
    config = TeacherConfig(model="tests.support.teachers:feature_cnn", features=True)
    owner = build_teacher(config, device=torch.device("cpu"))
    embedding = Embedding(owner, name=config.features_name)
    views = torch.randint(0, 256, (3, 3, 24, 24), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert torch.equal(embedding(views), owner.with_features(views)[1])
    assert (embedding.name, embedding.num_features) == ("feature_cnn.features", 16)
    for field in ("architecture", "weights_sha256", "num_classes", "inputs", "precision", "source", "device"):
        assert getattr(embedding, field) == getattr(owner, field)
