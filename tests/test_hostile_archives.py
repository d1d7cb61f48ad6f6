"""Archives and records of downloads by others: what reaches out, grows, or is damaged."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tried import row

from unisim_metrics.benchmark import load_dataset
from unisim_metrics.benchmark.data import unpacking as unpacking_module
from unisim_metrics.benchmark.data.downloads import plan_download
from unisim_metrics.benchmark.data.unpacking import ArchiveError, unpack


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def member(
    name: str, link: str = "", kind: bytes = tarfile.REGTYPE, content: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, content


@row(
    "An archive with `../`, absolute names, drive letters, backslashes, devices, or links that leave it or run in a"
    " circle",
    "is refused; nothing outside the set's own folder is written, and links are never made",
)
def test_archives_that_reach_out(tmp_path: Path) -> None:
    root = tmp_path / "inside" / "root"
    members = [
        member("../x"),
        member("/x"),
        member("set/../../x"),
        member("set/..\\x"),
        member("C:/x"),
        member("set/up", "../../x", tarfile.SYMTYPE),
        member("set/up", "/etc/passwd", tarfile.LNKTYPE),
        member("set/a", "a", tarfile.SYMTYPE),
        member("set/dev", "", tarfile.CHRTYPE),
        member("other/../../set/x"),
    ]
    for each in members:
        with pytest.raises(ArchiveError):
            unpack(tar_of(tmp_path / "set.tar.gz", each), root, folders={"set"})
    for name in ("../x", "/x", "set/../../x", "C:/x"):
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            archive.writestr(name, b"x")
        with pytest.raises(ArchiveError):
            unpack(tmp_path / "set.zip", root, folders={"set"})
    assert not [path for path in (tmp_path / "inside").rglob("*") if path.is_file() or path.is_symlink()]


@row(
    "An archive that grows to more than 50 times its size (and 1 GiB), in bytes or in files",
    "is refused at that point",
)
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "many"])
def test_archives_that_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(unpacking_module, "_ALWAYS_ALLOWED", 1 << 20)
    zeros = b"\x00" * (16 << 20)
    if kind == "zip":
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("set/a", zeros)
    elif kind == "tar.gz":
        path = tar_of(tmp_path / "set.tar.gz", member("set/a", content=zeros))
    else:
        path = tar_of(tmp_path / "set.tar.gz", *(member(f"set/{number}") for number in range(2000)))
    with pytest.raises(ArchiveError, match="more than 50 times its own size"):
        unpack(path, tmp_path / "root")
    files = [file for file in (tmp_path / "root").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 4 << 20 and len(files) < 600


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), kind=st.sampled_from(["zip", "tar.gz", "tar"]))
def test_any_damage_to_an_archive_is_told(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    path = tmp_path / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("set/a", b"abc" * 100)
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as tar:
            info = tarfile.TarInfo("set/a")
            info.size = 300
            tar.addfile(info, io.BytesIO(b"abc" * 100))
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, min(len(whole), 600) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole))
    try:
        unpack(path, tmp_path / "root")
    except (ArchiveError, OSError) as error:
        assert "set" in str(error)


def test_a_place_before_the_beginning_is_told(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/a", b"abc")
    whole = bytearray(path.read_bytes())
    # The end record's offset of the directory is put higher than it is: members then begin before the file does.
    place = whole.rindex(b"PK\x05\x06") + 16
    whole[place] += 40
    path.write_bytes(bytes(whole))
    with pytest.raises(ArchiveError, match=r"set\.zip is damaged"):
        unpack(path, tmp_path / "root")


@row("A damaged or strange `.unisim/hub.json`", "is an error that names it; nothing is fetched")
@pytest.mark.parametrize(
    "content", ["[1]", '{"a": 1}', '{"a": {"revision": 3, "files": {}}}', "{", "[" * 100_000]
)
def test_strange_records_of_downloads(tmp_path: Path, content: str) -> None:
    path = tmp_path / ".unisim" / "hub.json"
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"hub\.json is damaged"):
        plan_download(load_dataset("nights", tmp_path))
