"""Generators, a folder of images each, compared over the prompts that they were given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from unisim_metrics.cli import figure
from unisim_metrics.cli.comparing.contest import Contest
from unisim_metrics.cli.comparing.report.page import write_report
from unisim_metrics.cli.output import Output
from unisim_metrics.cli.pairs import match_generators, read_prompts
from unisim_metrics.cli.scoring import Scoring


def rank_generators(
    folders: Sequence[Path],
    prompts_file: Path,
    scoring: Scoring,
    destination: Output,
    save_figure: Path | None,
    confidence: float,
    report: Path | None,
) -> None:
    """Compare generators over prompts; a prompt with an unreadable image is left out.

    Raises:
        ValueError: If there are fewer than two folders, or images and prompts do not match.
        OSError: If no prompt is left.
    """
    import numpy as np
    import torch

    from unisim_metrics.functional import unisim_rank
    from unisim_metrics.signature import signature
    from unisim_metrics.tasks import resolve_task

    if len(folders) < 2 or not all(folder.is_dir() for folder in folders):
        given = ", ".join(map(str, folders))
        raise ValueError(
            f"With --prompts at least two folders must be given, one a generator, but got {given or 'none'}."
        )
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(
            f"With --prompts the folders must differ, but one is given twice: {', '.join(map(str, folders))}."
        )
    task, method = scoring.check()
    prompts = read_prompts(prompts_file)
    groups = match_generators(folders, prompts)
    against_texts = task in (None, "image-text")
    resolved = resolve_task(
        task, groups, prompts[0].text if against_texts else None, names=("candidates", "references")
    )
    model = scoring.open(resolved)
    trials: list[Sequence[Path | str]] = [
        [prompt.text, *group] for group, prompt in zip(groups, prompts, strict=True)
    ]
    images: list[list[Path]] = []
    texts: list[str] = []
    parts: list[torch.Tensor] = []
    for ready in scoring.stream(model, trials):
        kept = [place for place in ready if model.is_readable(*groups[place])]
        if kept:
            run, told = [groups[place] for place in kept], [prompts[place].text for place in kept]
            references = told if against_texts else None
            parts.append(unisim_rank(run, references, model, resolved, method, scoring.prompts))
            images += run
            texts += told
    if not images:
        raise OSError(
            f"No prompt has a readable image of every generator. {'; '.join(model.unreadable.values())}"
        )
    scores = torch.cat(parts).double().numpy()
    # A generative model may name no alternative.
    answered = ~np.isnan(scores).all(axis=1)
    if not answered.any():
        raise OSError(f"Model {model.name!r} gave no answer that names an alternative.")
    judged = np.flatnonzero(answered).tolist()
    contest = Contest(
        "generator",
        _names(folders),
        "prompts",
        [texts[index] for index in judged],
        [images[index] for index in judged],
        scores[answered],
        [texts[index] for index in judged],
        signature(model, resolved, method, scoring.prompts),
        confidence,
    )
    summary = {"prompts": len(judged), "left_out": len(prompts) - len(images)}
    if len(judged) < len(images):
        summary["unanswered"] = len(images) - len(judged)
    result = contest.result(summary, texts_cut=model.count_cut(), unreadable=model.unreadable)
    destination.write(result)
    if save_figure is not None:
        standings = contest.verdict.standings
        figure.save_generators(
            save_figure,
            [contest.names[standing.index] for standing in standings],
            [standing.win_rate for standing in standings],
            [contest.percent(standing.win_rate) for standing in standings],
            f"Win rate over {len(judged)} prompts, with {100 * confidence:g} % intervals",
            contest.signature,
        )
    if report is not None:
        write_report(report, contest, len(prompts) - len(judged))
    if model.unreadable:
        raise typer.Exit(1)


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest names that tell the folders apart."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]
