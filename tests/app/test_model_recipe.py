"""The lines that load a model do load it, and it computes what ours computes."""

from pathlib import Path

import pytest
import safetensors.numpy
import torch

from app.model_recipe import how_to_load
from shared.models.catalog import build_model


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_the_lines_for_the_cnn_need_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    ours = build_model("cnn", shape, 10, seed=3)
    arrays = {name: value.numpy() for name, value in ours.state_dict().items()}
    (tmp_path / "model.safetensors").write_bytes(safetensors.numpy.save(arrays))
    lines = how_to_load("cnn", arrays)
    assert "shared" not in lines
    assert lines.count("\n") == 5
    monkeypatch.chdir(tmp_path)
    names: dict[str, torch.nn.Module] = {}
    exec(lines, names)
    images = torch.randn(7, *shape)
    with torch.no_grad():
        torch.testing.assert_close(names["model"](images), ours(images), rtol=1e-4, atol=1e-5)
