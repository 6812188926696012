"""Who is connected to whom: the server, its workers, and the clients."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint

from app.storage.store import Store
from app.storage.views import ClientView, NodeView, RunView, View
from app.web.answers import answer
from app.web.api.fields import Query, RunId
from app.web.api.tags import SYSTEM
from app.web.context import services
from app.web.problems import documented
from monitor.health import liveness

api = APIBlueprint("topology", __name__, url_prefix="/api/v1", abp_tags=[SYSTEM])

_SERVER = "server"
_MAX_CLIENTS = 200  # more than that is no picture any more


class LinkView(View):
    """A connection."""

    source: str
    target: str


class TopologyView(View):
    """Nodes and the connections between them."""

    nodes: tuple[NodeView, ...]
    links: tuple[LinkView, ...]


class TopologyQuery(Query):
    """Of which run; without one, of everything that was seen last."""

    run: RunId | None = None


@api.get("/topology", responses={200: TopologyView, **documented(401, 404, 422)})
def topology(query: TopologyQuery) -> Response:
    """Show the server, its workers and its clients, and whether they are there."""
    store = services().store
    nodes = {node.node: node for node in store.nodes(query.run)}
    if query.run is not None:
        _add_run(nodes, store, query.run, services().now())
    links = tuple(LinkView(source=_SERVER, target=name) for name in nodes if name != _SERVER and _SERVER in nodes)
    return answer(TopologyView(nodes=tuple(nodes.values()), links=links))


def _add_run(nodes: dict[str, NodeView], store: Store, run_id: str, now: float) -> None:
    """Add who takes part without sending samples of its own."""
    run = store.run(run_id)
    if _SERVER not in nodes:
        nodes[_SERVER] = _server_of(run, now)
    for client in store.clients(run_id, limit=_MAX_CLIENTS).items:
        nodes.setdefault(client.client, _node_of(client, run, now))


def _server_of(run: RunView, now: float) -> NodeView:
    return NodeView(node=_SERVER, kind="server", state=liveness(run.updated_ts, now), last_seen_ts=run.updated_ts)


def _node_of(client: ClientView, run: RunView, now: float) -> NodeView:
    seen = client.last_seen_ts if client.last_seen_ts is not None else run.created_ts
    is_over = run.state in ("completed", "stopped", "failed", "interrupted")
    return NodeView(
        node=client.client, kind="client", state="offline" if is_over else liveness(seen, now), last_seen_ts=seen
    )
