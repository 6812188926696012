"""Settings: what there is to choose, what a choice would mean, and what it would cost in privacy."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from app.control.choices import Choices, choices
from app.control.config_check import CheckedConfig, explain
from app.control.previews import EpsilonPreview, PartitionPreview
from app.web.answers import answer
from app.web.api.fields import MAX_INT, Body, Settings
from app.web.api.tags import CONFIG
from app.web.context import services
from app.web.problems import documented
from app.web.services import Previews
from shared.errors import Conflict

api = APIBlueprint("config", __name__, url_prefix="/api/v1", abp_tags=[CONFIG])

_CHANGES = documented(400, 401, 403, 411, 413, 415, 422, 503)
Count = Annotated[int, Field(ge=1, le=MAX_INT)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class ConfigBody(Body):
    """Settings; what is left out has its default."""

    config: Annotated[Settings, Field(description="By their kebab-case keys", examples=[{"alpha": 0.1}])] = Field(
        default_factory=dict
    )


class EpsilonQuery(Body):
    """A plan of training; give either the noise, or the budget it should be found for."""

    num_examples: Annotated[Count, Field(description="Of one client")]
    batch_size: Count
    num_rounds: Count
    local_epochs: Annotated[int, Field(ge=0, le=MAX_INT)] = 1
    local_steps: Annotated[int, Field(ge=0, le=MAX_INT)] = 0
    noise_multiplier: Positive | None = None
    target_epsilon: Positive | None = None
    delta: Annotated[float | None, Field(ge=0, lt=1, allow_inf_nan=False)] = None


@api.get("/config/choices", responses={200: Choices, **documented(401)})
def list_choices() -> Response:
    """List what a new run can be made of: names, presets, usual ranges, and what each setting means."""
    return answer(choices())


@api.post("/config/check", responses={200: CheckedConfig, **_CHANGES})
def check(body: ConfigBody) -> Response:
    """Check settings, and show them resolved, as TOML and as a command line."""
    return answer(explain(body.config))


@api.post("/previews/partition", responses={200: PartitionPreview, **_CHANGES, **documented(409)})
def preview_partition(body: ConfigBody) -> Response:
    """Show how the data would be spread over the clients, drawn from the real labels."""
    return answer(_previews().partition(body.config))


@api.post("/previews/epsilon", responses={200: EpsilonPreview, **_CHANGES, **documented(409)})
def preview_epsilon(body: EpsilonQuery) -> Response:
    """Estimate the privacy a run would spend, before it starts."""
    return answer(_previews().epsilon(body.model_dump(exclude_none=True)))


def _previews() -> Previews:
    """Return what draws previews.

    Raises:
        Conflict: This dashboard has none.
    """
    found = services().previews
    if found is None:
        raise Conflict("this dashboard draws no previews; start it with `constellation dashboard`")
    return found
