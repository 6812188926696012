"""The command's options, and when it leaves the work to Flower's own SuperNode."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from client.supernode import command, flwr_compat, stock
from shared.errors import ConfigError


class Became(Exception):
    """Stands for the process that would have been replaced."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> None:
    def become(arguments: list[str]) -> None:
        raise Became(*arguments)

    monkeypatch.setattr(stock, "become_stock", become)


def test_stock_is_started_where_it_is_asked_for(became: None) -> None:
    given = ["--stock-supernode", "--superlink", "there:9", "--insecure", "--node-config", "partition-id=0"]
    with pytest.raises(Became) as caught:
        command.main(given)
    options = ("--superlink", "there:9", "--host", "127.0.0.1", "--port", "9094", "--insecure")
    assert caught.value.args == (*options, "--node-config", "partition-id=0")


def test_stock_is_started_with_a_warning_where_flower_is_not_the_tested_one(
    became: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flwr_compat, "installed_version", lambda: "1.42.0")
    with pytest.raises(Became):
        command.main(["--insecure", "--root-certificates", "ca.pem"])
    assert "Flower 1.42.0 is not the tested 1.41; starting Flower's own SuperNode" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_the_installed_flower_is_the_tested_one() -> None:
    assert flwr_compat.is_tested(flwr_compat.installed_version())


@pytest.mark.parametrize(
    ("version", "is_tested"), [("1.41.0", True), ("1.41", True), ("1.410.0", False), ("1.4", False)]
)
def test_a_version_is_judged_by_its_series(version: str, is_tested: bool) -> None:
    assert flwr_compat.is_tested(version) is is_tested


def test_stock_does_not_pretend_to_run_only_the_installed_app() -> None:
    with pytest.raises(ConfigError, match="app is for the resident SuperNode"):
        command.stock_arguments(command.parser().parse_args(["--app", "client.client_app:app"]))


def test_the_stock_command_is_this_environments() -> None:
    assert Path(stock.stock_command([])[0]).exists()


@pytest.mark.parametrize(
    "options", [["--node-config", "partition-id"], ["--root-certificates", "/does/not/exist"], ["--app", "nowhere:app"]]
)
def test_bad_options_are_one_sentence_and_exit_code_two(
    options: list[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert command.main([*options, "--state-dir", str(tmp_path)]) == 2
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
