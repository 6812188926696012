"""What each setting is for, in words, and which belong together: the command's help and the form of the page.

A new setting in ``shared.config.RunConfig`` gets its line here.
"""

from __future__ import annotations

import types
from collections.abc import Mapping

from shared.config_ranges import ATTACKS

_DATA, _FEDERATION, _TRAINING, _ENGINE, _TRUST, _PRIVACY, _OUTPUT = (
    "Data and model",
    "Federation",
    "Local training",
    "Engine",
    "Verification and attacks",
    "Differential privacy",
    "Output",
)

# field of RunConfig -> (group, help)
HELP: Mapping[str, tuple[str, str]] = types.MappingProxyType(
    {
        "dataset": (
            _DATA,
            "mnist-sample, mnist, fashion-mnist, cifar10, synthetic, folder:PATH, npz:PATH, csv:PATH or pkg.mod:attr",
        ),
        "data_dir": (_DATA, "where torchvision's data sets lie, or are downloaded to"),
        "num_examples": (_DATA, "examples of the synthetic data set"),
        "partition": (_DATA, "how the data is spread over clients: dirichlet, iid or shard"),
        "alpha": (_DATA, "Dirichlet concentration: smaller is more skewed"),
        "min_partition_size": (_DATA, "examples each client has at the least"),
        "shards_per_client": (_DATA, "shards of sorted labels a client gets (partition shard)"),
        "model": (_DATA, "cnn, linear, mlp or pkg.mod:attr"),
        "num_clients": (_FEDERATION, "registered clients"),
        "num_rounds": (_FEDERATION, "rounds to train"),
        "fraction": (_FEDERATION, "of the clients that train in a round"),
        "fraction_evaluate": (
            _FEDERATION,
            "of the clients that evaluate in a round; 0 is off, -1 as many as train",
        ),
        "min_clients": (_FEDERATION, "wait for as many before a round starts"),
        "strategy": (
            _FEDERATION,
            "fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad, fedmedian, fedtrimmedavg, krum, multikrum, "
            "bulyan or pkg.mod:attr",
        ),
        "aggregation": (_FEDERATION, "replaces the mean inside the FedAvg family"),
        "server_learning_rate": (_FEDERATION, "of fedavgm, fedadam, fedyogi and fedadagrad; 0 is the strategy's own"),
        "server_momentum": (_FEDERATION, "of fedavgm"),
        "over_selection": (_FEDERATION, "ask this many times as many clients, and take those that answer first"),
        "target_accuracy": (_FEDERATION, "end once the global model has this accuracy, 0 to 1"),
        "patience": (_FEDERATION, "end after so many rounds without a better accuracy"),
        "initial_model": (_FEDERATION, "model.safetensors to start from"),
        "num_malicious": (_FEDERATION, "hostile updates that krum, multikrum and bulyan assume"),
        "local_epochs": (_TRAINING, "epochs a client trains in a round"),
        "local_steps": (_TRAINING, "steps a round instead of epochs"),
        "batch_size": (_TRAINING, "examples a step"),
        "learning_rate": (_TRAINING, "of the clients' optimizer"),
        "optimizer": (_TRAINING, "sgd, adam or adamw"),
        "momentum": (_TRAINING, "of sgd"),
        "weight_decay": (_TRAINING, "L2 penalty of the clients' optimizer"),
        "proximal_mu": (_TRAINING, "FedProx's mu"),
        "device": (_TRAINING, "auto, cpu, cuda or mps"),
        "seed": (_ENGINE, "fixes partition, initial weights, batches and cohorts"),
        "engine": (
            _ENGINE,
            "local, or flower: a SuperLink and a resident SuperNode a client; ray is not part of this version",
        ),
        "workers": (_ENGINE, "worker processes; 0 is one a core"),
        "round_timeout_s": (_ENGINE, "seconds after which a phase ends without those who are missing"),
        "quorum": (_ENGINE, "share of good answers that ends a phase"),
        "signatures": (_TRUST, "sign and verify every update"),
        "min_valid": (_TRUST, "good updates below which a round keeps the old model"),
        "max_norm_factor": (_TRUST, "refuse an update this many times larger than the cohort's median; 0 is off"),
        "max_client_weight": (_TRUST, "any one client's share of the mean; 0 is off"),
        "key_dir": (_TRUST, "folder of the clients' keys"),
        "attack": (
            _TRUST,
            f"make K clients hostile, as NAME:K: {', '.join(ATTACKS)}",
        ),
        "dp": (_PRIVACY, "clip each example's gradient and add noise, so that no example can be told from the model"),
        "target_epsilon": (_PRIVACY, "budget of each client's data; noise is calibrated so that all rounds keep to it"),
        "noise_multiplier": (_PRIVACY, "noise over the clipping norm, instead of a calibrated one; 0 is calibrated"),
        "max_grad_norm": (_PRIVACY, "L2 norm that each example's gradient is clipped to"),
        "delta": (_PRIVACY, "chance that the guarantee fails; 0 is min(1e-5, 1/(10 n)) for a client of n examples"),
        "secure_aggregation": (_PRIVACY, "let the server learn the sum of the updates and no update alone (SecAgg+)"),
        "secagg_groups": (_PRIVACY, "sums are secret inside a group; --aggregation then works on the groups' means"),
        "secagg_clip": (_PRIVACY, "cut each coordinate of a change to this"),
        "output": (_OUTPUT, "folder that gets one folder a run"),
        "web_port": (
            _OUTPUT,
            "port of the dashboard; another free one is taken when it is in use and you did not ask for it",
        ),
        "no_dashboard": (_OUTPUT, "do not start the dashboard"),
    }
)
