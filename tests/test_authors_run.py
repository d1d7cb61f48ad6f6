"""Decisions of the authors' code on 25 sets in small, recorded, against ours by their protocol.

`tests/data/authors_run.json` holds what their code (github.com/SaraGhazanfari/UniSim, e8b06e0) drew and decided with
the model and the files that `authors_data` writes; docs/authors_code.md says how it was run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from authors_data import write_model, write_root

from unisim_metrics import functional, load_model
from unisim_metrics.benchmark import hash_samples, list_datasets, load_dataset
from unisim_metrics.benchmark.datasets.odd_one_out import IMAGENET_GROUPS
from unisim_metrics.benchmark.running.asking import EncoderAsker
from unisim_metrics.benchmark.running.encoding import Encoder
from unisim_metrics.benchmark.running.planning import PlannedSet, plan_set
from unisim_metrics.benchmark.running.processes import join_processes
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.prompts import resolve_prompts

RUN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "authors_run.json").read_text())
RETRIEVAL = ("roxford", "rparis")
# Listed in full by both; of the others theirs draws by chance.
LISTED = (
    *("nights", "bapps", "pieapp-2afc", "imagereward", "magicbrush", "hq-edit-images", "polaris"),
    *("hq-edit-captions", "pieapp-iqa", "sice-brightness"),
)
ODD = ("imagenet-ooo", "cifar-100-ooo")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow")
    shown = {
        item["image"]
        for name in ("kadid-10k", "imagenet-ooo")
        for reference, alternatives, _ in RUN[name]["samples"]
        for item in (reference, *alternatives)
        if item is not None
    }
    return write_root(tmp_path_factory.mktemp("data"), sorted(shown))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(write_model(tmp_path_factory.mktemp("models") / "tiny"), resample="pil")


def recorded(name: str, root: Path) -> list[Sample]:
    def item(record: Any) -> Any:
        return record if record is None else record.get("text") or root / record["image"]

    return [
        Sample(item(reference), tuple(map(item, alternatives)), label)
        for reference, alternatives, label in RUN[name]["samples"]
    ]


def answers(planned: PlannedSet, model: Any) -> Any:
    with join_processes() as processes:
        asker = EncoderAsker(Encoder(model, None, processes, 0, 32))
        answered = asker.ask(planned, lambda count: None)()
    assert not answered.unreadable
    return answered.answers


def test_every_set_of_the_paper_was_run() -> None:
    assert set(RUN) == set(list_datasets())
    assert sum(len(record.get("samples", ())) for record in RUN.values()) == 367


@pytest.mark.parametrize("name", [name for name in RUN if name not in RETRIEVAL])
def test_decisions(name: str, root: Path, model: Any) -> None:
    dataset = load_dataset(name, root, "authors")
    samples = recorded(name, root)
    planned = PlannedSet(dataset, "test", 0, samples, None, hash_samples(samples, root), "own")
    found = {answer.method or "choices": answer.choices.tolist() for answer in answers(planned, model)}
    assert found == RUN[name]["choices"]


@pytest.mark.parametrize("name", RETRIEVAL)
def test_retrieval(name: str, root: Path, model: Any) -> None:
    (answer,) = answers(plan_set(load_dataset(name, root, "authors")), model)
    for protocol in ("medium", "hard"):
        assert np.nanmean(answer.average_precision[protocol]) == pytest.approx(RUN[name][protocol], abs=1e-6)


@pytest.mark.parametrize("name", [name for name in RUN if name not in (*RETRIEVAL, *ODD)])
def test_samples(name: str, root: Path) -> None:
    """Theirs are among ours; where nothing is drawn by chance they are ours, as often as ours."""

    def judged(samples: list[Sample]) -> Counter[Any]:
        return Counter(
            (sample.reference, sample.alternatives[sample.label], sample.alternatives[1 - sample.label])
            for sample in samples
        )

    dataset: Any = load_dataset(name, root, "authors")
    theirs = judged(recorded(name, root))
    if name in LISTED:
        assert theirs == judged(dataset.samples())
        return
    scores = {choice for choice in ((reference, *items) for reference, items in dataset.pool("test"))}
    if name == "cd-coco":
        drawn = [judged(dataset.samples(seed=seed)) for seed in range(8)]
        scores = set().union(*drawn)
        assert sum(theirs.values()) == sum(drawn[0].values())
    # Of images with equal scores theirs takes the first that it draws; ours makes no sample of them.
    tied = {choice for choice in theirs if choice not in scores}
    assert all((reference, worse, better) not in scores for reference, better, worse in tied)
    assert len(tied) <= (4 if name.startswith(("agiqa", "koniq")) else 0), tied


@pytest.mark.parametrize("name", ODD)
def test_odd_ones_are_of_another_class(name: str, root: Path) -> None:
    dataset: Any = load_dataset(name, root, "authors")

    def kind(path: Path) -> Any:
        if name == "imagenet-ooo":
            index = int(path.parent.name[1:]) - 10_000
            (group,) = (title for title, classes in IMAGENET_GROUPS.items() if index in classes)
            return group
        return next(label for label, images in enumerate(dataset.classes()) if path in images)

    for sample in recorded(name, root):
        kinds = [kind(path) for path in sample.alternatives]  # type: ignore[arg-type]
        odd = kinds.pop(sample.label)
        assert kinds[0] == kinds[1] != odd


def test_no_decision_hangs_on_the_last_bits(root: Path, model: Any) -> None:
    """The two best alternatives are farther apart than machines differ: decisions can be the same everywhere."""
    for name in RUN:
        if name in RETRIEVAL:
            continue
        dataset = load_dataset(name, root, "authors")
        for sample in recorded(name, root):
            shown = [dataset.image(item) if isinstance(item, Path) else item for item in sample.alternatives]
            items = model.embed_texts(shown) if isinstance(shown[0], str) else model.embed_images(shown)
            if name in ODD:
                scores = [functional.odd_one_out(items[None])[0]]
            elif sample.reference is None:
                texts: Any = resolve_prompts(dataset.task, None)  # type: ignore[arg-type]
                naive, good, bad = (items @ model.embed_texts(text)[0] for text in vars(texts).values())
                scores = [naive, good - bad]
            elif isinstance(sample.reference, Path):
                scores = [items @ model.embed_images([dataset.image(sample.reference)])[0]]
            else:
                scores = [items @ model.embed_texts(sample.reference)[0]]
            for values in scores:
                best, second = torch.sort(values, descending=True).values[:2].tolist()
                assert best - second > 1e-5, (name, sample)


def test_what_the_page_says_of_turned_and_transparent_images(root: Path, model: Any) -> None:
    """The same samples with images as the paper's protocol shows them."""
    changed = asked = 0
    for name in RUN:
        if name in RETRIEVAL:
            continue
        samples = recorded(name, root)
        planned = PlannedSet(
            load_dataset(name, root), "test", 0, samples, None, hash_samples(samples, root), "own"
        )
        for answer in answers(planned, model):
            theirs = RUN[name]["choices"][answer.method or "choices"]
            changed += int(np.sum(answer.choices != theirs))
            asked += len(theirs)
    page = (Path(__file__).parents[1] / "docs" / "authors_code.md").read_text(encoding="utf-8")
    stated = re.search(r"(\d+) of (\d+) decisions of the recorded run", page)
    assert stated is not None
    # Decisions of this model hang on little: one or two may fall the other way on another machine.
    assert abs(int(stated[1]) - changed) <= 2
    assert int(stated[2]) == asked
