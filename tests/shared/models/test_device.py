import pytest
import torch

from shared.errors import ConfigError
from shared.models.device import choose_device, tune_allocator


def pretend(monkeypatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_prefers_cuda_then_mps_then_the_cpu(monkeypatch, cuda, mps, chosen):
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto").type == chosen


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_named_device_that_is_missing_is_refused(monkeypatch, name):
    pretend(monkeypatch, cuda=False, mps=False)
    with pytest.raises(ConfigError, match=f"device '{name}' is not there .* use device auto or cpu"):
        choose_device(name)


def test_named_device_wins_over_a_better_one(monkeypatch):
    pretend(monkeypatch, cuda=True, mps=True)
    assert choose_device("cpu").type == "cpu"


def test_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="one of auto, cuda, mps, cpu, got 'tpu'"):
        choose_device("tpu")


def test_allocator_says_whether_it_was_tuned():
    assert tune_allocator() in (True, False)
