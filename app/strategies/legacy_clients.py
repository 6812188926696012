"""The clients of a ``Grid`` as the legacy interface knows them: a ``ClientManager`` of ``ClientProxy``."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NoReturn

from flwr.server.client_manager import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.criterion import Criterion
from flwr.serverapp import Grid

from shared.errors import RunFailed

_POLL_S = 1.0  # between looks at who is connected, as Flower's own sampling does
_A_DAY_S = 86_400


class NodeProxy(ClientProxy):
    """Names a client; it is reached through the messages of a round only."""

    def __init__(self, node_id: int) -> None:
        """Name the node ``node_id``."""
        super().__init__(str(node_id))
        self.node_id = node_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NodeProxy) and other.cid == self.cid

    def __hash__(self) -> int:
        return hash(self.cid)

    def get_properties(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse."""
        self._refuse("get_properties")

    def get_parameters(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse."""
        self._refuse("get_parameters")

    def fit(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse."""
        self._refuse("fit")

    def evaluate(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse."""
        self._refuse("evaluate")

    def reconnect(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse."""
        self._refuse("reconnect")

    def _refuse(self, call: str) -> NoReturn:
        raise RunFailed(
            f"the legacy strategy called {call}() on node {self.cid}: clients answer the requests of configure_fit and "
            "configure_evaluate only; put what it needs into their config"
        )


class GridClientManager(ClientManager):
    """The nodes that are connected to a ``Grid``, in its order: samples as Flower's own strategies do."""

    def __init__(self, grid: Grid, sleep: Callable[[float], object] = time.sleep) -> None:
        """Look at ``grid`` each time somebody asks."""
        self._grid = grid
        self._sleep = sleep

    def __len__(self) -> int:
        return self.num_available()

    def num_available(self) -> int:
        """Count the connected nodes."""
        return len(list(self._grid.get_node_ids()))

    def all(self) -> dict[str, ClientProxy]:
        """Return the connected nodes by their id."""
        return {str(node_id): NodeProxy(node_id) for node_id in self._grid.get_node_ids()}

    def register(self, client: ClientProxy) -> bool:
        """Refuse: who is connected is the grid's to say."""
        del client
        return False

    def unregister(self, client: ClientProxy) -> None:
        """Do nothing: who is connected is the grid's to say."""

    def wait_for(self, num_clients: int, timeout: int = _A_DAY_S) -> bool:
        """Wait until enough are connected, ``timeout`` seconds at the most."""
        waited_s = 0.0
        while self.num_available() < num_clients:
            if waited_s >= timeout:
                return False
            self._sleep(_POLL_S)
            waited_s += _POLL_S
        return True

    def sample(
        self, num_clients: int, min_num_clients: int | None = None, criterion: Criterion | None = None
    ) -> list[ClientProxy]:
        """Draw clients with Python's global ``random``, as Flower does; none when too few are there."""
        self.wait_for(num_clients if min_num_clients is None else min_num_clients)
        available = [client for client in self.all().values() if criterion is None or criterion.select(client)]
        return random.sample(available, num_clients) if num_clients <= len(available) else []
