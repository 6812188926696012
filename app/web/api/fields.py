"""What requests may carry: types with their bounds, shared by the subjects."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_INT = 2**53 - 1  # what a browser's numbers hold exactly
NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"  # databases refuse NUL, logs and terminals obey the others

RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="A run's id")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of a model's arrays, in hex")]
Text = Annotated[str, Field(max_length=200, pattern=NO_CONTROL)]
Name = Annotated[str, Field(max_length=100, pattern=NO_CONTROL)]
Cursor = Annotated[
    str | None, Field(max_length=200, pattern=r"^[A-Za-z0-9_=.:-]*$", description="`next_cursor` of the page before")
]
Limit = Annotated[int, Field(ge=1, le=500, description="How many at the most")]
MaxPoints = Annotated[int, Field(ge=2, le=5000, description="Thinned to so many points; the first and last one stay")]
Seq = Annotated[int, Field(ge=0, le=MAX_INT)]
Round = Annotated[int, Field(ge=0, le=1_000_000, description="From 1; 0 is the initial model")]
Scalar = bool | int | float | str
Settings = dict[str, Scalar]


class Query(BaseModel):
    """Base of query strings."""

    model_config = ConfigDict(frozen=True)


class Body(BaseModel):
    """Base of request bodies: what is not known is an error, not ignored, and 0 is not false."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RunPath(Query):
    """A run, by its id."""

    run_id: RunId


class PageQuery(Query):
    """Which part of a list."""

    limit: Limit = 100
    cursor: Cursor = None


def names_of(text: str | None) -> tuple[str, ...]:
    """Split a comma-separated list."""
    return tuple(dict.fromkeys(part for part in (text or "").split(",") if part))
