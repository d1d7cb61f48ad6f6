"""The table of pipelines: all of the installed diffusers' image pipelines stand in it, and do what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from docs.experiments.pipeline_table import cells, image_pipelines, main, read_table, table, tried, updated
from docs.experiments.pipelines.cases import tiny_call, tiny_pipeline
from unisim_metrics.integrations.diffusers import UniSimScoreCallback, best_of_n
from unisim_metrics.integrations.diffusers.callback import check_pipeline
from unisim_metrics.integrations.diffusers.latents import LatentDecoder
from unisim_metrics.models import EncoderModel

PAGE = Path(__file__).parents[1] / "docs" / "pipelines.md"
# One of each way to keep latents, each autoencoder and each scheduler, and those that are refused for a reason.
SAMPLE = (
    "BlipDiffusionPipeline",
    "BriaFiboPipeline",
    "CogView3PlusPipeline",
    "Cosmos2TextToImagePipeline",
    "ErnieImagePipeline",
    "Flux2KleinPipeline",
    "FluxControlInpaintPipeline",
    "GlmImagePipeline",
    "HunyuanImagePipeline",
    "Ideogram4Pipeline",
    "Kandinsky5I2IPipeline",
    "KandinskyV22CombinedPipeline",
    "LatentConsistencyModelPipeline",
    "PRXPixelPipeline",
    "QwenImageEditPipeline",
    "QwenImageLayeredPipeline",
    "QwenImagePipeline",
    "SanaSprintPipeline",
    "StableDiffusion3InpaintPipeline",
    "ZImagePipeline",
)


@pytest.fixture(scope="module")
def page() -> dict[str, list[str]]:
    return read_table(PAGE.read_text(encoding="utf-8"))


class TestTable:
    def test_all_image_pipelines_stand_in_it(self, page: dict[str, list[str]]) -> None:
        assert {f"{name}Pipeline" for name in page} == set(image_pipelines())

    @pytest.mark.parametrize("name", SAMPLE)
    def test_a_pipeline_does_what_it_says(
        self, name: str, page: dict[str, list[str]], tiny_model: EncoderModel
    ) -> None:
        """`tried` raises if the images change by a bit, or a preview is not what the pipeline decodes."""
        first, *rest = cells(tried(getattr(diffusers, name), tiny_model))
        assert page[first] == rest

    def test_the_command_writes_into_a_page(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        kinds = {name: getattr(diffusers, name) for name in ("AmusedPipeline", "BlipDiffusionPipeline")}
        monkeypatch.setattr("docs.experiments.pipeline_table.image_pipelines", lambda: kinds)
        page = tmp_path / "page.md"
        page.write_text("before\n<!-- begin of the table -->\nold\n<!-- end of the table -->\nafter\n")
        main(["--write", str(page)])
        text = page.read_text()
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")
        assert "old" not in text
        assert read_table(text)["Amused"][0] == "no callback"
        main(["--only", "Blip", "--uses", "prune", "optimise"])
        assert capsys.readouterr().out.splitlines()[-1] == "BlipDiffusion | no callback | ○"

    def test_what_is_not_tried_stays_on_the_page(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kinds = {name: getattr(diffusers, name) for name in ("AmusedPipeline", "BlipDiffusionPipeline")}
        monkeypatch.setattr("docs.experiments.pipeline_table.image_pipelines", lambda: kinds)
        page = tmp_path / "page.md"
        before = {"Amused": list("abcdef"), "BlipDiffusion": list("ghijkl"), "Gone": list("mnopqr")}
        page.write_text(
            f"<!-- begin of the table -->\n{table(before)}<!-- end of the table -->\n", encoding="utf-8"
        )
        main(["--only", "Blip", "--uses", "prune", "--write", str(page)])
        after = read_table(page.read_text(encoding="utf-8"))
        assert after == {"Amused": list("abcdef"), "BlipDiffusion": [*"ghij", "no callback", "l"]}

    def test_a_pipeline_that_was_never_tried(self) -> None:
        with pytest.raises(ValueError, match="must have `score` of Amused if it is not tried"):
            updated({}, ["AmusedPipeline"], [])

    def test_every_word_is_explained(self, page: dict[str, list[str]]) -> None:
        explained = PAGE.read_text(encoding="utf-8").split("## The table")[0]
        for word in {use for uses in page.values() for use in uses}:
            assert f"\n| {word} | " in explained


class TestWhatWasSeen:
    @pytest.mark.parametrize("name", ["BriaPipeline", "BriaFiboPipeline", "CogView3PlusPipeline"])
    def test_the_last_score_is_that_of_the_image(self, name: str, tiny_model: EncoderModel) -> None:
        kind = getattr(diffusers, name)
        pipe, call = tiny_pipeline(kind), {**tiny_call(kind), "output_type": "pil"}
        with UniSimScoreCallback(
            pipe, "a fox", model_name_or_path=tiny_model, keep_previews=True
        ) as callback:
            images = pipe(
                **call, generator=torch.Generator().manual_seed(0), callback_on_step_end=callback
            ).images
        assert len(callback.previews) == 3
        for preview, image in zip(callback.previews[-1], images, strict=True):
            difference = abs(as_pixels(preview).int() - as_pixels(image).int()).max()
            assert int(difference) <= 1

    def test_the_last_preview_holds_what_inpainting_pastes(self, tiny_model: EncoderModel) -> None:
        kind = diffusers.FluxControlInpaintPipeline
        pipe, call = tiny_pipeline(kind), {**tiny_call(kind), "output_type": "pil"}
        with UniSimScoreCallback(
            pipe, "a fox", model_name_or_path=tiny_model, keep_previews=True
        ) as callback:
            images = pipe(
                **call, generator=torch.Generator().manual_seed(0), callback_on_step_end=callback
            ).images
        difference = abs(as_pixels(callback.previews[-1][0]).int() - as_pixels(images[0]).int())
        assert int(difference.max()) <= 1


class TestRefusals:
    def test_what_makes_no_images(self) -> None:
        for name, made in (
            ("WanPipeline", "videos"),
            ("LTXPipeline", "videos"),
            ("StableAudioPipeline", "audios"),
            ("KandinskyV22PriorPipeline", "image_embeds"),
            ("MarigoldDepthPipeline", "prediction"),
        ):
            bare = object.__new__(getattr(diffusers, name))
            with pytest.raises(ValueError, match=f"must be a pipeline for images, but {name} makes .*{made}"):
                check_pipeline(bare)
            with pytest.raises(ValueError, match="must be a pipeline for images"):
                best_of_n(bare, "a fox")

    def test_what_is_no_single_picture(self) -> None:
        pipe = object.__new__(diffusers.VisualClozeGenerationPipeline)
        with pytest.raises(ValueError, match=r"a grid of pictures with VisualCloze.*score its images with"):
            LatentDecoder(pipe)

    def test_a_pipeline_that_asks_more_for_its_layout(self) -> None:
        pipe: Any = tiny_pipeline(diffusers.FluxPipeline)

        def unpack(latents: Any, height: int, width: int, frames: int) -> Any:
            return latents

        pipe._unpack_latents = unpack
        with pytest.raises(ValueError, match="FluxPipeline asks `frames` too"):
            LatentDecoder(pipe).decode(torch.zeros(1, 64, 16), (64, 64))


def as_pixels(picture: Any) -> torch.Tensor:
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
