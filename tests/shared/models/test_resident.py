import numpy as np
import pytest
import torch
from torch import nn

from shared.errors import ConfigError
from shared.models.resident import ResidentModel

CPU = torch.device("cpu")


def small_model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_state_that_was_loaded_is_the_state_that_comes_out():
    resident = ResidentModel(small_model(), CPU)
    arrays = {name: (array + 2).astype(array.dtype) for name, array in resident.snapshot().items()}
    resident.load(arrays)
    out = resident.snapshot()
    assert list(out) == list(arrays)
    for name, array in arrays.items():
        assert out[name].dtype == array.dtype
        assert np.array_equal(out[name], array)


def test_buffers_are_part_of_the_state():
    names = set(ResidentModel(small_model(), CPU).snapshot())
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} < names


def test_what_is_loaded_is_what_the_module_computes_with():
    resident = ResidentModel(nn.Linear(2, 1), CPU)
    resident.load({"weight": np.array([[2.0, 3.0]], np.float32), "bias": np.array([1.0], np.float32)})
    assert resident.module(torch.tensor([[10.0, 100.0]])).item() == 321.0


def test_snapshot_and_loaded_arrays_are_not_touched_by_later_training():
    resident = ResidentModel(nn.Linear(2, 1), CPU)
    arrays = resident.snapshot()
    for array in arrays.values():
        array.flags.writeable = False
    before = {name: array.copy() for name, array in arrays.items()}
    resident.load(arrays)
    snapshot = resident.snapshot()
    with torch.no_grad():
        for parameter in resident.module.parameters():
            parameter.add_(1)
    for name, array in before.items():
        assert np.array_equal(arrays[name], array)
        assert np.array_equal(snapshot[name], array)


def test_tied_parameters_stay_tied():
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    resident = ResidentModel(tied, CPU)
    resident.load({name: np.full_like(array, 4) for name, array in resident.snapshot().items()})
    assert tied[1].weight is tied[0].weight
    assert tied[1].weight[0, 0] == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": np.zeros(1)}, "not this model's: extra"),
        ({"weight": np.zeros((1, 3), np.float32)}, r"'weight' received has shape \(1, 3\), this model's has \(1, 2\)"),
        ({"bias": np.zeros((), np.float32)}, r"'bias' received has shape \(\)"),
    ],
)
def test_arrays_of_another_model_are_refused_and_nothing_is_changed(changes, message):
    resident = ResidentModel(nn.Linear(2, 1), CPU)
    before = resident.snapshot()
    with pytest.raises(ConfigError, match=message):
        resident.load({name: array + 1 for name, array in before.items()} | changes)
    assert all(np.array_equal(before[name], array) for name, array in resident.snapshot().items())


def test_missing_array_is_refused():
    resident = ResidentModel(nn.Linear(2, 1), CPU)
    with pytest.raises(ConfigError, match="not this model's: bias"):
        resident.load({"weight": np.zeros((1, 2), np.float32)})


def test_state_that_is_no_array_is_refused():
    class Odd(nn.Linear):
        def get_extra_state(self) -> str:
            return "notes"

    with pytest.raises(ConfigError, match="_extra_state' is str"):
        ResidentModel(Odd(2, 1), CPU)
    with pytest.raises(ConfigError, match="bfloat16"):
        ResidentModel(nn.Linear(2, 1).to(torch.bfloat16), CPU)


def test_a_lazy_model_is_refused_with_what_to_do():
    with pytest.raises(ConfigError, match=r"'0\.weight' has no shape yet.*call the model on a batch of zeros"):
        ResidentModel(nn.Sequential(nn.LazyLinear(2)), CPU)
