"""UniSim in the browser: rank pictures for prompts, against a reference picture, or by quality and attributes."""

from __future__ import annotations

import html
import os
from functools import cache
from pathlib import Path
from typing import Any

import evaluate
import gradio as gr
import torch

from unisim_metrics.functional import rank
from unisim_metrics.tasks import ATTRIBUTES

HERE = Path(__file__).parent
# Which model scores; the owner of a Space sets it among the Space's variables.
MODEL = os.environ.get("UNISIM_MODEL", "unisim-mini")

PROMPTS, REFERENCE, QUALITY = "Prompts", "A reference image", "Quality and attributes"

INTRODUCTION = """
# UniSim

Which of these pictures would people find closer to a prompt or to a reference, and which look best? Upload pictures and
see their scores and ranking. Higher is closer; what counts is the order.
[Paper](https://arxiv.org/abs/2412.10594)
"""


@cache
def module(config: str) -> evaluate.Metric:
    """The module beside this file."""
    return evaluate.load(str(HERE / "unisim.py"), config)


def score(
    pictures: list[str], mode: str, prompts: list[str], reference: str | None
) -> tuple[dict[str, list[float]], str]:
    """One list of scores for each prompt, for the reference, or for each attribute; and what made the last one.

    Raises:
        gr.Error: If something to judge by is missing.
    """
    count = len(pictures)
    if mode == QUALITY:
        results = {name: module(name).compute(predictions=pictures, model=MODEL) for name in ATTRIBUTES}
        return {name: result["scores"] for name, result in results.items()}, results["quality"]["signature"]
    if mode == REFERENCE:
        if reference is None:
            raise gr.Error("Upload a reference image.")
        result = module("image-image").compute(
            predictions=pictures, references=[reference] * count, model=MODEL
        )
        return {"similarity": result["scores"]}, result["signature"]
    if not prompts:
        raise gr.Error("Write at least one prompt.")
    result = module("image-text").compute(
        predictions=pictures * len(prompts),
        references=[prompt for prompt in prompts for _ in pictures],
        model=MODEL,
    )
    scores = iter(result["scores"])
    return {prompt: [next(scores) for _ in pictures] for prompt in prompts}, result["signature"]


def judge(
    gallery: list[tuple[str, str | None]] | None, mode: str, prompts: str, reference: str | None
) -> tuple[list[tuple[str, str]], dict[str, Any], str]:
    """Score the pictures and put them in order: the pictures, a table, the signature.

    Several prompts order pictures by their mean rank, attributes by quality.

    Raises:
        gr.Error: If something is missing, or a picture cannot be read.
    """
    if not gallery:
        raise gr.Error("Upload at least one picture.")
    pictures = [path for path, _ in gallery]
    lines = list(dict.fromkeys(line.strip() for line in prompts.split("\n") if line.strip()))
    try:
        columns, signature = score(pictures, mode, lines, reference)
    except (ValueError, OSError) as error:
        # A message is shown as HTML, and may hold a file's name or a prompt.
        raise gr.Error(html.escape(str(error))) from error
    deciding = [columns["quality"]] if mode == QUALITY else list(columns.values())
    places = rank(torch.tensor(deciding)).mean(dim=0).tolist()
    order = sorted(range(len(pictures)), key=places.__getitem__)
    rows = [
        [places[index], Path(pictures[index]).name, *(round(column[index], 4) for column in columns.values())]
        for index in order
    ]
    ranked = [
        (pictures[index], f"{place}. {Path(pictures[index]).name}")
        for place, index in enumerate(order, start=1)
    ]
    header = "rank" if len(deciding) == 1 else "mean rank"
    return ranked, {"headers": [header, "picture", *columns], "data": rows}, signature


def show_fields(mode: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Show the field that belongs to the mode."""
    return gr.update(visible=mode == PROMPTS), gr.update(visible=mode == REFERENCE)


with gr.Blocks(title="UniSim") as demo:
    gr.Markdown(INTRODUCTION)
    with gr.Row():
        with gr.Column():
            gallery = gr.Gallery(
                label="Pictures",
                type="filepath",
                file_types=["image"],
                interactive=True,
                columns=4,
                height=220,
                object_fit="contain",
                elem_id="pictures",
            )
            mode = gr.Radio([PROMPTS, REFERENCE, QUALITY], value=PROMPTS, label="Judge by")
            prompts = gr.Textbox(label="Prompts, one a line", lines=3, elem_id="prompts")
            reference = gr.Image(label="Reference image", type="filepath", visible=False)
            button = gr.Button("Rank", variant="primary", elem_id="rank")
        with gr.Column():
            ranked = gr.Gallery(
                label="Best first",
                interactive=False,
                columns=4,
                height=220,
                object_fit="contain",
                elem_id="ranked",
            )
            table = gr.Dataframe(label="Scores", wrap=True, elem_id="scores")
            signature = gr.Textbox(label="Signature", elem_id="signature", lines=2)
    mode.change(show_fields, mode, [prompts, reference])
    button.click(judge, [gallery, mode, prompts, reference], [ranked, table, signature])

if __name__ == "__main__":
    demo.launch()
