"""MNIST and its like from a folder in torchvision's layout, and what happens without a network."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from shared.config import RunConfig
from shared.datasets import torchvision_sets
from shared.datasets.catalog import load_dataset
from shared.datasets.dataset import Dataset
from shared.datasets.mnist_sample import load_mnist_sample
from shared.datasets.torchvision_sets import data_folder, load_cifar10, load_fashion_mnist, load_mnist
from shared.errors import DatasetError

NUM_TRAIN, NUM_TEST = 30, 10


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Some of the packaged digits, under torchvision's names."""
    data = load_mnist_sample(RunConfig())
    return {
        "train-images-idx3-ubyte": idx(data.train_inputs[:NUM_TRAIN, 0].numpy()),
        "train-labels-idx1-ubyte": idx(data.train_labels[:NUM_TRAIN].numpy()),
        "t10k-images-idx3-ubyte": idx(data.test_inputs[:NUM_TEST, 0].numpy()),
        "t10k-labels-idx1-ubyte": idx(data.test_labels[:NUM_TEST].numpy()),
    }


def lay_out(root: Path, files: dict[str, bytes], *, folder: str = "MNIST", zipped: bool = False) -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for name, body in files.items():
        (raw / f"{name}.gz" if zipped else raw / name).write_bytes(gzip.compress(body) if zipped else body)
    return raw


class NoNetwork:
    """Refuses every address, as a machine without a network does."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @contextmanager
    def __call__(self, url: str) -> Iterator[io.BytesIO]:
        self.asked.append(url)
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))
        yield io.BytesIO()


class Body(io.BytesIO):
    """A response: bytes that know their length, and may break off."""

    def __init__(self, body: bytes, *, breaks_after: int | None = None) -> None:
        super().__init__(body)
        self.length: int | None = len(body)
        self._left = breaks_after

    def read(self, size: int | None = -1, /) -> bytes:
        if self._left is None:
            return super().read(size)
        if self._left == 0:
            raise ConnectionResetError(104, "Connection reset by peer")
        body = super().read(min(self._left, size or self._left))
        self._left -= len(body)
        return body


class Mirror:
    """Serves bodies by file name."""

    def __init__(self, bodies: dict[str, Callable[[], Body]]) -> None:
        self.bodies = bodies
        self.asked: list[str] = []

    @contextmanager
    def __call__(self, url: str) -> Iterator[Body]:
        self.asked.append(url)
        name = url.rsplit("/", 1)[1]
        if name not in self.bodies:
            raise urllib.error.HTTPError(url, 404, "Not Found", None, None)  # type: ignore[arg-type]
        yield self.bodies[name]()


def serve_mnist(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> Mirror:
    """Make a mirror of small files, and torchvision's checksums fit them."""
    zipped = {f"{name}.gz": gzip.compress(body) for name, body in files.items()}
    resources = [(name, hashlib.md5(body).hexdigest()) for name, body in zipped.items()]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    return Mirror({name: (lambda body=body: Body(body)) for name, body in zipped.items()})


def assert_is_the_sample(data: Dataset) -> None:
    sample = load_mnist_sample(RunConfig())
    assert torch.equal(data.train_inputs, sample.train_inputs[:NUM_TRAIN])
    assert torch.equal(data.train_labels, sample.train_labels[:NUM_TRAIN])
    assert torch.equal(data.test_inputs, sample.test_inputs[:NUM_TEST])
    assert torch.equal(data.test_labels, sample.test_labels[:NUM_TEST])


def names_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_read_from_the_data_folder_without_a_network(
    tmp_path: Path, files: dict[str, bytes], zipped: bool
) -> None:
    lay_out(tmp_path, files, zipped=zipped)
    before = names_below(tmp_path)
    network = NoNetwork()
    assert_is_the_sample(load_mnist(RunConfig(data_dir=str(tmp_path)), network))
    assert network.asked == []
    assert names_below(tmp_path) == before, "reading writes nothing"


def test_torchvision_reads_the_same_layout(tmp_path: Path, files: dict[str, bytes]) -> None:
    """The independent reader of these files is torchvision itself."""
    lay_out(tmp_path, files)
    theirs = torchvision.datasets.MNIST(str(tmp_path), train=True)
    ours = load_mnist(RunConfig(data_dir=str(tmp_path)))
    assert torch.equal(ours.train_inputs[:, 0], theirs.data)
    assert torch.equal(ours.train_labels, theirs.targets)


def test_fashion_mnist_has_its_own_folder_and_names(tmp_path: Path, files: dict[str, bytes]) -> None:
    lay_out(tmp_path, files, folder="FashionMNIST")
    data = load_dataset(RunConfig(dataset="fashion-mnist", data_dir=str(tmp_path)))
    assert isinstance(data, Dataset)
    assert data.class_names == tuple(torchvision.datasets.FashionMNIST.classes)


@pytest.mark.parametrize("load", [load_mnist, load_fashion_mnist, load_cifar10])
def test_without_a_network_one_sentence_names_the_way_out(tmp_path: Path, load: Callable[..., Dataset]) -> None:
    folder = tmp_path / "data"
    network = NoNetwork()
    with pytest.raises(DatasetError) as caught:
        load(RunConfig(data_dir=str(folder)), network)
    text = str(caught.value)
    assert network.asked, "the network was tried"
    for part in (f"is not in {folder}", "Name or service not known", "--data-dir DIR", "--dataset mnist-sample"):
        assert part in text
    assert "\n" not in text
    assert not folder.exists(), "nothing is written"


def test_what_lacks_is_downloaded_into_the_data_folder(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = serve_mnist(monkeypatch, files)
    config = RunConfig(data_dir=str(tmp_path))
    assert_is_the_sample(load_mnist(config, mirror))
    assert names_below(tmp_path) == sorted(f"{name}.gz" for name in files)
    printed = capsys.readouterr()
    assert printed.out == "", "the progress bar must not spoil --json"
    assert "train-images-idx3-ubyte.gz" in printed.err

    network = NoNetwork()
    assert_is_the_sample(load_mnist(config, network))
    assert network.asked == [], "the second run reads what the first one stored"


def test_only_the_missing_file_is_downloaded(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve_mnist(monkeypatch, files)
    raw = lay_out(tmp_path, files)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    assert_is_the_sample(load_mnist(RunConfig(data_dir=str(tmp_path)), mirror))
    assert [url.rsplit("/", 1)[1] for url in mirror.asked] == ["t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("breaks_after", [0, 1, 500])
def test_an_interrupted_download_leaves_nothing_that_looks_whole(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, breaks_after: int
) -> None:
    mirror = serve_mnist(monkeypatch, files)
    name = "t10k-images-idx3-ubyte.gz"
    whole = mirror.bodies[name]
    mirror.bodies[name] = lambda: Body(gzip.compress(files[name[:-3]]), breaks_after=breaks_after)
    config = RunConfig(data_dir=str(tmp_path))
    with pytest.raises(DatasetError, match=f"{name} cannot be downloaded .*Connection reset by peer"):
        load_mnist(config, mirror)
    assert name not in names_below(tmp_path)
    assert not [left for left in names_below(tmp_path) if left.startswith(".part")]

    mirror.bodies[name] = whole
    assert_is_the_sample(load_mnist(config, mirror))


def test_ctrl_c_in_a_download_leaves_no_part_file(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve_mnist(monkeypatch, files)

    class Interrupted(Body):
        def read(self, size: int | None = -1, /) -> bytes:
            raise KeyboardInterrupt

    mirror.bodies = {name: lambda: Interrupted(b"x") for name in mirror.bodies}
    with pytest.raises(KeyboardInterrupt):
        load_mnist(RunConfig(data_dir=str(tmp_path)), mirror)
    assert names_below(tmp_path) == []


def test_a_mirror_that_serves_something_else_is_refused_and_the_next_is_tried(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve_mnist(monkeypatch, files)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["https://mallory.example/", "https://honest.example/"])

    @contextmanager
    def opener(url: str) -> Iterator[Body]:
        if "mallory" in url:
            yield Body(b"<html>log in to this wifi</html>")
        else:
            with mirror(url) as response:
                yield response

    assert_is_the_sample(load_mnist(RunConfig(data_dir=str(tmp_path)), opener))
    mirror.bodies.clear()
    with pytest.raises(DatasetError, match=r"mallory\.example: wrong checksum .* honest\.example: HTTP 404"):
        load_mnist(RunConfig(data_dir=str(tmp_path / "other")), opener)


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve_mnist(monkeypatch, files)
    (tmp_path / "MNIST").write_text("a file where a folder should be")
    with pytest.raises(DatasetError, match=r"MNIST/raw cannot be written .*--data-dir"):
        load_mnist(RunConfig(data_dir=str(tmp_path)), mirror)


def test_a_damaged_file_is_named_and_not_replaced_silently(tmp_path: Path, files: dict[str, bytes]) -> None:
    cut = {**files, "train-images-idx3-ubyte": files["train-images-idx3-ubyte"][:-1]}
    lay_out(tmp_path, cut)
    with pytest.raises(DatasetError, match="train-images-idx3-ubyte is damaged"):
        load_mnist(RunConfig(data_dir=str(tmp_path)), NoNetwork())


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    lay_out(tmp_path, {**files, "train-labels-idx1-ubyte": files["t10k-labels-idx1-ubyte"]})
    with pytest.raises(DatasetError, match="one input a label"):
        load_mnist(RunConfig(data_dir=str(tmp_path)), NoNetwork())


def test_the_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torchvision_sets.platformdirs, "user_cache_path", lambda app: tmp_path / app)
    assert data_folder(RunConfig()) == tmp_path / "constellation-fl" / "datasets"
    assert data_folder(RunConfig(data_dir="~/data")) == Path.home() / "data"


# CIFAR-10: the published files are Python pickles, which torchvision reads after checking their MD5. These are written
# by hand in that format's text form: "(d" a dict, "S" a string, "(l" a list, "I" a number, "a" append, "s" set.


def batch(rows: list[list[int]], labels: list[int]) -> bytes:
    return (
        f"(dS'data'\n{_list(map(_list, rows))}sS'labels'\n{_list(f'I{label}{chr(10)}' for label in labels)}s.".encode()
    )


def _list(items: object) -> str:
    cells = [f"I{item}\n" if isinstance(item, int) else str(item) for item in items]  # type: ignore[attr-defined]
    return "(l" + "".join(f"{cell}a" for cell in cells)


def pixel_rows(first: int) -> list[list[int]]:
    """Two images whose red, green and blue are constant: CIFAR keeps a colour's 1,024 pixels together."""
    return [[(first + colour) for colour in range(3) for _ in range(1_024)], [0] * 3_072]


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small batches under the published names, and torchvision's checksums made to fit them."""
    made = {f"data_batch_{i}": batch(pixel_rows(10 * i), [i, 0]) for i in range(1, 6)}
    made["test_batch"] = batch(pixel_rows(90), [9, 8])
    made["batches.meta"] = f"(dS'label_names'\n{_list([f'S{json.dumps(n)}{chr(10)}' for n in 'ab'])}s.".encode()
    listed = [[name, hashlib.md5(body).hexdigest()] for name, body in made.items()]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", listed[:5])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", listed[5:6])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": listed[6][1]}
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "meta", meta)
    return made


def archive_of(made: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in {**made, "../../escaped": b"x"}.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def assert_is_the_made_cifar(data: Dataset) -> None:
    assert data.train_inputs.shape == (10, 3, 32, 32)
    assert data.train_inputs[2, :, 5, 6].tolist() == [20, 21, 22], (
        "(red, green, blue) of the second batch's first image"
    )
    assert data.train_labels.tolist() == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    assert data.test_inputs[0, :, 0, 0].tolist() == [90, 91, 92]
    assert data.test_labels.tolist() == [9, 8]
    assert data.num_classes == 10


def test_cifar10_is_read_from_the_extracted_folder(tmp_path: Path, cifar: dict[str, bytes]) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, body in cifar.items():
        (folder / name).write_bytes(body)
    network = NoNetwork()
    assert_is_the_made_cifar(load_cifar10(RunConfig(data_dir=str(tmp_path)), network))
    assert network.asked == []


def test_cifar10_is_downloaded_extracted_and_kept(
    tmp_path: Path, cifar: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = archive_of(cifar)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", hashlib.md5(body).hexdigest())
    config = RunConfig(data_dir=str(tmp_path / "deep" / "data"))
    assert_is_the_made_cifar(load_cifar10(config, Mirror({"cifar-10-python.tar.gz": lambda: Body(body)})))
    assert_is_the_made_cifar(load_cifar10(config, NoNetwork()))
    assert "escaped" not in names_below(tmp_path), "an archive's own paths are never followed"


def test_a_cut_archive_and_a_changed_batch_are_fetched_again_not_read(
    tmp_path: Path, cifar: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = archive_of(cifar)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", hashlib.md5(body).hexdigest())
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(body[:-5])
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"cos\nabort\n(tR.")  # would end the process if it were unpickled
    with pytest.raises(DatasetError, match=r"cifar10 is not in .* and cifar-10-python\.tar\.gz cannot be downloaded"):
        load_cifar10(RunConfig(data_dir=str(tmp_path)), NoNetwork())
    mirror = Mirror({"cifar-10-python.tar.gz": lambda: Body(body)})
    assert_is_the_made_cifar(load_cifar10(RunConfig(data_dir=str(tmp_path)), mirror))
