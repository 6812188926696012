"""Gives views the app's services, and the caller's identity."""

from __future__ import annotations

from typing import cast

from flask import current_app, g

from app.web.auth.access import Who
from app.web.live.hub import LiveHub
from app.web.services import Services
from app.web.status import Statuses

SERVICES, HUB, STATUSES = "constellation.services", "constellation.hub", "constellation.statuses"


def services() -> Services:
    """Return what the app was made with."""
    return cast(Services, current_app.extensions[SERVICES])


def hub() -> LiveHub:
    """Return what tells viewers of news."""
    return cast(LiveHub, current_app.extensions[HUB])


def statuses() -> Statuses:
    """Return what says what is going on."""
    return cast(Statuses, current_app.extensions[STATUSES])


def caller() -> Who:
    """Return whom this request comes from."""
    return cast(Who, g.get("who", Who.STRANGER))
