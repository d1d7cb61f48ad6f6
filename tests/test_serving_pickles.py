"""Pickled requests: plain data is read as `pickle` reads it, and nothing else is built or called."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unisim_metrics.integrations.serving.pickles import read_request

GOOD = {"images": [b"\xff\xd8", b"\x00" * 300, b"x" * 70_000], "prompts": ["a", "é", ""], "metadata": {}}


class Call:
    """Is unpickled by a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_trainers_send_is_read(protocol: int) -> None:
    found = read_request(pickle.dumps(GOOD, protocol=protocol))
    assert (found.images, found.prompts, found.references) == (GOOD["images"], GOOD["prompts"], None)
    plain = {
        "images": [b"a"],
        "references": [b"b"],
        "metadata": [{"n": 2**80, "x": 0.5, "y": True, "z": None}],
    }
    found = read_request(pickle.dumps(plain, protocol=protocol))
    assert (found.images, found.prompts, found.references) == ([b"a"], None, [b"b"])


def test_nothing_is_called(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for function, argument in ((os.system, f"touch {marker}"), (eval, f"open({str(marker)!r}, 'w')")):
        for protocol in range(6):
            with pytest.raises(ValueError, match="bytes, str, numbers, lists and dicts alone"):
                read_request(pickle.dumps({"images": [Call(function, argument)]}, protocol=protocol))
    with pytest.raises(ValueError, match="GLOBAL"):
        read_request(b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    assert not marker.exists()


@pytest.mark.parametrize(
    "value",
    [("a", "b"), {"a"}, frozenset("a"), bytearray(b"a"), np.array(["a"]), np.float32(1), Path("a"), 1j, Call],
    ids=lambda value: type(value).__name__,
)
def test_no_other_type_is_known(value: Any) -> None:
    with pytest.raises(ValueError, match=r"prompts\.tolist\(\)"):
        read_request(pickle.dumps({"images": [b"a"], "prompts": value}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([b"a"], "a pickled dict with `images`, but got list"),
        ({"image": [b"a"]}, r"but got a dict with \['image'\]"),
        ({"images": None}, "`images` must be a list of encoded images"),
        ({"images": b"a"}, "`images` must be a list of bytes, but got bytes"),
        ({"images": [b"a", "b"]}, r"`images\[1\]` must be bytes, but got str"),
        ({"images": [b"a"], "prompts": [b"a"]}, r"`prompts\[0\]` must be str, but got bytes"),
        ({"images": [b"a"], "only_strict": True}, "'only_strict'"),
    ],
)
def test_other_data_are_told(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_request(pickle.dumps(content))


def test_pickles_that_claim_much() -> None:
    holds_itself: list[Any] = [b"a"]
    holds_itself.append(holds_itself)
    with pytest.raises(ValueError, match=r"`images\[1\]` must be bytes, but got list"):
        read_request(pickle.dumps({"images": holds_itself}))
    for hostile in (
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"a.",
        b"\x80\x04]r\xff\xff\xff\xff.",
        b"]" * 5000 + b"a" * 4999 + b".",
        b"\x80\x04(" + b"]" * 1_000_000 + b"l.",
        b"\x80\x04" + b"}" * 300_000 + b".",
    ):
        with pytest.raises(ValueError, match="The body must be"):
            read_request(hostile)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_damage_is_told(data: st.DataObject) -> None:
    whole = bytearray(
        pickle.dumps({"images": [b"ab", b"c"], "prompts": ["a", "b"], "metadata": {"n": [1, 2.5]}})
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_request(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except ValueError as error:
        assert str(error)
    else:
        assert all(type(image) is bytes for image in found.images)
