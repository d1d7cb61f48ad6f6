"""The commands that measure what guidance gains and costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")
pytest.importorskip("skimage")

from docs.experiments import fitted_pipelines as fitted
from docs.experiments import guidance_gain as gain
from docs.experiments import noise_search
from docs.experiments.speed import guidance as cost


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


class TestGain:
    def test_a_row_a_form(self, capsys: pytest.CaptureFixture[str]) -> None:
        few = ["--seeds", "2", "--batch", "2", "--steps", "4", "--fit", "2", "--threads", "1"]
        gain.main(["--pipelines", "flux", "--forms", "the picture alone", *few])
        header, line, row = capsys.readouterr().out.splitlines()
        assert len(cells(row)) == len(cells(header)) == len(cells(line))
        assert cells(row)[:2] == ["flux", "the picture alone"]
        assert cells(row)[3] == "100.0%"
        assert float(cells(row)[2].split()[0]) > 0

    def test_a_row_sums_its_seeds_up(self) -> None:
        gains = np.array([0.1, 0.2, -0.1, 0.4])
        row = gain.Row("sd", "the picture alone", torch.tensor(gains), torch.zeros(4))
        half = 1.96 * gains.std(ddof=1) / 2
        assert cells(str(row))[2:] == [f"{gains.mean():+.4f} ± {half:.4f}", "75.0%", "+0.0000 ± 0.0000"]

    def test_the_batch_does_not_matter(self) -> None:
        references = fitted.crop_photographs(3, 64)
        vae = fitted.fit_autoencoder(1)
        images = [
            gain.Experiment("sd3", vae, references, steps=2, batch=batch).images("the picture alone")
            for batch in (1, 3)
        ]
        # Within one degree of 255: convolutions over another batch round otherwise, and steps add it up.
        torch.testing.assert_close(*images, atol=1 / 255, rtol=0)

    def test_the_second_model_knows_a_copy_from_another_picture(self) -> None:
        noise = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        references = [
            Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()) for image in noise
        ]
        second = fitted.SecondModel()
        same, other = second.scores(noise, references), second.scores(noise.flip(0), references)
        torch.testing.assert_close(same, torch.ones(2), atol=1e-3, rtol=0)
        assert (other < 0.9).all()


class TestNoiseSearch:
    def test_a_row_for_independent_candidates_and_one_a_radius(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        few = [
            "--references",
            "2",
            "--n",
            "2",
            "--rounds",
            "2",
            "--steps",
            "2",
            "--fit",
            "1",
            "--threads",
            "1",
        ]
        noise_search.main(["--pipelines", "sd", "--radii", "0.5", *few])
        header, _, independent, searched = capsys.readouterr().out.splitlines()
        assert cells(independent)[:2] == ["sd", "4 independent"]
        assert cells(searched)[:2] == ["sd", "2 × 2, radius 0.5"]
        assert len(cells(searched)) == len(cells(header))
        difference = float(cells(searched)[2]) - float(cells(independent)[2])
        assert float(cells(searched)[3].split()[0]) == pytest.approx(difference, abs=2e-4)


class TestCost:
    def test_the_peak_counts_what_is_alive_at_a_time(self) -> None:
        known = torch.zeros(1000)
        with cost.PeakMemory([known]) as memory:
            first = torch.zeros(1000)
            view = first[:10]
            del first
            assert memory.now == 4000  # held by its view
            del view
            second = known + 1
            assert (memory.now, memory.peak) == (4000, 4000)
            third = second * 2
            del second, third
            assert (memory.now, memory.peak) == (0, 8000)
            memory.reset()
            known.add_(1)
            assert memory.peak == 0

    def test_a_row_a_form(self, capsys: pytest.CaptureFixture[str]) -> None:
        cost.main(["--forms", "preview", "denoiser", "--pairs", "1", "--width", "8", "--threads", "1"])
        header, _, *rows = capsys.readouterr().out.splitlines()
        assert [cells(row)[0] for row in rows] == ["preview", "denoiser"]
        assert all(len(cells(row)) == len(cells(header)) for row in rows)
        memory = [float(cells(row)[2]) for row in rows]
        assert memory[1] > 1
