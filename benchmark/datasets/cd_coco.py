"""CD-COCO: captions of COCO photos by six machines, of which experts chose the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from unisim_metrics.statistics.stream import Stream

from ..samples import Candidate
from .annotations import read_csv
from .base import PooledDataset, Split, splits
from .hub_files import authors_archive
from .pairs import distinct

MIN_BEST = 3
SCORES = "coco-triplets/resources/expert_worker_results_extended.csv"
CAPTIONS = "coco-triplets/resources/all_captions_extended.csv"
PHOTOS = "coco-triplets/coco/images/val2014"
# The machines by their names in the scores and in the captions.
MACHINES = {
    "OFA": "OFA_Huge",
    "GIT": "GIT_Large",
    "Our": "Ensemble",
    "ExpNet-v2": "ExpansionNet_v2",
    "BLIP-2": "BLIP_2",
    "ViT-GPT2": "ViT_GPT2",
}


class CdCoco(PooledDataset):
    """The caption that most experts chose, three of them at least, against each that none chose.

    Of captions chosen equally often the first counts as best, in the order of the machines; by the authors' protocol
    any of them, by chance, and a choice that several lines hold counts as often.
    """

    id = "cd-coco"
    task = "caption"
    size = 780
    files = splits(test=(SCORES, CAPTIONS))
    images = splits(test=(PHOTOS,))
    # The archive holds only the photos that are used, one level higher.
    hub = splits(
        test=authors_archive("coco-triplets.tar", {"coco-triplets/coco/images/COCO_": f"{PHOTOS}/COCO_"})
    )
    citation = "Bianco et al. (2023), Improving Image Captioning Descriptiveness, arXiv 2306.11593"
    url = "https://arxiv.org/abs/2306.11593"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return one choice a caption that no expert chose."""
        choices = ((image, (best[0], wrong)) for image, best, wrong in self._choices() if best[0] != wrong)
        return distinct(choices)

    def draw(self, split: Split, n: int | None, stream: Stream) -> Sequence[Candidate]:
        """Return `n` choices, by the authors' protocol with any of the captions that were chosen most often."""
        if self.protocol == "paper":
            return super().draw(split, n, stream)
        choices = [
            (image, others, wrong)
            for image, best, wrong in self._choices()
            if (others := [text for text in best if text != wrong])
        ]
        words = stream.words(len(choices), "best").tolist()
        drawn = stream.choose(self.count(split, n, len(choices)), len(choices))
        return [
            (image, (best[words[index] % len(best)], wrong))
            for index, (image, best, wrong) in ((index, choices[index]) for index in drawn)
        ]

    def _choices(self) -> Iterator[tuple[Path, list[str], str]]:
        """Yield an image, the captions that most experts chose, and one that none chose."""
        captions = {
            row.file("fname"): row for row in read_csv(self.path(CAPTIONS), ("fname", *MACHINES.values()))
        }
        folder = self.root / PHOTOS
        for row in read_csv(self.path(SCORES), ("Image_URL", "max_score", *MACHINES)):
            if row.number("max_score") < MIN_BEST:
                continue
            name = row.file("Image_URL")
            if name not in captions:
                row.fail("Image_URL", f"an image that {CAPTIONS} has captions of")
            votes = {machine: row.number(machine) for machine in MACHINES}
            most = max(votes.values())
            best = [captions[name].text(MACHINES[machine]) for machine in votes if votes[machine] == most]
            for machine, count in votes.items():
                if count == 0:
                    yield folder / name, best, captions[name].text(MACHINES[machine])
