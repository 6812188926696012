"""Which ClientApp answers a run's messages, and the contexts it answers them in; both stay between messages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from flwr.app import Context
from flwr.clientapp import ClientApp

from client.supernode.flwr_compat import AppNotLoaded, Fab, Run, context_of, load_from_fab
from shared.config import Scalar
from shared.errors import PluginError
from shared.plugins import load_plugin

_MAX_KEPT_RUNS = 8  # contexts whose state an app may come back for; the oldest goes first


class ChangesProcess(Exception):
    """A bundle needs a process of its own: another one's modules are loaded here under names it may use too."""


class AppSource(Protocol):
    """Where ClientApps come from."""

    def app_of(self, run: Run, fab: Fab) -> ClientApp:
        """Return the app of a run.

        Raises:
            AppNotLoaded: It cannot be loaded.
            ChangesProcess: Not in this process.
        """


class InstalledApp:
    """One ClientApp that is installed on this machine, whatever the server's bundle holds: no code comes from there."""

    def __init__(self, reference: str) -> None:
        """Load ``pkg.mod:attr`` now: what is slow to import should not make the first round wait.

        Raises:
            PluginError: It cannot be imported, or is no ClientApp.
        """
        app = load_plugin(reference, what="client app")
        if not isinstance(app, ClientApp):
            raise PluginError(f"{reference} is no Flower ClientApp; name one as pkg.mod:attr")
        self._app = app

    def app_of(self, run: Run, fab: Fab) -> ClientApp:  # noqa: ARG002 - whatever the run names
        """Return the one app."""
        return self._app


class BundledApps:
    """The ClientApp of each run's own bundle, as a stock SuperNode runs it; one bundle's a process."""

    def __init__(self) -> None:
        self._loaded: tuple[str, ClientApp] | None = None

    def app_of(self, run: Run, fab: Fab) -> ClientApp:
        """Load the run's app, or return it when it is there."""
        if self._loaded is None:
            self._loaded = (run.fab_hash, load_from_fab(run, fab))
        fab_hash, app = self._loaded
        if fab_hash != run.fab_hash:
            raise ChangesProcess
        return app


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is kept of a run between its messages."""

    app: ClientApp
    context: Context


class Desk:
    """Keeps the apps and contexts of the last few runs."""

    def __init__(self, source: AppSource, node_config: Mapping[str, Scalar]) -> None:
        self._source = source
        self._node_config = node_config
        self._prepared: OrderedDict[tuple[int, int], Prepared] = OrderedDict()

    def find(self, node_id: int, run_id: int) -> Prepared | None:
        """Return what is kept of a run, if anything."""
        return self._prepared.get((node_id, run_id))

    def prepare(self, node_id: int, run: Run, fab: Fab) -> Prepared:
        """Load a run's app and begin its context.

        Runs of one series share their state, as on a stock SuperNode.

        Raises:
            AppNotLoaded: The app cannot be loaded, or the bundle's settings cannot be read.
            ChangesProcess: Not in this process.
        """
        app = self._source.app_of(run, fab)
        try:
            context = context_of(run, fab, node_id, self._node_config)
        except Exception as error:  # a bundle is bytes from elsewhere
            raise AppNotLoaded(f"the bundle's settings cannot be read ({type(error).__name__}: {error})") from error
        for kept in self._prepared.values():
            if context.series_id and kept.context.series_id == context.series_id:
                context.state = kept.context.state
        prepared = Prepared(app=app, context=context)
        self._prepared[node_id, int(run.run_id)] = prepared
        if len(self._prepared) > _MAX_KEPT_RUNS:
            self._prepared.popitem(last=False)
        return prepared
