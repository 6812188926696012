"""Which models there are by name, and how one is built: the same initial weights for the same seed, everywhere."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping

import torch
from torch import nn

from shared.errors import ConfigError, ConstellationError, PluginError
from shared.models import cnn, dense
from shared.plugins import is_plugin, load_plugin
from shared.privacy.models import fix_model

Builder = Callable[[tuple[int, ...], int], nn.Module]

MODELS: Mapping[str, Builder] = types.MappingProxyType(
    {
        "cnn": cnn.build,
        "linear": dense.build_linear,
        "mlp": dense.build_mlp,
    }
)


def build_model(
    name: str, input_shape: tuple[int, ...], num_classes: int, seed: int, *, private: bool = False
) -> nn.Module:
    """Build a model on the CPU, its initial weights drawn from ``seed`` alone.

    Args:
        name: A key of ``MODELS``, or ``"pkg.mod:attr"`` naming a ``build(input_shape, num_classes) -> nn.Module``.
        input_shape: Of one example: (channels, height, width), or (features,).
        num_classes: How many logits the model gives.
        seed: From 0 up. Torch's global random state is as before afterwards.
        private: Replace what cannot be trained with privacy of each example (``shared.privacy.models``).

    Raises:
        ConfigError: There is no such model, or it does not fit the data.
        PluginError: A model of one's own cannot be imported, fails to build or is not an ``nn.Module``.
    """
    builder = find_builder(name)
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        model: object = builder(input_shape, num_classes)
        if private and isinstance(model, nn.Module):
            model = fix_model(model)
    except ConstellationError:
        raise
    except Exception as error:  # a person's own code may fail in any way; it is their code we report on
        raise PluginError(
            f"model {name!r}: build({input_shape}, {num_classes}) failed ({type(error).__name__}: {error})"
        ) from error
    finally:
        torch.set_rng_state(state)
    if not isinstance(model, nn.Module):
        raise PluginError(f"model {name!r}: build() must return a torch.nn.Module, got {type(model).__name__}")
    return model


def check_answer(module: nn.Module, name: str, inputs: torch.Tensor, num_classes: int) -> None:
    """Call a model once, so that one that cannot take the data is refused before anything is written.

    Args:
        module: The model; its buffers may change.
        name: What the settings call it.
        inputs: A small batch, on the CPU.
        num_classes: How many logits it should give an example.

    Raises:
        PluginError: The model fails, or answers something else than logits.
    """
    shape, wanted = tuple(inputs.shape), (len(inputs), num_classes)
    state = torch.get_rng_state()
    module.eval()
    try:
        with torch.no_grad():
            answer: object = module(inputs)
    except Exception as error:  # a person's own code may fail in any way; it is their code we report on
        raise PluginError(
            f"model {name!r} cannot take a batch of shape {shape} ({type(error).__name__}: {error}); "
            "build(input_shape, num_classes) gets the shape of one example"
        ) from error
    finally:
        torch.set_rng_state(state)
    got = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
    if got != wanted:
        raise PluginError(f"model {name!r}: a batch of shape {shape} must give logits of shape {wanted}, got {got}")


def find_builder(name: str) -> Builder:
    """Find a model's ``build`` function without building the model.

    Raises:
        ConfigError: There is no such model.
        PluginError: A model of one's own cannot be imported or called.
    """
    if name in MODELS:
        return MODELS[name]
    if not is_plugin(name):
        raise ConfigError(f"model must be one of {', '.join(MODELS)} or pkg.mod:attr, got {name!r}")
    found = load_plugin(name, what="model")
    if not callable(found):
        raise PluginError(f"model {name!r} must be a function build(input_shape, num_classes) -> torch.nn.Module")
    builder: Builder = found
    return builder
