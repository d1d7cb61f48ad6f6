"""The authors' protocol: where its samples and images differ from the paper's, and how a result says so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_data import (
    write_agiqa,
    write_bapps,
    write_cd_coco,
    write_csv,
    write_hpdv2,
    write_image,
    write_kadid,
    write_pieapp,
    write_polaris,
    write_sice,
)
from PIL import Image
from typer.testing import CliRunner

from unisim_metrics import load_model
from unisim_metrics.benchmark import hash_samples, load_dataset, run
from unisim_metrics.benchmark.data.image_reading import show
from unisim_metrics.benchmark.datasets.own import write_json_lines
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.cli.app import app


def choices(name: str, root: Path, protocol: Any, seed: int = 0) -> Counter[tuple[Any, Any, tuple[Any, ...]]]:
    """Reference, right and wrong alternatives of the samples, by name."""

    def plain(item: Any) -> Any:
        return item.name if isinstance(item, Path) else item

    return Counter(
        (
            plain(sample.reference),
            plain(sample.alternatives[sample.label]),
            tuple(plain(item) for index, item in enumerate(sample.alternatives) if index != sample.label),
        )
        for sample in load_dataset(name, root, protocol).samples(seed=seed)
    )


def test_a_protocol_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`protocol` must be one of \('paper', 'authors'\), but got 'ours'"):
        load_dataset("nights", tmp_path, "ours")  # type: ignore[arg-type]


def test_agiqa_drops_images_of_low_alignment(tmp_path: Path) -> None:
    columns = ["name", "prompt", "mos_quality", "mos_align"]
    rows: list[list[Any]] = [["a", "p", 0.5, 3], ["b", "p", 3, 0.5], ["c", "p", 3, 2], ["d", "p", 3, 1]]
    write_csv(tmp_path / "agiqa-3k" / "data.csv", [columns, *rows])
    assert choices("agiqa-3k-alignment", tmp_path, "paper") == Counter(
        [("p", "c", ("b",)), ("p", "c", ("d",)), ("p", "d", ("b",))]
    )
    assert choices("agiqa-3k-alignment", tmp_path, "authors") == Counter(
        [("p", "a", ("c",)), ("p", "a", ("d",)), ("p", "c", ("d",))]
    )
    assert choices("agiqa-3k-quality", tmp_path, "paper") == choices("agiqa-3k-quality", tmp_path, "authors")


def test_imagereward_takes_the_last_row_for_the_worst(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    ranks = {"p": [1, 3, 3], "q": [1, 4, 2], "r": [2, 1, 2]}
    records = [
        {"image_path": f"{prompt}{index}", "prompt_id": prompt, "prompt": prompt, "rank": rank}
        for prompt, listed in ranks.items()
        for index, rank in enumerate(listed)
    ]
    (tmp_path / "imagereward").mkdir()
    table = pyarrow.Table.from_pylist(records)
    parquet.write_table(table, tmp_path / "imagereward" / "metadata-validation.parquet")
    assert choices("imagereward", tmp_path, "paper") == Counter(
        [("p", "p0", ("p1",)), ("q", "q0", ("q1",)), ("r", "r1", ("r0",))]
    )
    # The ends of the last prompt are of one rank: no choice.
    assert choices("imagereward", tmp_path, "authors") == Counter(
        [("p", "p0", ("p2",)), ("q", "q0", ("q2",))]
    )


def test_cd_coco_takes_any_of_the_best(tmp_path: Path) -> None:
    resources = tmp_path / "coco-triplets" / "resources"
    machines = ["OFA", "GIT", "Our", "ExpNet-v2", "BLIP-2", "ViT-GPT2"]
    texts = ["OFA_Huge", "GIT_Large", "Ensemble", "ExpansionNet_v2", "BLIP_2", "ViT_GPT2"]
    captions = [[f"{index}.jpg", "a", "b", "c", "d", "e", "a"] for index in range(40)]
    write_csv(resources / "all_captions_extended.csv", [["fname", *texts], *captions])
    scores = [[f"{index}.jpg", 3, 3, 1, 1, 0, 0, 3] for index in range(40)]
    write_csv(
        resources / "expert_worker_results_extended.csv", [["Image_URL", *machines, "max_score"], *scores]
    )
    paper = choices("cd-coco", tmp_path, "paper")
    assert {key[1:] for key in paper} == {("a", ("e",))}
    drawn = choices("cd-coco", tmp_path, "authors")
    # The last machine repeats a best caption: the other one stands against it.
    assert len(drawn) == 80
    assert {key[1:] for key in drawn} == {("a", ("e",)), ("b", ("e",)), ("b", ("a",))}
    again, other = (choices("cd-coco", tmp_path, "authors", seed) for seed in (0, 1))
    assert again == drawn != other
    some = load_dataset("cd-coco", tmp_path, "authors").samples(n=30)
    assert {(sample.reference, *sorted(map(str, sample.alternatives))) for sample in some} <= {
        (sample.reference, *sorted(map(str, sample.alternatives)))
        for sample in load_dataset("cd-coco", tmp_path, "authors").samples()
    }


def test_sice_takes_the_folder_label_for_a_scene(tmp_path: Path) -> None:
    for part in ("Dataset_Part1", "Dataset_Part2"):
        for scene in (*range(5), "Label"):
            for exposure, value in enumerate((10, 90, 200)):
                write_image(tmp_path / "sice" / part / str(scene) / f"{exposure}.png", value)
    label = tmp_path / "sice" / "Dataset_Part1" / "Label"
    for scene in (tmp_path / "sice" / "Dataset_Part1").glob("[0-9]"):
        scene.rename(scene.with_name(f"Z{scene.name}"))
    paper, authors = (
        {path.parent.name for path in load_dataset("sice-brightness", tmp_path, protocol).shown_images()}
        for protocol in ("paper", "authors")  # type: ignore[misc]
    )
    assert label.is_dir()
    assert (paper, authors) == ({"Z0"}, {"Label"})


def test_what_stands_there_several_times_counts_as_often(tmp_path: Path) -> None:
    write_pieapp(tmp_path)
    write_polaris(tmp_path)
    table = tmp_path / "polaris" / "polaris_test.csv"
    header, body = table.read_text().split("\n", 1)
    table.write_text(f"{header}\n{body}{body}")
    for name in ("pieapp-iqa", "polaris"):
        paper, authors = (choices(name, tmp_path, protocol) for protocol in ("paper", "authors"))
        assert set(paper) == set(authors)
        assert set(paper.values()) == {1}
        assert max(authors.values()) > 1
    # An image counts in each pair in which people were agreed on it.
    pairs = choices("pieapp-2afc", tmp_path, "paper")
    images = Counter(name for (_, right, wrong) in pairs for name in (right, *wrong))
    assert (
        Counter(wrong[0] for _, _, wrong in choices("pieapp-iqa", tmp_path, "authors").elements()) == images
    )


@pytest.mark.parametrize(
    ("name", "write"), [("bapps", write_bapps), ("hpdv2", write_hpdv2), ("kadid-10k", write_kadid)]
)
def test_all_else_is_the_same(name: str, write: Any, tmp_path: Path) -> None:
    write(tmp_path)
    paper, authors = (load_dataset(name, tmp_path, protocol).samples() for protocol in ("paper", "authors"))  # type: ignore[arg-type]
    assert paper == authors


def test_kadid_counts_by_the_rows_of_the_authors_table(tmp_path: Path) -> None:
    assert load_dataset("kadid-10k", tmp_path, "authors").draws_per_pass("train") == 9000
    assert load_dataset("kadid-10k", tmp_path, "authors").draws_per_pass("test") is None
    assert load_dataset("kadid-10k", tmp_path).draws_per_pass("train") is None


def write_turned(root: Path) -> list[Path]:
    """A picture that its EXIF tag turns, one that is partly transparent, one of palette, one plain."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = Image.fromarray(noise[..., :3])
    paths = [root / f"{kind}.png" for kind in ("turned", "clear", "palette", "plain")]
    plain.save(paths[0], exif=exif)
    Image.fromarray(noise).save(paths[1])
    plain.quantize(8).save(paths[2], transparency=3)
    plain.save(paths[3])
    return paths


def test_images_are_what_pillow_converts(tmp_path: Path) -> None:
    paths = write_turned(tmp_path)
    for path in paths:
        shown = show(load_dataset("nights", tmp_path, "authors"), path)
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(np.asarray(shown), expected)
        differs = show(load_dataset("nights", tmp_path), path).tobytes() != expected.tobytes()
        assert differs == (path.stem != "plain"), path


def test_a_run_sees_them_so_and_says_so(tmp_path: Path, tiny_clip_dir: Path) -> None:
    paths = write_turned(tmp_path)
    samples = [Sample(paths[3], (paths[0], paths[1]), 0), Sample(paths[2], (paths[1], paths[0]), 1)]
    own = tmp_path / "own.jsonl"
    write_json_lines(own, samples, "image-image", tmp_path)
    model: Any = load_model(tiny_clip_dir, resample="pil")
    drawn = load_dataset(own, tmp_path).samples()
    for protocol in ("paper", "authors"):
        found = run(model, own, tmp_path, protocol=protocol, cache=False, results=tmp_path / "results")["own"]  # type: ignore[arg-type]
        (outcome,) = found.outcomes
        assert outcome.signature.endswith("|protocol:authors") == (protocol == "authors")

        def embed(path: Any, protocol: str = protocol) -> Any:
            with Image.open(path) as image:
                converted = Image.fromarray(np.asarray(image.convert("RGB")))
            return model.embed_images([converted if protocol == "authors" else path])[0]

        expected = [
            int(scores[0] < scores[1])
            for sample in drawn
            for scores in [[float(embed(sample.reference) @ embed(item)) for item in sample.alternatives]]
        ]
        assert outcome.choices is not None
        assert outcome.choices.tolist() == expected
    # A result by one protocol does not stand for the other's.
    with pytest.raises(Exception, match="made in another way"):
        run(model, own, tmp_path, cache=False, results=tmp_path / "results", overwrite="never")


def test_commands(tmp_path: Path) -> None:
    write_agiqa(tmp_path)
    write_cd_coco(tmp_path)
    write_sice(tmp_path)
    hashes = {}
    for protocol in ("paper", "authors"):
        arguments = [
            "bench",
            "samples",
            "agiqa-3k-alignment",
            "--root",
            str(tmp_path),
            "--protocol",
            protocol,
        ]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        hashes[protocol] = result.stdout.split()[0]
        samples = load_dataset("agiqa-3k-alignment", tmp_path, protocol).samples()  # type: ignore[arg-type]
        assert hashes[protocol] == hash_samples(samples, tmp_path)
    assert hashes["paper"] != hashes["authors"]
    arguments = [
        "bench",
        "run",
        "unisim-mini",
        "-d",
        "agiqa-3k-alignment",
        "--root",
        str(tmp_path),
        "-n",
        "3",
    ]
    arguments = [item.replace("-n", "--n") if item == "-n" else item for item in arguments]
    arguments += ["--protocol", "authors", "--no-cache", "--results", str(tmp_path / "results")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "results").glob("unisim-mini/*/agiqa-3k-alignment.json")
    assert "|protocol:authors" in json.loads(path.read_text())["outcomes"][0]["signature"]
