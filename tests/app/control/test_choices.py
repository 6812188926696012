"""What the page offers is what the catalogs hold, and every preset is a run that could be started."""

from pathlib import Path

from app.control import names
from app.control.choices import choices, preset_folder, presets
from app.control.config_check import check_config
from app.strategies.catalog import STRATEGIES
from shared.aggregation import AGGREGATIONS
from shared.config import RunConfig
from shared.datasets.catalog import DATASETS
from shared.models.catalog import MODELS

ROOT = Path(__file__).resolve().parents[3]


def test_the_names_are_those_of_the_catalogs() -> None:
    assert set(names.DATASETS) == set(DATASETS)
    assert set(names.MODELS) == set(MODELS)
    assert set(names.STRATEGIES) == set(STRATEGIES)
    assert set(names.CHOICES["aggregation"]) == {"", *AGGREGATIONS}


def test_every_choice_is_a_setting_that_is_accepted() -> None:
    for key, offered in names.CHOICES.items():
        for name in offered:
            check_config({key: f"{name}:1" if key == "attack" else name})


def test_every_setting_of_a_run_has_its_words_its_default_and_one_group() -> None:
    offered = choices()
    grouped = [key for group in offered.groups for key in group.keys]
    assert sorted(grouped) == sorted(set(RunConfig().as_flat()) - {"output", "web-port", "no-dashboard"})
    assert set(offered.help) == set(grouped)
    assert offered.defaults == RunConfig().as_flat()
    assert offered.usual_ranges["batch-size"] == (16, 128)


def test_the_presets_are_the_files_in_config() -> None:
    assert preset_folder() == ROOT / "config"
    found = {preset.name: preset for preset in choices().presets}
    assert set(found) == {path.stem for path in (ROOT / "config").glob("*.toml")}
    for preset in found.values():
        check_config(preset.config)
        assert preset.title
    assert found["quick"].config == {"dataset": "synthetic", "num-examples": 600, "model": "linear", "num-rounds": 2}


def test_a_file_that_holds_no_settings_is_no_preset(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("# Good.\nnum-rounds = 2\n")
    (tmp_path / "b.toml").write_text("nonsense = 2\n")
    (tmp_path / "c.toml").write_bytes(b"\xff")
    (found,) = presets(tmp_path)
    assert (found.name, found.title, found.config) == ("a", "Good.", {"num-rounds": 2})
