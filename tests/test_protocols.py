"""What the authors' protocol changes in the samples, counted from annotations."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_data import write_agiqa, write_cd_coco, write_csv, write_polaris

from docs.experiments import protocols
from unisim_metrics.benchmark import load_dataset


def test_counts(tmp_path: Path) -> None:
    write_agiqa(tmp_path)
    write_polaris(tmp_path)
    write_cd_coco(tmp_path)
    found = {pools.dataset: pools for pools in protocols.compare_pools(tmp_path)}
    # Sets of which nothing is there are left out.
    assert list(found) == ["agiqa-3k-alignment", "cd-coco", "polaris"]
    for name, pools in found.items():
        paper, authors = (load_dataset(name, tmp_path, protocol) for protocol in ("paper", "authors"))  # type: ignore[arg-type]
        assert (pools.paper, pools.authors) == (len(paper.samples()), len(authors.samples()))
        shared = {
            frozenset(map(str, sample.alternatives))
            for sample in paper.samples()
            if (sample.reference, set(sample.alternatives))
            in [(other.reference, set(other.alternatives)) for other in authors.samples()]
        }
        assert pools.shared == len(shared) or name == "cd-coco"


def test_a_judge_of_little_noise_is_right_and_one_of_much_is_not(tmp_path: Path) -> None:
    write_agiqa(tmp_path)
    exact = protocols.judge_agiqa(tmp_path, noise=0.0)
    assert (exact.paper, exact.authors) == (1.0, 1.0)
    shares = np.array(
        [
            (judged.paper, judged.authors)
            for judged in (protocols.judge_agiqa(tmp_path, noise=1e6, seed=seed) for seed in range(20))
        ]
    )
    assert (abs(shares.mean(axis=0) - 0.5) < 0.1).all()
    assert protocols.judge_agiqa(tmp_path, 1.0) == protocols.judge_agiqa(tmp_path, 1.0)


def test_ties(tmp_path: Path) -> None:
    rows = [["a", "p", 1, 2], ["b", "p", 1, 3], ["c", "p", 1, 2], ["d", "q", 1, 2], ["e", "q", 2, 2]]
    columns = ["name", "prompt", "mos_quality", "mos_align"]
    write_csv(tmp_path / "agiqa-3k" / "data.csv", [columns, *rows])
    assert protocols.count_ties(tmp_path, "mos_quality") == (3, 4)
    assert protocols.count_ties(tmp_path, "mos_align") == (2, 4)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_agiqa(tmp_path)
    monkeypatch.setattr(sys, "argv", ["protocols", "--root", str(tmp_path)])
    protocols.main()
    printed = capsys.readouterr().out
    (pools,) = protocols.compare_pools(tmp_path)
    assert f"| agiqa-3k-alignment | {pools.paper} | {pools.authors} | {pools.shared} |" in printed
    assert "a judge with noise 1.0: " in printed
    assert (
        "AGIQA-3K, mos_align: {} of {:,} pairs are tied".format(*protocols.count_ties(tmp_path, "mos_align"))
        in printed
    )
