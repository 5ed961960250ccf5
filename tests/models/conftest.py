"""What the tests of training share."""

import pytest


@pytest.fixture(scope="module")
def model(tiny):  # type: ignore[no-untyped-def]
    import torch

    from models.checkpoint import load_model

    return load_model(tiny.path, torch.float32).eval()


@pytest.fixture(scope="module")
def pairs(tiny, tmp_path_factory):  # type: ignore[no-untyped-def]
    from tests.pairs_dataset import pairs_dataset

    return pairs_dataset(tmp_path_factory.mktemp("data") / "pairs", tiny, 24)
