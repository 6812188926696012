"""Models: listed, traced back, and downloaded by their digest."""

from __future__ import annotations

from flask import Response, send_file
from flask_openapi3.blueprint import APIBlueprint

from app.storage.views import ModelView, View
from app.web.answers import answer
from app.web.api.fields import Digest, PageQuery, Query, RunId
from app.web.api.tags import MODELS
from app.web.context import services
from app.web.problems import documented
from shared.errors import NotFound

api = APIBlueprint("models", __name__, url_prefix="/api/v1/models", abp_tags=[MODELS])


class ModelPage(View):
    """A page of models, newest first."""

    items: tuple[ModelView, ...]
    next_cursor: str | None


class Lineage(View):
    """A model and those it came from, newest first."""

    items: tuple[ModelView, ...]


class ModelsQuery(PageQuery):
    """Which models."""

    run: RunId | None = None


class ModelPath(Query):
    """A model, by its digest."""

    digest: Digest


@api.get("", responses={200: ModelPage, **documented(401, 404, 422)})
def list_models(query: ModelsQuery) -> Response:
    """List models."""
    page = services().store.models(query.run, limit=query.limit, cursor=query.cursor or None)
    return answer(ModelPage(items=page.items, next_cursor=page.next_cursor))


@api.get("/<string:digest>", responses={200: ModelView, **documented(401, 404, 422)})
def get_model(path: ModelPath) -> Response:
    """Show one model."""
    return answer(_newest(path.digest))


@api.get("/<string:digest>/lineage", responses={200: Lineage, **documented(401, 404, 422)})
def lineage(path: ModelPath) -> Response:
    """Trace a model back to the first one of its run."""
    return answer(Lineage(items=services().store.lineage(path.digest)))


@api.get(
    "/<string:digest>/download",
    responses={
        200: {
            "description": "A safetensors file: arrays only",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **documented(401, 404, 422),
    },
)
def download(path: ModelPath) -> Response:
    """Save a model as safetensors."""
    model = _newest(path.digest)
    file = services().store.open_model(path.digest)
    response = send_file(
        file, mimetype="application/octet-stream", as_attachment=True, etag=False,
        download_name=f"{model.run_id}-round-{model.server_round}.safetensors",
    )  # fmt: skip
    response.set_etag(path.digest)  # content-addressed: it never changes
    return response


def _newest(digest: str) -> ModelView:
    found = services().store.lineage(digest)
    if not found:
        raise NotFound(f"there is no model {digest}")
    return found[0]
