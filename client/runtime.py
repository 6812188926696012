"""What a client's process keeps between messages: one resident model, and the data of the last few clients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np

from client.privacy.budget import PrivateData, charge_round
from client.privacy.noise import SecureRandom
from client.trainer import TrainResult, settings_of, train
from shared.config import RunConfig, Scalar, from_mapping
from shared.datasets.client_data import ClientData
from shared.datasets.federated import FederatedData
from shared.errors import ConfigError
from shared.evaluation import EVALUATION_BATCH_SIZE, Metrics, evaluate
from shared.models.catalog import build_model
from shared.models.device import choose_device
from shared.models.resident import ResidentModel
from shared.parameters import AnyArray, Arrays

AlterData = Callable[[int, ClientData], ClientData]
OVERRIDES = frozenset({"learning-rate", "local-epochs", "local-steps", "proximal-mu"})
_TRAINING_STREAM = 1  # the run's seed feeds several generators; each has its number
_KEPT_CLIENTS = 8  # whose data stays built: a cohort of a few silos keeps theirs from round to round


class ClientRuntime:
    """Trains and evaluates any client of a federation, one at a time.

    What it computes depends on its arguments and the settings alone, never on what it computed before.
    """

    def __init__(
        self,
        config: RunConfig,
        data: FederatedData,
        *,
        alter: AlterData | None = None,
        secure_random: Callable[[], SecureRandom] = SecureRandom,
    ) -> None:
        """Keep the settings; the model is built at the first message, in the process that needs it.

        Args:
            config: The run's settings.
            data: Everybody's data.
            alter: What each client's data passes through: (partition id, honest data) -> data; for attacks.
            secure_random: Makes what batches and noise of private training are drawn from; tests give their own.
        """
        self.config = config
        self.data = data
        self._alter = alter
        self._secure_random = secure_random
        self._model: ResidentModel | None = None
        self._clients: OrderedDict[int, ClientData] = OrderedDict()

    @property
    def model(self) -> ResidentModel:
        """The resident model."""
        if self._model is None:
            module = build_model(
                self.config.model,
                self.data.input_shape,
                self.data.num_classes,
                self.config.seed,
                private=self.config.dp,
            )
            self._model = ResidentModel(module, choose_device(self.config.device))
        return self._model

    def train(
        self,
        arrays: Arrays,
        *,
        partition_id: int,
        server_round: int,
        overrides: Mapping[str, Scalar] | None = None,
        private: PrivateData | None = None,
    ) -> tuple[dict[str, AnyArray], TrainResult]:
        """Train the global model on one client's data.

        Args:
            arrays: The global model; not changed.
            partition_id: Whose data, from 0.
            server_round: From 1; with the seed and the partition it decides all that is random.
            overrides: Settings of this round by their keys, a subset of ``OVERRIDES``.
            private: Where the client's privacy is accounted, for settings with ``dp``.

        Returns:
            The client's whole model, in arrays of its own, and what training came to.

        Raises:
            ConfigError: The arrays are not the model's, an override is out of range, or the model or its settings
                allow no privacy.
            PrivacyRefused: The client's budget is spent, or its ledger cannot be trusted.
        """
        data = self.client(partition_id)
        of_round = self._overridden(overrides or {})
        rng = np.random.default_rng([self.config.seed, _TRAINING_STREAM, server_round, partition_id])
        if self.config.dp:
            return self._train_privately(arrays, data, of_round, rng, private)
        self.model.load(arrays)
        result = train(self.model.module, data, settings_of(of_round), rng)
        return self.model.snapshot(), result

    def _train_privately(
        self,
        arrays: Arrays,
        data: ClientData,
        of_round: RunConfig,
        rng: np.random.Generator,
        private: PrivateData | None,
    ) -> tuple[dict[str, AnyArray], TrainResult]:
        """Charge the round to the client's ledger, then train; a round that fails after that stays charged."""
        from client.privacy.training import train_privately

        if private is None:
            raise ConfigError("dp is on and this client has no privacy ledger: nothing is trained")
        self.model.load(arrays)
        charged = charge_round(private, data.num_examples, self.config, of_round)
        # A stream of its own for each round: two processes must never draw the same noise.
        random = self._secure_random()
        result = train_privately(self.model.module, data, settings_of(of_round), charged, rng, random)
        return self.model.snapshot(), result

    def evaluate(self, arrays: Arrays, *, partition_id: int) -> Metrics:
        """Evaluate the global model on one client's own test data; without any, ``num_examples`` is 0."""
        data = self.client(partition_id)
        self.model.load(arrays)
        return evaluate(self.model.module, data.test_batches(EVALUATION_BATCH_SIZE))

    def client(self, partition_id: int) -> ClientData:
        """Build a client's data, or take it from the last few.

        Raises:
            DatasetError: There is no such partition.
        """
        if partition_id not in self._clients:
            data = self.data.client(partition_id)
            self._clients[partition_id] = self._alter(partition_id, data) if self._alter else data
            if len(self._clients) > _KEPT_CLIENTS:
                self._clients.popitem(last=False)
        self._clients.move_to_end(partition_id)
        return self._clients[partition_id]

    def _overridden(self, overrides: Mapping[str, Scalar]) -> RunConfig:
        return from_mapping(overrides, where="the server's config", base=self.config) if overrides else self.config
