"""Makes a model one that can be trained with privacy of each example: no layer may mix examples or remember them.

Both sides build their model through here, before the server draws the initial weights from it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from shared.errors import ConfigError

_MOST_GROUPS = 32  # Wu and He, "Group Normalization", ECCV 2018; Opacus's too
_BatchNorm = nn.modules.batchnorm._BatchNorm
_InstanceNorm = nn.modules.instancenorm._InstanceNorm


def fix_model(module: nn.Module) -> nn.Module:
    """Replace, in place, what cannot be trained privately: batch by group normalisation, recurrent layers by Opacus's.

    A replacement's weights are those of the layer it replaces where it has the same ones.

    Returns:
        The model; another object when the whole of it had to be replaced.
    """
    replacement = _replacement(module)
    if replacement is not None:
        return replacement
    for name, child in list(module.named_children()):
        fixed = fix_model(child)
        if fixed is not child:
            setattr(module, name, fixed)
    return module


def check_separable(module: nn.Module) -> None:
    """Refuse a model that mixes examples, for whatever reason it was not fixed.

    Raises:
        ConfigError: It has a layer that normalises over a batch, or that keeps statistics of the data.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) or (isinstance(layer, _InstanceNorm) and layer.track_running_stats):
            raise ConfigError(
                f"the model cannot be trained privately: {name or 'it'} is a {type(layer).__name__}, whose output for "
                "one example depends on others; use GroupNorm or LayerNorm"
            )


def check_rows_apart(module: nn.Module, inputs: Tensor) -> None:
    """Refuse a model whose own code mixes examples: the first one's output must not follow what stands beside it.

    A trial with a few examples, which cannot see what a model does in training only, or with larger batches only.

    Args:
        module: Gives one row for each example.
        inputs: At least one example; the trial's neighbours are these, and the same with their values in reverse.

    Raises:
        ConfigError: It mixes them.
    """
    beside = torch.cat([inputs, inputs.reshape(len(inputs), -1).flip(1).view_as(inputs)])
    others = beside.roll(1, 0)
    others[0] = beside[0]
    was_training = module.training
    module.eval()  # dropout draws anew each time
    try:
        with torch.no_grad():
            first, again = module(beside)[0], module(others)[0]
            alone = module(torch.stack([beside[0]] * len(beside)))[0]
    finally:
        module.train(was_training)
    if not all(torch.allclose(first, row, rtol=1e-3, atol=1e-4, equal_nan=True) for row in (again, alone)):
        raise ConfigError(
            "the model cannot be trained privately: its output for one example depends on others beside it"
        )


def _replacement(module: nn.Module) -> nn.Module | None:
    if isinstance(module, _BatchNorm):
        return _group_norm(module)
    if isinstance(module, _InstanceNorm) and module.track_running_stats:
        return type(module)(module.num_features, eps=module.eps, affine=module.affine)
    if type(module) in (nn.LSTM, nn.GRU, nn.MultiheadAttention):
        from opacus.validators import ModuleValidator

        fixed: nn.Module = ModuleValidator.FIXERS[type(module)](module)
        return fixed
    return None


def _group_norm(layer: nn.modules.batchnorm._BatchNorm) -> nn.GroupNorm:
    """Make the group normalisation that takes the place of a batch normalisation.

    Over one feature alone there is nothing to normalise where features have no places: then all are one group.
    """
    has_places = not isinstance(layer, nn.BatchNorm1d)
    groups = math.gcd(_MOST_GROUPS, layer.num_features) if has_places else 1
    return nn.GroupNorm(groups, layer.num_features, eps=layer.eps, affine=layer.affine)
