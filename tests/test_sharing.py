"""Which samples share an image, an original or a prompt, against all pairs one by one."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unisim_metrics.benchmark.datasets.revisitop import Retrieval
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.benchmark.sharing import share_queries, share_samples
from unisim_metrics.statistics.clusters import Clusters


def pair(first: int | str, second: int | str) -> Sample:
    return Sample(None, (Path(f"{first}.png"), Path(f"{second}.png")), 0)


def test_samples_of_one_image_prompt_or_original_are_a_group() -> None:
    samples = [
        Sample("a prompt", (Path("a.png"), Path("b.png")), 0),
        Sample("a prompt", (Path("c.png"), Path("d.png")), 0),
        pair("d", "e"),
        pair("f", "g"),
        pair("f-blurred", "h"),
    ]
    (groups,) = share_samples(samples)
    assert groups.tolist() == [0, 0, 0, 1, 2]
    (groups,) = share_samples(samples, lambda image: Path(image.name.replace("-blurred", "")))
    assert groups.tolist() == [0, 0, 0, 1, 1]


def test_what_tells_nothing_apart_makes_no_groups() -> None:
    assert share_samples([]) == share_samples([pair(0, 1)]) == share_samples([pair(0, 1), pair(2, 3)]) == ()
    # Captions to choose from recur by chance, and what all samples show tells none from another.
    texts = [Sample(Path(f"{index}.png"), ("a cat", "a dog"), 0) for index in range(4)]
    assert share_samples(texts) == ()
    assert share_samples([pair("all", index) for index in range(4)]) == ()


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda ends: ends[0] != ends[1]),
        min_size=1,
        max_size=20,
    )
)
def test_groups_are_all_that_is_connected(ends: list[tuple[int, int]]) -> None:
    # Twenty samples are too few for a chain that is held together loosely.
    columns = share_samples([pair(*each) for each in ends])
    groups = [{index} for index in range(len(ends))]
    common = set.intersection(*map(set, ends))
    for first, second in combinations(range(len(ends)), 2):
        if (set(ends[first]) & set(ends[second])) - common:
            joined = groups[first] | groups[second]
            for index in joined:
                groups[index] = joined
    found = Clusters.of_columns(columns, len(ends)).labels.ravel()
    assert [set(np.flatnonzero(found == label)) for label in found] == groups


def test_pairs_of_any_two_photos_have_a_label_for_each() -> None:
    """One chain runs through the whole set, though two pairs seldom share a photo."""
    rng = np.random.default_rng(0)
    ends = [tuple(rng.choice(100, 2, replace=False).tolist()) for _ in range(300)]
    columns = share_samples([pair(*each) for each in ends])
    assert len(columns) == 2
    labels = np.stack(columns, axis=1).tolist()
    for first, second in combinations(range(300), 2):
        assert len(set(labels[first]) & set(labels[second])) == len(set(ends[first]) & set(ends[second]))


def test_queries_of_one_scene_are_a_group() -> None:
    easy = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=bool)
    hard = np.array([[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    queries, gallery = (tuple(Path(f"{name}{index}.jpg") for index in range(4)) for name in "qg")
    (groups,) = share_queries(Retrieval(queries, gallery, easy, hard, np.zeros_like(easy)))
    assert groups.tolist() == [0, 0, 1, 2]
    assert share_queries(Retrieval(queries, gallery, easy, np.zeros_like(easy), np.zeros_like(easy))) == ()
