"""The benchmark's data: what is there, and what is fetched from a Hub on this machine."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmark_data import (
    write_agiqa,
    write_bapps,
    write_benchmark,
    write_cd_coco,
    write_hpdv2,
    write_image,
    write_imagereward,
    write_kadid,
    write_koniq,
    write_magicbrush,
    write_nights,
    write_pieapp,
    write_pipal,
    write_revisitop,
    write_sice,
)
from hub_server import Hub, point_client
from huggingface_hub import constants
from typer.testing import CliRunner

from unisim_metrics.benchmark import Dataset, hash_samples, list_datasets, load_dataset
from unisim_metrics.benchmark.data.downloads import DataUnavailableError, fetch, plan_download
from unisim_metrics.benchmark.data.unpacking import ArchiveError, archive_stem, unpack
from unisim_metrics.benchmark.datasets import hash_retrieval, registry
from unisim_metrics.benchmark.datasets.hub_files import AUTHORS_DATA, AUTHORS_REVISION, HubFiles
from unisim_metrics.cli.app import app


def unisim(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["bench", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def stated(*arguments: object) -> list[dict[str, Any]]:
    code, output, _ = unisim("data", "status", "--format", "json", *arguments)
    assert code == 0
    rows: list[dict[str, Any]] = json.loads(output)["results"]
    return rows


# What is there.


def test_status_of_all_sets(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert {row["state"] for row in stated("--root", tmp_path)} == {"missing"}
    write_benchmark(tmp_path)
    write_imagereward(tmp_path)
    rows = stated("--root", tmp_path)
    assert [row["dataset"] for row in rows] == list_datasets()
    assert {row["state"] for row in rows} == {"present"}
    assert {row["state"] for row in stated("--root", tmp_path, "--quick")} == {"present"}
    trained = stated("--root", tmp_path, "--split", "train")
    assert [row["dataset"] for row in trained] == list_datasets(trained=True)
    assert {row["state"] for row in trained} == {"present"}


def test_status_counts_the_images_that_are_missing(tmp_path: Path) -> None:
    write_nights(tmp_path)
    shown = load_dataset("nights", tmp_path).shown_images()
    gone = sorted(shown)[::3]
    for path in gone:
        path.unlink()
    (row,) = stated("--root", tmp_path, "-d", "nights")
    assert (row["state"], row["images"], row["missing_images"]) == ("incomplete", len(shown), len(gone))
    assert row["such_as"] == [path.relative_to(tmp_path).as_posix() for path in gone][:20]
    assert (row["missing"], row["problem"]) == ([], None)
    (quick,) = stated("--root", tmp_path, "-d", "nights", "--quick")
    assert (quick["state"], quick["images"]) == ("present", None)
    code, output, _ = unisim("data", "status", "--root", tmp_path, "-d", "nights")
    assert code == 0
    assert "unisim bench data get nights" in output
    assert f"{len(gone)} of {len(shown)} images" in " ".join(output.split())


def test_status_tells_how_to_get_a_set(tmp_path: Path) -> None:
    write_koniq(tmp_path)
    shutil.rmtree(tmp_path / "koniq10k/1024x768")
    rows = {row["dataset"]: row for row in stated("--root", tmp_path)}
    koniq = rows["koniq-10k"]
    assert (koniq["state"], koniq["missing"]) == ("incomplete", ["koniq10k/1024x768"])
    assert koniq["missing_images"] == koniq["images"] == 13
    assert (koniq["hub"], koniq["hub_files"], koniq["folder"]) == (AUTHORS_DATA, ["koniq10k.tar"], "koniq10k")
    cifar = rows["cifar-100-ooo"]
    assert (cifar["state"], cifar["hub"]) == ("missing", None)
    assert cifar["url"].startswith("https://")
    assert all(row["licence"] for row in rows.values())


def test_status_says_why_samples_cannot_be_listed(tmp_path: Path) -> None:
    write_kadid(tmp_path)
    (tmp_path / "kadid10k/dmos.csv").write_text("image,score\nI01_01_01.png,3\n")
    (row,) = stated("--root", tmp_path, "-d", "kadid-10k")
    assert row["state"] == "incomplete"
    assert "dmos.csv, line 1: expected the columns ['dist_img']" in row["problem"]


def test_status_decodes_no_image(tmp_path: Path) -> None:
    write_sice(tmp_path)
    for path in (tmp_path / "sice").rglob("*.JPG"):
        path.write_bytes(b"no image")
    (row,) = stated("--root", tmp_path, "-d", "sice-brightness")
    assert (row["state"], row["images"]) == ("present", 10)


def test_another_layout_is_told_from_the_real_one(tmp_path: Path) -> None:
    write_pieapp(tmp_path)
    (tmp_path / "pie_app").rename(tmp_path / "PieAPP_dataset")
    (row,) = stated("--root", tmp_path, "-d", "pieapp-2afc")
    assert row["state"] == "missing"
    assert "pie_app/test_reference_list.txt" in row["missing"]
    code, _, errors = unisim("samples", "pieapp-2afc", "--root", tmp_path)
    assert code == 1
    assert "pie_app/test_reference_list.txt, which is not there. See https://" in errors


def test_list_of_sets() -> None:
    code, output, _ = unisim("data", "list", "--format", "json")
    rows = json.loads(output)["results"]
    assert code == 0
    assert [row["dataset"] for row in rows] == list_datasets()
    code, output, _ = unisim("data", "list", "--format", "markdown", "-d", "nights", "-d", "hpdv2")
    head, rule, nights, hpdv2 = output.splitlines()
    assert nights.startswith("| nights | image-image | 1824 | 15900 |")
    assert len({line.count("|") for line in (head, rule, nights, hpdv2)}) == 1


def test_docs_hold_the_list_of_sets() -> None:
    page = (Path(__file__).parent.parent / "docs" / "benchmark_data.md").read_text(encoding="utf-8")
    _, output, _ = unisim("data", "list", "--format", "markdown")
    assert output in page, "regenerate it: unisim bench data list --format markdown"


def test_docs_example_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "benchmark_data.md").read_text(encoding="utf-8")
    code, line = (re.search(rf"```{name}\n(.*?)```", page, re.DOTALL) for name in ("python", "json"))
    assert code is not None and line is not None
    monkeypatch.setattr(registry, "_DATASETS", dict(registry._DATASETS))
    exec(code[1], {})
    folder = tmp_path / "posters"
    folder.mkdir()
    (folder / "votes.csv").write_text("a.png,b.png\nc.png,b.png\n")
    samples = load_dataset("posters", tmp_path).samples()
    won = {sample.alternatives[sample.label] for sample in samples}
    assert won == {folder / "images" / name for name in ("a.png", "c.png")}
    (tmp_path / "mine.jsonl").write_text(line[1])
    assert len(load_dataset(tmp_path / "mine.jsonl", tmp_path).samples()) == 1


# Unpacking what others packed.


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def plain(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz"])
def test_unpacking(tmp_path: Path, name: str) -> None:
    archive = tar_of(
        tmp_path / name,
        plain("./set/a.png", b"a"),
        plain("set/deep/b.png", b"b"),
        plain("c.png", b"c"),
        link("set/same.png", "a.png"),
        link("set/hard.png", "./set/a.png", tarfile.LNKTYPE),
        plain("set/.DS_Store"),
        plain("set/._a.png"),
        plain("__MACOSX/set/a.png"),
    )
    root = tmp_path / "root"
    assert unpack(archive, root, lambda path: path.replace("set/deep", "set/flat")) == 5
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "set/a.png": b"a",
        "set/flat/b.png": b"b",
        "set/c.png": b"c",
        "set/same.png": b"a",
        "set/hard.png": b"a",
    }
    assert not any(path.is_symlink() for path in found.values())


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (plain("../outside.png"), "whose place is not inside the data root"),
        (plain("set/../../outside.png"), "whose place is not"),
        (plain("/outside.png"), "whose place is not"),
        (plain("set/..\\outside.png"), "whose place is not"),
        (link("set/passwd", "/etc/passwd"), "a link that leaves it"),
        (link("set/up", "../../outside.png"), "a link that leaves it"),
        (link("set/fifo", "", tarfile.FIFOTYPE), "which is no file"),
    ],
)
def test_malicious_archives_are_refused(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], message: str
) -> None:
    root = tmp_path / "inside" / "root"
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "outside.png").write_bytes(b"kept")
    archive = tar_of(tmp_path / "set.tar", plain("set/a.png"), member)
    with pytest.raises(ArchiveError, match=message):
        unpack(archive, root, folders={"set"})
    assert (tmp_path / "inside" / "outside.png").read_bytes() == b"kept"
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["a.png"]


def test_archives_keep_to_their_folders(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "set.tar", plain("set/a.png"))
    with pytest.raises(ArchiveError, match=r"'set/a\.png', whose place is not under nights"):
        unpack(archive, tmp_path / "root", folders={"nights"})
    assert [archive_stem(name) for name in ("a/b.tar.gz", "c.zip", "d.parquet")] == ["b", "c", None]
    with pytest.raises(ArchiveError, match="is no archive"):
        unpack(tmp_path / "d.parquet", tmp_path / "root")


def test_zip_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "part_1.zip", "w") as archive:
        archive.writestr("a.webp", b"a")
        archive.writestr("part_1/b.webp", b"b")
    assert unpack(tmp_path / "part_1.zip", tmp_path / "root") == 2
    assert (tmp_path / "root/part_1/a.webp").read_bytes() == b"a"
    with zipfile.ZipFile(tmp_path / "part_2.zip", "w") as archive:
        archive.writestr("../a.webp", b"a")
    with pytest.raises(ArchiveError, match="whose place is not inside the data root"):
        unpack(tmp_path / "part_2.zip", tmp_path / "root")


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz", "set.zip"])
def test_damaged_archives_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("set/a.png", os.urandom(4000))
    else:
        tar_of(path, plain("set/a.png", os.urandom(4000)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ArchiveError, match=rf"{name} is damaged"):
        unpack(path, tmp_path / "root")


# Fetching.


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that this process asks, whose client read its settings when it was imported."""
    hub = Hub(tmp_path / "hub")
    with hub.serve():
        point_client(hub, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
        yield hub


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def pack(source: Path, archive: Path, places: dict[str, str]) -> Path:
    """Pack a folder of the data root as the authors did, under their names."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                name = path.relative_to(source.parent).as_posix()
                for ours, theirs in places.items():
                    name = theirs + name[len(ours) :] if name.startswith(ours) else name
                tar.add(path, name)
    return archive


def put_up(hub: Hub, folder: Path, write: Callable[[Path], None], top: str, archive: str) -> None:
    write(folder / "source")
    pack(folder / "source" / top, folder / "authors" / archive, {})
    hub.add(f"datasets/{AUTHORS_DATA}", folder / "authors", AUTHORS_REVISION)


@pytest.mark.parametrize(
    ("write", "name", "archive", "places"),
    [
        (write_nights, "nights", "nights.tar", {}),
        (write_bapps, "bapps", "bapps.tar", {"bapps/": "bapps/2afc/"}),
        (write_pieapp, "pieapp-2afc", "pie-app.tar", {"pie_app/": "pie-app/"}),
        (write_agiqa, "agiqa-3k-quality", "agiqa-3k.tar", {}),
        (write_magicbrush, "magicbrush", "MagicBrush.tar", {"MagicBrush/test/": "MagicBrush/images_val/"}),
        (
            write_cd_coco,
            "cd-coco",
            "coco-triplets.tar",
            {"coco-triplets/coco/images/val2014/": "coco-triplets/coco/images/"},
        ),
        (
            write_pipal,
            "pipal",
            "pipal.tar",
            {"PIPAL/Val_Dist/": "pipal/Dis/", "PIPAL/Val_Ref/": "pipal/Ref/", "PIPAL/": "pipal/"},
        ),
    ],
)
def test_authors_archives_become_the_layout_that_is_read(
    tmp_path: Path, hub: Hub, root: Path, write: Any, name: str, archive: str, places: dict[str, str]
) -> None:
    source = tmp_path / "source"
    write(source)
    (top,) = source.iterdir()
    pack(top, tmp_path / "authors" / archive, places)
    hub.add(f"datasets/{AUTHORS_DATA}", tmp_path / "authors", AUTHORS_REVISION)
    code, _, notes = unisim("data", "get", name, "--root", root)
    assert code == 0, notes
    assert f"{name}: present" in notes
    assert AUTHORS_REVISION in notes
    ours, theirs = (load_dataset(name, folder) for folder in (root, source))
    assert hash_samples(ours.samples(), root) == hash_samples(theirs.samples(), source)
    assert {path.name for path in root.iterdir()} == {top.name, ".unisim"}
    assert not list((root / ".unisim").rglob(archive))


def test_sets_of_one_archive_are_fetched_once(tmp_path: Path, hub: Hub, root: Path) -> None:
    put_up(hub, tmp_path, write_agiqa, "agiqa-3k", "agiqa-3k.tar")
    code, _, notes = unisim("data", "get", "agiqa-3k-quality", "agiqa-3k-alignment", "--root", root)
    assert code == 0
    assert "agiqa-3k.tar was fetched before" in notes
    assert hub.starts == [0]
    record = json.loads((root / ".unisim/hub.json").read_text())
    assert record[AUTHORS_DATA]["revision"] == AUTHORS_REVISION
    assert list(record[AUTHORS_DATA]["files"]) == ["agiqa-3k.tar"]
    assert unisim("data", "get", "agiqa-3k-quality", "--root", root)[0] == 0
    assert hub.starts == [0]


def test_sets_with_repositories_of_their_own(tmp_path: Path, hub: Hub, root: Path) -> None:
    pytest.importorskip("pyarrow")
    source = tmp_path / "source"
    write_hpdv2(source)
    write_imagereward(source)
    hpdv2, rewards = tmp_path / "hpdv2", tmp_path / "rewards"
    for split in ("test", "train"):
        folder = source / "hpdv2" / split
        tar_of(
            hpdv2 / f"{split}.tar.gz",
            *(plain(f"{split}/{path.name}", path.read_bytes()) for path in folder.iterdir()),
        )
        shutil.copy(source / "hpdv2" / f"{split}.json", hpdv2)
    write_image(hpdv2 / "benchmark" / "other.png")
    images = source / "imagereward/images/validation/validation_1"
    (rewards / "images/validation").mkdir(parents=True)
    with zipfile.ZipFile(rewards / "images/validation/validation_1.zip", "w") as archive:
        for path in sorted(images.iterdir()):
            archive.write(path, path.name)
    shutil.copy(source / "imagereward/metadata-validation.parquet", rewards)
    for name, folder, dataset in (
        ("ymhao/HPDv2", hpdv2, "hpdv2"),
        ("THUDM/ImageRewardDB", rewards, "imagereward"),
    ):
        hub.add(f"datasets/{name}", folder, load_dataset(dataset, root).hub["test"].revision)
    assert unisim("data", "get", "hpdv2", "imagereward", "--root", root)[0] == 0
    assert not (root / "hpdv2/train").exists()
    assert not list(root.rglob("other.png"))
    assert unisim("data", "get", "hpdv2", "--split", "train", "--root", root)[0] == 0
    for dataset, split in (("hpdv2", "test"), ("hpdv2", "train"), ("imagereward", "test")):
        ours, theirs = (load_dataset(dataset, folder) for folder in (root, source))
        assert ours.status(split, images=True).state == "present"  # type: ignore[arg-type]
        assert hash_samples(ours.samples(split), root) == hash_samples(theirs.samples(split), source)  # type: ignore[arg-type]


def test_an_interrupted_download_goes_on(tmp_path: Path, hub: Hub, root: Path) -> None:
    put_up(hub, tmp_path, write_nights, "nights", "nights.tar")
    hub.cut = 5500
    # The client tries again by itself; then the day gets worse.
    hub.broken = r"GET /storage.*"
    ask = hub.answer

    def fail_after_the_first(method: str, request: Any) -> Any:
        hub.broken = r"GET /storage.*" if hub.starts else None
        return ask(method, request)

    hub.answer = fail_after_the_first  # type: ignore[method-assign]
    code, _, errors = unisim("data", "get", "nights", "--root", root)
    assert code == 1
    assert "'nights' could not be fetched" in errors
    assert "run the command again to go on" in errors
    assert hub.starts == [0]
    assert not (root / "nights").exists()
    assert not (root / ".unisim/hub.json").exists()
    hub.answer, hub.broken = ask, None  # type: ignore[method-assign]
    assert unisim("data", "get", "nights", "--root", root)[0] == 0
    assert hub.starts == [0, 5000], "the blocks that had arrived are not fetched again"
    assert load_dataset("nights", root).status(images=True).state == "present"


def test_other_content_than_announced(tmp_path: Path, hub: Hub, root: Path) -> None:
    put_up(hub, tmp_path, write_nights, "nights", "nights.tar")
    (stored,) = hub.storage.iterdir()
    right = stored.read_bytes()
    stored.write_bytes(right[:4000] + bytes([right[4000] ^ 255]) + right[4001:])
    code, _, errors = unisim("data", "get", "nights", "--root", root)
    assert code == 1
    assert "nights.tar came with another content than it announces" in errors
    assert hub.starts == [0, 0], "it is fetched once more before that is said"
    assert not (root / "nights").exists()
    stored.write_bytes(right)
    assert unisim("data", "get", "nights", "--root", root)[0] == 0
    assert load_dataset("nights", root).status(images=True).state == "present"


def test_a_file_that_is_damaged_on_this_disk_is_fetched_again(tmp_path: Path, hub: Hub, root: Path) -> None:
    put_up(hub, tmp_path, write_nights, "nights", "nights.tar")
    staged = root / ".unisim/downloads" / AUTHORS_DATA.replace("/", "--") / AUTHORS_REVISION / "nights.tar"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"half a file")
    assert unisim("data", "get", "nights", "--root", root)[0] == 0
    assert load_dataset("nights", root).status(images=True).state == "present"


class Own(Dataset):
    id = "own-on-the-hub"
    task = "quality"
    size = 1
    files = {"test": ("own/list.csv",)}  # noqa: RUF012
    images = {"test": ()}  # noqa: RUF012
    hub = {"test": HubFiles("acme/own", ("list.csv",), folder="own")}  # noqa: RUF012
    citation = "none"
    url = "https://example.org"

    def draw(self, split: Any, n: int | None, stream: Any) -> Any:
        return []


def test_a_revision_is_settled_once(tmp_path: Path, hub: Hub, root: Path) -> None:
    published = tmp_path / "published"
    published.mkdir()
    commits = []
    for version in ("one", "two"):
        (published / "list.csv").write_text(version)
        commits.append(hub.add("datasets/acme/own", published))
        if version == "one":
            hub.tag("datasets/acme/own", "v1", commits[0])
    dataset = Own(root)
    first = plan_download(dataset, revision="v1")
    assert (first.commit, [file.path for file in first.files]) == (commits[0], ["list.csv"])
    fetch(first)
    assert (root / "own/list.csv").read_text() == "one"
    # From now on the data root stays with that commit, though main has moved.
    again = plan_download(dataset)
    assert (again.commit, again.files, again.done) == (commits[0], (), ("list.csv",))
    fetch(plan_download(dataset, revision="main"))
    assert (root / "own/list.csv").read_text() == "two"
    assert plan_download(dataset).commit == commits[1]
    assert plan_download(Own(tmp_path / "other")).commit == commits[1]
    assert not (tmp_path / "other").exists()


def test_what_the_hub_has_not_is_refused(tmp_path: Path, hub: Hub, root: Path) -> None:
    for name, split, place in (
        ("cifar-100-ooo", "test", "cifar-100-python/test"),
        ("imagenet-ooo", "test", "imagenet/val"),
        ("nights", "train", "nights/data.csv"),
    ):
        code, _, errors = unisim("data", "get", name, "--split", split, "--root", root)
        assert code == 1
        assert f"The Hub does not have the {split} samples of '{name}'" in errors
        assert load_dataset(name, root).url in errors
        assert place in errors
    assert hub.asked == []
    code, _, errors = unisim("data", "get", "bapps", "--split", "train", "--root", root)
    assert code == 2
    assert "`split` must be one of ('test',)" in errors
    code, _, errors = unisim("data", "get", "night", "--root", root)
    assert code == 2
    assert "Did you mean 'nights'?" in errors


def test_what_goes_wrong_on_the_hub_is_explained(
    tmp_path: Path, hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset("nights", root)
    with pytest.raises(DataUnavailableError, match=r"no such dataset, or it is private.*dreamsim-nights"):
        plan_download(dataset)
    put_up(hub, tmp_path, write_kadid, "kadid10k", "kadid10k.tar")
    with pytest.raises(DataUnavailableError, match=rf"its commit {AUTHORS_REVISION} has no nights\.tar"):
        plan_download(dataset)
    with pytest.raises(DataUnavailableError, match="it has no such revision"):
        plan_download(dataset, revision="v9")
    assert unisim("data", "get", "kadid-10k", "--root", root, "--dry-run")[0] == 0
    assert not root.exists()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataUnavailableError, match="HF_HUB_OFFLINE is set"):
        plan_download(dataset)


def test_a_disk_that_is_too_small_is_noticed_first(
    tmp_path: Path, hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_up(hub, tmp_path, write_nights, "nights", "nights.tar")
    free = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    code, _, errors = unisim("data", "get", "nights", "--root", root)
    assert code == 1
    assert "0.0 GB left" in errors
    assert hub.starts == []


def test_what_is_declared_about_the_hub(root: Path) -> None:
    datasets = [load_dataset(name, root) for name in list_datasets()]
    for dataset in datasets:
        assert set(dataset.hub) <= set(dataset.files)
        for source in dataset.hub.values():
            assert source.revision is not None
            assert len(source.revision) == 40
    assert {dataset.id for dataset in datasets if not dataset.hub} == {"cifar-100-ooo", "imagenet-ooo"}


# Lists of samples.


def test_samples_are_written_and_read_again(tmp_path: Path) -> None:
    write_kadid(tmp_path)
    out = tmp_path / "kadid.jsonl"
    code, output, notes = unisim(
        "samples", "kadid-10k", "--root", tmp_path, "--n", 12, "--seed", 3, "--out", out
    )
    drawn = load_dataset("kadid-10k", tmp_path).samples(n=12, seed=3)
    assert code == 0
    assert output == hash_samples(drawn, tmp_path) + "\n"
    assert "12 samples of kadid-10k (quality)" in notes
    read = load_dataset(out, tmp_path).samples()
    assert [set(sample.alternatives) for sample in read] == [set(sample.alternatives) for sample in drawn]
    assert unisim("samples", out, "--root", tmp_path)[0] == 0
    for arguments, message in (
        (("kadid-10k", "--out", tmp_path / "list.csv"), "must name a .jsonl file"),
        (("kadid-10k", "--n", 41), "`n` must be at most 40"),
        (("kadid-10k", "--split", "dev"), "`split` must be one of"),
    ):
        code, _, errors = unisim("samples", *arguments, "--root", tmp_path)
        assert code == 2
        assert message in errors


def test_queries_have_a_hash_too(tmp_path: Path) -> None:
    write_revisitop(tmp_path)
    found = load_dataset("roxford", tmp_path).retrieval()  # type: ignore[attr-defined]
    code, output, notes = unisim("samples", "roxford", "--root", tmp_path)
    assert (code, output) == (0, hash_retrieval(found, tmp_path) + "\n")
    assert "3 queries, 20 images to search" in notes
    code, _, errors = unisim("samples", "roxford", "--root", tmp_path, "--out", tmp_path / "x.jsonl")
    assert code == 2
    assert "queries and a gallery instead of samples" in errors
