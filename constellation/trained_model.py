"""A finished run's model, ready to be used: its arrays in its architecture, with what its inputs and outputs mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.numpy
from torch import nn

from constellation import folders
from shared.config import RunConfig, from_mapping
from shared.datasets.catalog import load_dataset
from shared.datasets.dataset import Dataset
from shared.datasets.federated import FederatedData, federate
from shared.errors import CheckpointError, UsageError
from shared.models.catalog import build_model
from shared.models.device import choose_device
from shared.models.resident import ResidentModel
from shared.parameters import AnyArray

Data = Dataset | FederatedData  # the second where the data comes from a person's own loaders


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """The global model of a run."""

    run_dir: Path
    config: RunConfig
    data: Data = field(repr=False)  # what it was trained on
    module: nn.Module = field(repr=False)

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.run_dir.name


def load_trained(run_dir: Path, changes: Mapping[str, object]) -> TrainedModel:
    """Build a run's model and fill it.

    Args:
        run_dir: The run's folder.
        changes: Settings that differ on this machine, in kebab-case (``data-dir``, ``device``).

    Raises:
        UsageError: There is no model yet, or the run's data set is not to be had here.
        CheckpointError: The model file is damaged, or is not of the run's architecture.
    """
    config = from_mapping(changes, where="the options", base=folders.open_run_dir(run_dir))
    arrays = read_model(run_dir)
    data = load_data(config)
    module = build_model(config.model, data.input_shape, data.num_classes, config.seed, private=config.dp)
    resident = ResidentModel(module, choose_device(config.device))
    resident.load(arrays)
    return TrainedModel(run_dir=run_dir, config=config, data=data, module=resident.module.eval())


def read_model(run_dir: Path) -> Mapping[str, AnyArray]:
    """Read the arrays of ``model.safetensors``.

    Raises:
        UsageError: The run has left none.
        CheckpointError: The file is damaged.
    """
    path = run_dir / folders.MODEL_FILE
    try:
        arrays: Mapping[str, AnyArray] = safetensors.numpy.load(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(
            f"run {run_dir} has no {folders.MODEL_FILE}: "
            f"it did not end; finish it with `constellation demo --resume {run_dir}`"
        ) from error
    except OSError as error:
        raise UsageError(f"model {path} cannot be read: {error.strerror or error}; check its rights") from error
    except (safetensors.SafetensorError, ValueError, KeyError) as error:  # KeyError: a dtype that numpy has not
        raise CheckpointError(
            f"model {path} is damaged ({error}); `constellation demo --resume {run_dir}` writes it anew"
        ) from error
    return arrays


def load_data(config: RunConfig) -> Data:
    """Load what a run's clients were trained on, unpartitioned where that is possible.

    Raises:
        DatasetError: It cannot be loaded.
        PluginError: A ``pkg.mod:attr`` is not what a data set must be.
    """
    source = load_dataset(config)
    return source if isinstance(source, Dataset) else federate(config)
