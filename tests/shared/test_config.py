from __future__ import annotations

import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import (
    RunConfig,
    field_of,
    from_environment,
    from_mapping,
    key_of,
    load_toml,
    parse_setting,
    unusual_settings,
)
from shared.config_ranges import ATTACKS
from shared.errors import ConfigError

# Written from the comments of RunConfig and the issue, not from the checks: key, values that pass, values that do not.
RANGES: list[tuple[str, list[Any], list[Any]]] = [
    ("dataset", ["mnist", "folder:/data", "mine:load"], ["", "  "]),
    ("model", ["mlp", "mine:build"], ["", "\t"]),
    ("strategy", ["krum"], [""]),
    ("output", ["runs/a b"], ["", " "]),
    ("partition", ["dirichlet", "iid", "shard"], ["", "IID", "random"]),
    ("optimizer", ["sgd", "adam", "adamw"], ["", "rmsprop"]),
    ("engine", ["local", "flower", "ray"], ["", "mpi"]),
    ("device", ["auto", "cpu", "cuda", "mps"], ["", "gpu"]),
    ("alpha", [1e-9, 0.05, 1, 1e6], [0, 0.0, -1.0, float("nan"), float("inf")]),
    ("num-examples", [1, 10**6], [0, -1]),
    ("min-partition-size", [1, 10], [0, -5]),
    ("shards-per-client", [1, 3], [0]),
    ("num-clients", [1, 10_000], [0, -3]),
    ("num-rounds", [1, 1000], [0, -1]),
    ("fraction", [1e-4, 0.5, 1, 1.0], [0, 0.0, -0.1, 1.0001, float("nan")]),
    ("fraction-evaluate", [-1.0, 0, 0.0, 0.5, 1.0], [-0.1, -2.0, 1.1, float("nan")]),
    ("min-clients", [1, 3], [0, 4]),
    ("server-learning-rate", [0.0, 1.0], [-1.0, float("inf")]),
    ("server-momentum", [0.0, 0.9, 1.0], [-0.1, 1.1]),
    ("num-malicious", [0, 2], [-1]),
    ("over-selection", [1, 1.3, 10.0], [0.9, 0.0, 10.1, float("nan")]),
    ("target-accuracy", [0.0, 0.95, 1.0], [-0.1, 1.1, float("nan")]),
    ("patience", [0, 5], [-1]),
    ("local-epochs", [1, 50], [0]),
    ("local-steps", [0, 10], [-1]),
    ("batch-size", [1, 4096], [0]),
    ("learning-rate", [1e-9, 10.0], [0.0, -0.1, float("nan"), float("inf")]),
    ("momentum", [0.0, 0.99, 1.0], [-0.1, 1.5]),
    ("weight-decay", [0.0, 0.1], [-0.1, float("nan")]),
    ("proximal-mu", [0.0, 1.0], [-0.1, float("inf")]),
    ("seed", [0, 2**32 - 1], [-1, 2**32]),
    ("workers", [0, 64], [-1]),
    ("round-timeout-s", [0.1, 3600.0], [0.0, -1.0, float("nan")]),
    ("quorum", [0.01, 1.0], [0.0, -0.5, 1.1, float("nan")]),
    ("min-valid", [1, 3], [0, 4]),
    ("max-norm-factor", [0.0, 10.0], [-1.0, float("nan")]),
    ("max-client-weight", [0.0, 0.1, 1.0], [-0.1, 1.1]),
    ("dp", [False], [True]),
    ("target-epsilon", [0.0], [-1.0, float("nan"), float("inf"), 3.0]),
    ("noise-multiplier", [0.0], [-0.1, float("nan"), float("inf"), 1.1]),
    ("max-grad-norm", [1e-3, 1, 10.0], [0.0, -1.0, float("nan"), float("inf")]),
    ("delta", [0.0], [-1e-6, 0.51, float("nan"), 1e-5]),
    ("secure-aggregation", [False, True], []),
    ("secagg-groups", [1], [0, -1, 2]),  # more only with secure-aggregation
    ("secagg-clip", [1e-3, 4, 100.0], [0.0, -1.0, float("nan"), float("inf")]),
    ("web-port", [0, 65_535], [-1, 65_536]),
    ("attack", [(), ("forge:1",), ("forge:1", "nan:2")], [("forge",), ("forge:0",), ("nan:4",), ("nan:2", "scale:2")]),
]
KEYS = [key_of(field.name) for field in fields(RunConfig)]


FREE = {"data-dir", "initial-model", "key-dir", "aggregation", "signatures", "no-dashboard"}  # any value of their type


def cases(which: int) -> list[Any]:
    return [pytest.param(key, value, id=f"{key}={value!r}") for key, *ranges in RANGES for value in ranges[which]]


@pytest.mark.parametrize("attack", ["alie", "alie-1", "ipm", "sybil"])
def test_colluders_who_train_for_each_other_do_not_go_with_privacy_which_counts_each_ones_own(attack: str) -> None:
    with pytest.raises(ConfigError, match=f"^attack must be another one with dp, .* got '{attack}:1'$"):
        RunConfig(dp=True, target_epsilon=8, attack=("nan:1", f"{attack}:1"))
    assert RunConfig(dp=True, target_epsilon=8, attack=("gaussian:1", "backdoor:1")).dp


def test_privacy_is_on_with_a_budget_or_noise_or_both() -> None:
    assert RunConfig(dp=True, target_epsilon=8, delta=1e-6).delta == 1e-6
    assert RunConfig(dp=True, noise_multiplier=1.1).target_epsilon == 0
    assert RunConfig(dp=True, noise_multiplier=1.1, target_epsilon=3).noise_multiplier == 1.1
    with pytest.raises(ConfigError, match="dp must be given with target-epsilon or noise-multiplier"):
        RunConfig(dp=True, delta=1e-6)
    for key in ("target_epsilon", "noise_multiplier", "delta"):
        with pytest.raises(ConfigError, match=f"{key_of(key)} must be given with dp"):
            RunConfig(**{key: 0.5})


def test_every_setting_has_a_range_here() -> None:
    assert {key for key, *_ in RANGES} | FREE == set(KEYS)


@pytest.mark.parametrize(("key", "value"), cases(0))
def test_value_within_its_range_passes(key: str, value: Any) -> None:
    assert getattr(RunConfig(**{field_of(key): value}), field_of(key)) == value


@pytest.mark.parametrize(("key", "value"), cases(1))
def test_value_outside_its_range_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} must be .+, got "):
        RunConfig(**{field_of(key): value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_rounds", 2.5),
        ("num_rounds", "5"),
        ("num_rounds", True),
        ("num_rounds", None),
        ("num_rounds", 2**63),
        ("num_rounds", 10**400),
        ("alpha", "0.5"),
        ("alpha", False),
        ("alpha", 10**400),
        ("signatures", 1),
        ("signatures", "yes"),
        ("model", 3),
        ("output", "\udc80"),  # what a path that is not UTF-8 becomes
        ("attack", ("forge:1", 2)),
        ("attack", 7),
        ("attack", ("forge:" + "9" * 5000,)),
        ("attack", ("forge:1.0",)),
        ("attack", ("forge:²",)),
        ("attack", ("bribe:1",)),
        ("attack", (":1",)),
    ],
)
def test_value_of_another_type_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{key_of(key)} must be "):
        RunConfig(**{key: value})


def test_message_names_the_key_the_range_and_the_value() -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig(fraction=1.5)
    assert str(caught.value) == "fraction must be above 0 and at most 1, got 1.5"


def test_bounds_on_other_settings_name_the_other() -> None:
    with pytest.raises(ConfigError, match=r"^min-valid must be at most num-clients \(3\), got 4$"):
        RunConfig(min_valid=4)
    with pytest.raises(ConfigError, match=r"^attack must be at most num-clients \(2\) in all, got 3$"):
        RunConfig(num_clients=2, attack=("forge:1", "nan:2"))


def test_every_attack_of_the_table_is_a_name_that_passes() -> None:
    assert {"forge", "replay", "nan", "scale", "sign-flip", "label-flip", "shape", "num-examples"} <= set(ATTACKS)
    for name in ATTACKS:
        assert RunConfig(attack=(f"{name}:1",)).attack == (f"{name}:1",)


def test_a_notebook_may_write_what_comes_naturally() -> None:
    config = RunConfig(alpha=1, attack=["forge:1", "nan:1"], output=Path("here") / "runs")  # type: ignore[arg-type]
    assert (config.alpha, config.attack, config.output) == (1.0, ("forge:1", "nan:1"), str(Path("here") / "runs"))
    assert type(config.alpha) is float
    assert RunConfig(attack="forge:1, nan:1").attack == ("forge:1", "nan:1")  # type: ignore[arg-type]


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        RunConfig().num_rounds = 9  # type: ignore[misc]


@pytest.mark.parametrize("key", KEYS)
def test_key_and_field_are_each_others_inverse(key: str) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", key)
    assert key_of(field_of(key)) == key


def test_flat_settings_are_scalars_in_kebab_case() -> None:
    flat = RunConfig(attack=("forge:1", "nan:2")).as_flat()
    assert list(flat) == KEYS
    assert flat["attack"] == "forge:1,nan:2"
    assert flat["num-rounds"] == 5
    assert all(type(value) in (bool, int, float, str) for value in flat.values())


def test_toml_is_one_key_a_line() -> None:
    lines = RunConfig(learning_rate=1e-5, signatures=False, data_dir='a "b" \\ c').to_toml().splitlines()
    assert len(lines) == len(KEYS)
    assert "learning-rate = 1e-05" in lines
    assert "signatures = false" in lines
    assert r'data-dir = "a \"b\" \\ c"' in lines


settings = st.fixed_dictionaries(
    {},
    optional={
        "dataset": st.text(min_size=1).filter(str.strip),
        "data_dir": st.text(),
        "key_dir": st.text(),
        "num_rounds": st.integers(1, 2**63 - 1),
        "alpha": st.floats(min_value=0, exclude_min=True, max_value=2.0**62),
        "weight_decay": st.floats(min_value=0, max_value=2.0**62),
        "signatures": st.booleans(),
        "seed": st.integers(0, 2**32 - 1),
        "attack": st.lists(st.sampled_from([f"{name}:1" for name in ATTACKS]), max_size=3).map(tuple),
    },
)


@given(settings)
def test_any_settings_survive_toml(values: dict[str, Any]) -> None:
    config = RunConfig(**values)
    assert from_mapping(tomllib.loads(config.to_toml()), where="config.toml") == config


@given(settings)
def test_any_settings_survive_flowers_run_config(values: dict[str, Any]) -> None:
    config = RunConfig(**values)
    assert from_mapping(config.as_flat(), where="run config") == config


@pytest.mark.parametrize(
    "text", ['"', "\\", "\n\r\t", "\0\x1b\x7f", "é世🌍", "\u2028\ufeff", "'''", '"""', "# no comment", "[run]"]
)
def test_odd_texts_survive_toml(text: str) -> None:
    config = RunConfig(data_dir=text)
    assert from_mapping(tomllib.loads(config.to_toml()), where="config.toml").data_dir == text


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("num-round", "num-rounds"),
        ("num_rounds", "num-rounds"),
        ("epochs", "local-epochs"),
        ("learnig-rate", "learning-rate"),
        ("Alpha", "alpha"),
    ],
)
def test_unknown_key_is_an_error_that_suggests_the_nearest(key: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping({key: 1}, where="my.toml")
    assert str(caught.value) == f"unknown key {key!r} in my.toml; did you mean {near}?"


@pytest.mark.parametrize("key", ["", "zzzzzz", "__class__", "as-flat", "to-toml"])
def test_unknown_key_like_no_other_is_an_error_too(key: str) -> None:
    with pytest.raises(ConfigError, match=r"^unknown key .* in my\.toml"):
        from_mapping({key: 1}, where="my.toml")


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("num-rounds", 2.0, "a whole number"),
        ("num-rounds", True, "a whole number"),
        ("num-rounds", "5", "a whole number"),
        ("alpha", "0.5", "a number"),
        ("alpha", True, "a number"),
        ("alpha", 10**400, "a number"),
        ("signatures", 1, "true or false"),
        ("dataset", 5, "text"),
        ("dataset", ["mnist"], "text"),
        ("attack", 5, "a list of texts"),
        ("attack", ["forge:1", 2], "a list of texts"),
        ("num-rounds", {"a": 1}, "a whole number"),
    ],
)
def test_value_of_another_type_in_a_file_names_the_file(key: str, value: object, wanted: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} in my\.toml must be {wanted}, got "):
        from_mapping({key: value}, where="my.toml")


def test_settings_are_laid_over_a_base_and_leave_it_alone() -> None:
    base = RunConfig(num_rounds=7, alpha=0.1)
    changed = from_mapping({"alpha": 2}, where="options", base=base)
    assert changed == replace(base, alpha=2.0)
    assert base.alpha == 0.1


def test_toml_may_be_flat_or_under_run(tmp_path: Path) -> None:
    flat, nested = tmp_path / "flat.toml", tmp_path / "nested.toml"
    flat.write_text("num-rounds = 9\n", encoding="utf-8")
    nested.write_text("[run]\nnum-rounds = 9\n", encoding="utf-8")
    assert load_toml(flat) == load_toml(nested) == {"num-rounds": 9}


def test_a_run_that_is_no_table_is_an_unknown_key(tmp_path: Path) -> None:
    path = tmp_path / "odd.toml"
    path.write_text("run = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key 'run'"):
        from_mapping(load_toml(path), where="odd.toml")


@pytest.mark.parametrize(
    "content",
    [b"num-rounds = ", b"a = 1\na = 2", b"\xff\xfe", b"a = " + b"9" * 5000, b"a = " + b"[" * 100_000, b"\0"],
    ids=["cut short", "twice", "not text", "5,000 digits", "brackets without end", "NUL"],
)
def test_a_file_that_is_not_toml_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^config file {re.escape(str(path))} "):
        load_toml(path)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml cannot be read: No such file or directory; give an existing"):
        load_toml(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_toml(tmp_path)


def test_environment_gives_typed_settings_and_leaves_other_names_alone() -> None:
    environment = {
        "CONSTELLATION_NUM_ROUNDS": "10",
        "CONSTELLATION_ALPHA": "0.25",
        "CONSTELLATION_SIGNATURES": "off",
        "CONSTELLATION_ATTACK": "forge:1,nan:1",
        "CONSTELLATION_MODEL": "mlp",
        "CONSTELLATION_SOMETHING_ELSE": "x",
        "NUM_CLIENTS": "77",
        "HOME": "/nowhere",
    }
    found = from_environment(environment)
    assert found == {
        "num-rounds": 10,
        "alpha": 0.25,
        "signatures": False,
        "attack": ("forge:1", "nan:1"),
        "model": "mlp",
    }
    assert from_mapping(found, where="environment").attack == ("forge:1", "nan:1")


def test_environment_with_a_bad_value_names_the_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment({"CONSTELLATION_NUM_ROUNDS": "ten"})
    assert str(caught.value) == (
        "environment variable CONSTELLATION_NUM_ROUNDS: num-rounds must be a whole number, got 'ten'"
    )


@pytest.mark.parametrize("word", ["true", "TRUE", " yes ", "1", "on"])
def test_words_for_true(word: str) -> None:
    assert parse_setting("signatures", word) is True


@pytest.mark.parametrize("word", ["false", "False", "no", "0", " off"])
def test_words_for_false(word: str) -> None:
    assert parse_setting("signatures", word) is False


@pytest.mark.parametrize(
    ("key", "text"), [("signatures", "maybe"), ("signatures", ""), ("num-rounds", "1.5"), ("alpha", "a"), ("alpha", "")]
)
def test_text_that_is_not_of_its_type_is_refused(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} must be "):
        parse_setting(key, text)


def test_text_for_an_unknown_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean batch-size"):
        parse_setting("batchsize", "3")


def test_settings_outside_the_usual_ranges_are_named() -> None:
    assert unusual_settings(RunConfig()) == []
    odd = RunConfig(local_epochs=11, batch_size=8, learning_rate=0.5, num_rounds=101)
    assert unusual_settings(odd) == [
        "local-epochs 11 is outside the usual range 1-10",
        "batch-size 8 is outside the usual range 16-128",
        "learning-rate 0.5 is outside the usual range 0.001-0.1",
        "num-rounds 101 is outside the usual range 1-100",
    ]
    edge = RunConfig(local_epochs=10, batch_size=128, learning_rate=0.001, num_rounds=100)
    assert unusual_settings(edge) == []
