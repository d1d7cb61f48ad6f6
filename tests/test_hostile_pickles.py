"""Pickles of others: plain data is read as `pickle` reads it, all else is refused and nothing is called."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tried import row

from unisim_metrics.benchmark.datasets.annotations import AnnotationError
from unisim_metrics.benchmark.datasets.pickles import read_pickle


class Call:
    """Is unpickled by a call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def refuse(folder: Path, content: bytes, message: str = "expected a pickle of plain data") -> None:
    path = folder / "gnd.pkl"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        read_pickle(path)


@row("A pickle that names a function (`os.system`, `builtins.eval`)", "is refused; nothing is called")
def test_pickles_that_call(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for function, argument in ((os.system, f"touch {marker}"), (eval, f"open({str(marker)!r}, 'w')")):
        refuse(
            tmp_path, pickle.dumps({"gnd": Call(function, argument)}), "has no place in a file of plain data"
        )
    assert not marker.exists()


@row(
    "A pickle whose array is described by crafted element types, shapes or strides",
    "is refused: arrays of plain numbers and texts alone are built, by functions of this package",
)
def test_pickles_with_crafted_arrays(tmp_path: Path) -> None:
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    crafted = Call(np.dtype, "V8", False, True, state=(3, "|", None, None, None, 8, 1, 63))
    state = (1, (1,), np.dtype("u1"), False, b"\x00" * 9)
    for value in (
        np.array([{}, []], dtype=object),
        np.zeros(2, dtype=[("a", "i4"), ("b", "O")]),
        Call(np.ndarray, (1 << 40,)),
        Call(np.ndarray, (4,), "u1", b"ab", 0, (1 << 30,)),
        Call(multiarray._reconstruct, np.ndarray, (0,), b"b", state=(1, (1,), crafted, False, b"\x01" * 8)),
        Call(multiarray._reconstruct, np.ndarray, (0,), b"b", state=state),
        Call(multiarray._reconstruct, np.ndarray, (1 << 40,), b"b"),
        np.dtype("f8"),
        np.ndarray,
    ):
        refuse(tmp_path, pickle.dumps(value))


@row(
    "A pickle that claims billions of entries, or nests containers",
    "is refused, or read in the memory of its own size",
)
def test_pickles_that_claim_much(tmp_path: Path) -> None:
    (tmp_path / "memo.pkl").write_bytes(
        b"\x80\x04]r\xff\xff\xff\xff."
    )  # a memo of four thousand million entries
    assert read_pickle(tmp_path / "memo.pkl") == []
    refuse(tmp_path, b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"a.")
    refuse(tmp_path, b"]" * 5000 + b"a" * 4999 + b".", "more than 10 deep")
    laughs: list[Any] = ["ha"]
    for _ in range(9):
        laughs = [laughs] * 1000
    (tmp_path / "laughs.pkl").write_bytes(pickle.dumps(laughs))
    assert len(read_pickle(tmp_path / "laughs.pkl")) == 1000


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damage_to_a_pickle_is_told(tmp_path: Path, data: st.DataObject) -> None:
    content = {
        "gnd": [{"bbx": [1.5, 2.0], "easy": np.arange(5), "junk": np.array(["a"])}],
        "imlist": ["a", "b"],
    }
    whole = bytearray(pickle.dumps(content, protocol=data.draw(st.sampled_from([0, 2, 3, 5]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "any.pkl"
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        read_pickle(path)
    except AnnotationError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_plain_pickles_are_read_as_pickle_reads_them(tmp_path: Path, protocol: int) -> None:
    content = {
        "a": [np.arange(6).reshape(2, 3).astype(kind) for kind in ("u1", "<i8", ">i4", "f4", ">f8", "b1")],
        "b": (np.float64(0.5), np.int64(-3), b"\x00\xff", "é", None, True),
        "c": [np.array(["ab", "日"]), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.zeros((0, 4))],
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(tmp_path / "a.pkl")
    assert found["b"] == content["b"]
    for key in "ac":
        for read, written in zip(found[key], content[key], strict=True):
            assert read.dtype == written.dtype
            np.testing.assert_array_equal(read, written)
