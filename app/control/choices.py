"""What the page for a new run offers: names, presets, usual ranges and words, all without torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from app.control.names import CHOICES
from app.storage.views import Scalar, View
from shared.config import USUAL_RANGES, RunConfig, from_mapping, key_of, load_toml
from shared.config_help import HELP
from shared.errors import ConfigError

_OF_THE_DASHBOARD = frozenset({"output", "web_port", "no_dashboard"})  # not a run's to choose there


class Preset(View):
    """Settings under a name, as one of the files in ``config/``."""

    name: str
    title: str
    config: dict[str, Scalar]


class Group(View):
    """Settings that belong together."""

    title: str
    keys: tuple[str, ...]


class Choices(View):
    """Everything a form for a new run is made of."""

    defaults: dict[str, Scalar]
    choices: dict[str, tuple[str, ...]]
    presets: tuple[Preset, ...]
    usual_ranges: dict[str, tuple[float, float]]
    help: dict[str, str]
    groups: tuple[Group, ...]


def choices() -> Choices:
    """Collect what there is to choose; the presets are read from their files."""
    shown = {name: (group, text) for name, (group, text) in HELP.items() if name not in _OF_THE_DASHBOARD}
    groups: dict[str, list[str]] = {}
    for name, (group, _) in shown.items():
        groups.setdefault(group, []).append(key_of(name))
    return Choices(
        defaults=RunConfig().as_flat(),
        choices=dict(CHOICES),
        presets=presets(preset_folder()),
        usual_ranges=dict(USUAL_RANGES),
        help={key_of(name): text for name, (_, text) in shown.items()},
        groups=tuple(Group(title=title, keys=tuple(keys)) for title, keys in groups.items()),
    )


def preset_folder() -> Path:
    """Return where the presets lie: inside the installed package, or in ``config/`` of a checkout."""
    spec = importlib.util.find_spec("constellation")
    package = Path(next(iter(spec.submodule_search_locations or ("",)))) if spec else Path()
    installed = package / "presets"
    return installed if installed.is_dir() else package.parent / "config"


def presets(folder: Path) -> tuple[Preset, ...]:
    """Read every preset of a folder, by name; a file that holds no settings is left out."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            values = load_toml(path)
            settings = from_mapping(values, where=str(path)).as_flat()
            title = _title_of(path)
        except (ConfigError, OSError):
            continue
        found.append(Preset(name=path.stem, title=title, config={key: settings[key] for key in values}))
    return tuple(found)


def _title_of(path: Path) -> str:
    """Return the comment that a preset begins with."""
    first = path.read_text(encoding="utf-8").splitlines()[:1]
    return first[0].lstrip("# ").strip() if first and first[0].startswith("#") else path.stem
