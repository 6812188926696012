"""The subjects of the API, as its document names them."""

from __future__ import annotations

from flask_openapi3.models.tag import Tag

RUNS = Tag(name="runs", description="One run is one training")
MODELS = Tag(name="models", description="Global models, named by what they hold")
EVENTS = Tag(name="events", description="What happened, in order")
CONFIG = Tag(name="config", description="Settings: what there is to choose, and what a choice would mean")
SYSTEM = Tag(name="system", description="The dashboard itself")
SESSION = Tag(name="session", description="Signing in and out")
INTERNAL = Tag(name="internal", description="What processes that train report; Bearer token only")
ORIGINAL = Tag(name="original", description="The routes of the first description, over the same runs")
