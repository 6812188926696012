"""One model a process, kept and reset by copying: how a client's weights go in and out without building anything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shared.errors import ConfigError
from shared.parameters import AnyArray, Arrays


class ResidentModel:
    """A model whose state (parameters and buffers) is read and written as named numpy arrays."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        """Move the model to its device.

        Raises:
            ConfigError: The model's state holds something that is not a tensor numpy knows.
        """
        self.module = module.to(device)
        self.device = device
        self._state: dict[str, Tensor] = {}
        for name, value in module.state_dict().items():
            if is_lazy(value):
                raise ConfigError(
                    f"the model's {name!r} has no shape yet: its module is lazy; call the model on a batch of zeros "
                    "before build() returns it"
                )
            if not isinstance(value, Tensor) or value.dtype is torch.bfloat16:
                kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise ConfigError(f"the model's state {name!r} is {kind}, which cannot be sent as an array")
            self._state[name] = value.detach()
        # On a CPU these are views of the tensors: writing to them writes to the model.
        self._views: Mapping[str, AnyArray] | None = (
            {name: value.numpy() for name, value in self._state.items()} if device.type == "cpu" else None
        )

    def load(self, arrays: Arrays) -> None:
        """Overwrite the model's whole state.

        Raises:
            ConfigError: Names or shapes are not the model's.
        """
        if arrays.keys() != self._state.keys():
            differing = ", ".join(sorted(arrays.keys() ^ self._state.keys())[:4])
            raise ConfigError(f"the parameters received are not this model's: {differing}; both sides need one model")
        for name, array in arrays.items():
            if array.shape != tuple(self._state[name].shape):
                raise ConfigError(
                    f"array {name!r} received has shape {array.shape}, this model's has "
                    f"{tuple(self._state[name].shape)}; both sides need one model"
                )
        for name, array in arrays.items():
            if self._views is not None:
                np.copyto(self._views[name], array, casting="unsafe")
            else:
                self._state[name].copy_(torch.from_numpy(np.array(array)))

    def snapshot(self) -> dict[str, AnyArray]:
        """Copy the model's whole state out."""
        if self._views is not None:
            return {name: view.copy() for name, view in self._views.items()}
        return {name: value.cpu().numpy() for name, value in self._state.items()}
