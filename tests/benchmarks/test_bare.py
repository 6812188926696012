"""The yardstick does the work of the federation, to the last step."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.bare import run_bare
from client.runtime import ClientRuntime
from shared.config import RunConfig
from shared.datasets.federated import federate
from shared.evaluation import batches_of, evaluate
from shared.parameters import weighted_mean

CONFIG = RunConfig(
    dataset="synthetic", num_examples=240, num_clients=12, batch_size=8, device="cpu", fraction_evaluate=0.0, alpha=1.0
)
COHORTS = [[0, 10, 2], [3, 11, 2], [9, 1, 10]]


@pytest.mark.parametrize("changes", [{"momentum": 0.0}, {"momentum": 0.9, "weight_decay": 0.01, "local_epochs": 2}])
def test_bare_loop_ends_with_the_model_of_the_federation(changes):
    config = replace(CONFIG, **changes)
    runtime = ClientRuntime(config, federate(config))
    arrays, steps = runtime.model.snapshot(), 0
    for server_round, cohort in enumerate(COHORTS, start=1):
        updates = [runtime.train(arrays, partition_id=i, server_round=server_round) for i in sorted(cohort, key=str)]
        arrays = weighted_mean([model for model, _ in updates], [result.num_examples for _, result in updates])
        steps += sum(result.num_steps for _, result in updates)
    runtime.model.load(arrays)
    metrics = evaluate(runtime.model.module, batches_of(*runtime.data.central_test))

    bare = run_bare(config, COHORTS)
    assert bare.steps == steps
    assert bare.final_accuracy == pytest.approx(metrics.accuracy)
    # Equal to the last bit on the machine where this was written; oneDNN chooses its kernels by the processor.
    assert bare.final_loss == pytest.approx(metrics.loss, rel=1e-4)
    norm = np.sqrt(sum(np.square(array.astype(np.float64)).sum() for array in arrays.values()))
    assert bare.parameter_norm == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("changes", [{"optimizer": "adam"}, {"model": "mlp"}, {"local_steps": 3}, {"strategy": "krum"}])
def test_settings_that_the_bare_loop_does_not_know_are_refused(changes):
    with pytest.raises(ValueError, match="the bare loop knows"):
        run_bare(replace(CONFIG, **changes), COHORTS)
