"""The model a run starts from, where it is not a fresh one: any ``model.safetensors`` of the same arrays."""

from __future__ import annotations

from pathlib import Path

import safetensors.numpy
from safetensors import SafetensorError

from shared.errors import ConfigError
from shared.parameters import AnyArray, Arrays, schema_of


def load_initial_model(path: str, like: Arrays) -> dict[str, AnyArray]:
    """Read the arrays of a safetensors file.

    Args:
        path: The file.
        like: A fresh model: names, shapes and dtypes that the file must have.

    Raises:
        ConfigError: The file cannot be read, or holds another model.
    """
    try:
        arrays = safetensors.numpy.load(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise ConfigError(f"initial-model {path} cannot be read: {error.strerror or error}; name a file") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise ConfigError(
            f"initial-model {path} is no safetensors file: {error}; a run leaves model.safetensors"
        ) from error
    found, wanted = schema_of(arrays), schema_of(like)
    if found != wanted:
        differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise ConfigError(
            f"initial-model {path} is of another model than the run's: {', '.join(differing[:3])} differ; "
            "give the model and data set it was trained with"
        )
    return {name: arrays[name] for name in like}
