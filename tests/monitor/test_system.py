import subprocess
import sys
from pathlib import Path

from monitor.system import environment


def test_the_machine_and_the_versions_are_described() -> None:
    found = environment()
    assert found["Python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert {"flwr", "torch", "Operating system", "Processor", "Cores", "Memory"} <= set(found)
    assert all(found.values())


def test_describing_the_machine_imports_neither_torch_nor_flower() -> None:
    program = (
        "import sys; from monitor.system import environment; environment(); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'flwr', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False).returncode == 0
