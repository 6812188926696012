"""What the settings can name, without importing what the names stand for: that takes torch and Flower.

Tests hold these lists against the catalogs (``shared/datasets``, ``shared/models``, ``app/strategies``).
"""

from __future__ import annotations

from shared.aggregation import AGGREGATIONS
from shared.config_ranges import ATTACKS, DEVICES, OPTIMIZERS, PARTITIONS

DATASETS = ("mnist-sample", "mnist", "fashion-mnist", "cifar10", "synthetic")
MODELS = ("cnn", "linear", "mlp")
STRATEGIES = (
    "fedavg",
    "fedprox",
    "fedavgm",
    "fedadam",
    "fedyogi",
    "fedadagrad",
    "fedmedian",
    "fedtrimmedavg",
    "krum",
    "multikrum",
    "bulyan",
)
ENGINES = ("local", "flower")  # that this version runs

# key -> names to choose from; a person's own data, models and strategies are named as text beside them
CHOICES: dict[str, tuple[str, ...]] = {
    "dataset": DATASETS,
    "model": MODELS,
    "strategy": STRATEGIES,
    "aggregation": ("", *AGGREGATIONS),
    "partition": PARTITIONS,
    "optimizer": OPTIMIZERS,
    "device": DEVICES,
    "engine": ENGINES,
    "attack": ATTACKS,
}
OWN_ALLOWED = frozenset({"dataset", "model", "strategy", "aggregation"})  # pkg.mod:attr is a name too
