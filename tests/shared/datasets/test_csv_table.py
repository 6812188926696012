"""A person's own table."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import RunConfig
from shared.datasets.csv_table import load_csv
from shared.errors import DatasetError


def written(tmp_path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = tmp_path / "own.csv"
    path.write_text(text, encoding=encoding, newline="")
    return path


def ten_lines(header: str = "a,b,label", *, end: str = "\n") -> str:
    """``a`` is the line's number, ``b`` is constant, labels alternate."""
    return end.join([header, *(f"{i},5,{'yes' if i % 2 else 'no'}" for i in range(10))]) + end


def test_a_table_is_read_split_and_standardised(tmp_path: Path) -> None:
    data = load_csv(written(tmp_path, ten_lines()), RunConfig())
    assert (data.name, data.input_shape, data.class_names) == ("csv:own.csv", (1, 1, 2), ("no", "yes"))
    assert (data.train_labels.bincount().tolist(), data.test_labels.bincount().tolist()) == ([4, 4], [1, 1])
    train = data.train_inputs[:, 0, 0].numpy()
    np.testing.assert_allclose(train.mean(axis=0), [0, 0], atol=1e-6)
    np.testing.assert_allclose(train.std(axis=0), [1, 0], atol=1e-6)


def test_the_test_part_is_standardised_by_the_training_part(tmp_path: Path) -> None:
    """From the training lines' own mean and deviation, worked out from which lines are not in the test."""
    data = load_csv(written(tmp_path, ten_lines()), RunConfig())
    train, test = data.train_inputs[:, 0, 0, 0].double(), data.test_inputs[:, 0, 0, 0].double()
    # a = mean + deviation x input for all ten lines; evens are "no", odds are "yes", each ascending within its part.
    candidates = [(no, yes) for no in range(0, 10, 2) for yes in range(1, 10, 2)]

    def fits(no: int, yes: int) -> bool:
        rest = np.array([i for i in range(10) if i not in (no, yes)], dtype=float)
        return np.allclose(train, (rest - rest.mean()) / rest.std(), atol=1e-5) and np.allclose(
            test, (np.sort([no, yes]) - rest.mean()) / rest.std(), atol=1e-5
        )

    assert sum(fits(no, yes) for no, yes in candidates) == 1


@pytest.mark.parametrize(
    ("header", "rows", "names"),
    [
        ("label,a", "x,{i}", ("x", "z")),
        ("a,Target,b", "{i},x,1", ("x", "z")),
        ("a,b,kind", "{i},1,x", ("x", "z")),
        ("target,label,a", "1,x,{i}", ("x", "z")),
        ("a, label ,b", "{i},x,1", ("x", "z")),
    ],
)
def test_the_label_column_is_found(tmp_path: Path, header: str, rows: str, names: tuple[str, ...]) -> None:
    lines = [rows.format(i=i).replace("x", "x" if i % 2 else "z") for i in range(8)]
    assert load_csv(written(tmp_path, "\n".join([header, *lines])), RunConfig()).class_names == names


def test_whole_number_labels_are_ordered_by_value(tmp_path: Path) -> None:
    lines = [f"{i},{(2, 10, -1)[i % 3]}" for i in range(12)]
    assert load_csv(written(tmp_path, "\n".join(["a,label", *lines])), RunConfig()).class_names == ("-1", "2", "10")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_blank_lines_quotes_and_a_byte_order_mark_do_not_matter(tmp_path: Path, end: str) -> None:
    text = ten_lines('"a","b","label"', end=end).replace("7,5,yes", f'"7"," 5 ","yes"{end}')
    data = load_csv(written(tmp_path, text, encoding="utf-8-sig"), RunConfig())
    assert len(data.train_labels) + len(data.test_labels) == 10
    assert data.class_names == ("no", "yes")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("3,5,yes", "3,five,yes", r"line 5: column 'b' must be a finite number, got 'five'"),
        ("3,5,yes", "3,,yes", r"line 5: column 'b' must be a finite number, got ''"),
        ("3,5,yes", "3,nan,yes", r"line 5: column 'b' must be a finite number, got 'nan'"),
        ("3,5,yes", "3,1e39,yes", r"line 5: column 'b' must be a finite number, got '1e39'"),
        ("3,5,yes", "3,-inf,yes", r"line 5: column 'b' must be a finite number"),
        ("3,5,yes", "3,yes", r"line 5: 2 cells under 3 column names"),
        ("3,5,yes", "3,5,6,yes", r"line 5: 4 cells under 3 column names"),
        ("3,5,yes", "3,5, ", r"line 5: column 'label' has no label"),
        ("3,5,yes", '3,5,"yes', r"line \d+: unexpected end of data"),
        ("a,b,label", "label", "at least one feature column and a label column"),
        ("a,b,label", "1,2,3", "the first line holds numbers; it must name the columns"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = written(tmp_path, ten_lines().replace(old, new))
    with pytest.raises(DatasetError, match=sentence) as caught:
        load_csv(path, RunConfig())
    assert str(path) in str(caught.value)


def test_a_line_number_counts_lines_of_the_file_not_examples(tmp_path: Path) -> None:
    text = ten_lines().replace("2,5,no", "\n\n2,5,no").replace("3,5,yes", "3,five,yes")
    with pytest.raises(DatasetError, match="line 7: column 'b'"):
        load_csv(written(tmp_path, text), RunConfig())


def test_a_column_of_measurements_is_no_label(tmp_path: Path) -> None:
    lines = [f"{i},{i / 3}" for i in range(20)]
    with pytest.raises(DatasetError, match="column 'price' has 20 different labels in 20 lines"):
        load_csv(written(tmp_path, "\n".join(["a,price", *lines])), RunConfig())


@pytest.mark.parametrize(
    ("text", "sentence"), [("", "the first line must name"), ("a,label\n", "no line below its header")]
)
def test_an_empty_table_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        load_csv(written(tmp_path, text), RunConfig())


def test_a_missing_file_a_folder_and_other_encodings_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere cannot be read: No such file"):
        load_csv(tmp_path / "nowhere", RunConfig())
    with pytest.raises(DatasetError, match="cannot be read: Is a directory"):
        load_csv(tmp_path, RunConfig())
    with pytest.raises(DatasetError, match="is not UTF-8 text"):
        load_csv(written(tmp_path, ten_lines().replace("yes", "j\u00e4"), encoding="latin-1"), RunConfig())


@given(body=st.one_of(st.binary(max_size=200), st.text(alphabet='a,1"\n\r\0.-e ', max_size=200).map(str.encode)))
def test_hostile_bytes_never_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("csv") / "own.csv"
    path.write_bytes(body)
    with contextlib.suppress(DatasetError):
        load_csv(path, RunConfig())
