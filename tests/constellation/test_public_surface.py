"""What `import constellation` gives, and what it costs."""

import subprocess
import sys
import typing

import pytest

import constellation


def test_the_public_names_are_these() -> None:
    assert constellation.__all__ == [
        "ConstellationError",
        "CustomFedAvgStrategy",
        "Dataset",
        "RunConfig",
        "RunResult",
        "run",
    ]


def test_each_name_is_the_object_of_its_home() -> None:
    from app.results import RunResult as HomeResult
    from app.strategies.custom_fedavg import CustomFedAvgStrategy as HomeStrategy
    from constellation import ConstellationError, CustomFedAvgStrategy, Dataset, RunConfig, RunResult, run
    from constellation.training import run as home_run
    from shared.config import RunConfig as HomeConfig
    from shared.datasets.dataset import Dataset as HomeDataset
    from shared.errors import ConstellationError as HomeError

    assert (CustomFedAvgStrategy, Dataset) == (HomeStrategy, HomeDataset)
    assert (ConstellationError, RunConfig, RunResult, run) == (HomeError, HomeConfig, HomeResult, home_run)


def test_run_takes_settings_and_returns_results() -> None:
    hints = typing.get_type_hints(constellation.run)
    assert hints["config"] == constellation.RunConfig | None
    assert hints["return"] is constellation.RunResult


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = constellation.walk  # type: ignore[attr-defined]


def test_tab_completion_finds_the_names() -> None:
    assert set(constellation.__all__) <= set(dir(constellation))


@pytest.mark.parametrize("module", ["constellation", "constellation.cli"])
def test_importing_loads_neither_torch_nor_flower(module: str) -> None:
    script = f"import sys, {module}; print(sorted({{'torch', 'flwr', 'numpy', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# As in a notebook: no file, no `if __name__ == "__main__"`, streams that are no files, other threads alive, torch used
# before, several runs.
NOTEBOOK = """
import io, sys, threading, torch
class Cell(io.TextIOBase):
    def write(self, text):
        return sys.__stdout__.write(text)
sys.stdout = sys.stderr = Cell()
from constellation import run, RunConfig
done = threading.Event()
threading.Thread(target=done.wait, daemon=True).start()
torch.set_num_threads(2)
torch.randn(400, 400) @ torch.randn(400, 400)
config = RunConfig(num_clients=2, num_rounds=1, local_steps=2, model="linear", output={output!r}, key_dir={keys!r})
first, second = run(config), run(config)
print(first.state, second.state, first.rounds_completed, first.loss == second.loss, torch.get_num_threads())
done.set()
"""


@pytest.mark.e2e
def test_it_works_in_a_notebook(tmp_path: object, key_dir: object) -> None:
    script = NOTEBOOK.format(output=f"{tmp_path}/runs", keys=str(key_dir))
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.split(), done.stderr) == (["completed", "completed", "1", "True", "2"], "")
