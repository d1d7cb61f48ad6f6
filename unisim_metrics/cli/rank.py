"""`unisim rank`: which candidate is closest, or which generator wins over many prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisim_metrics.cli import figure
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.comparing.contest import check_confidence
from unisim_metrics.cli.comparing.generators import rank_generators
from unisim_metrics.cli.comparing.report.page import check_report
from unisim_metrics.cli.image_files import find_images
from unisim_metrics.cli.output import Output, Result
from unisim_metrics.cli.pairs import Pair
from unisim_metrics.cli.score import describe
from unisim_metrics.cli.scoring import Scoring, check_text
from unisim_metrics.cli.terminal import print_note

if TYPE_CHECKING:
    from torch import Tensor

    from unisim_metrics.calibration import Preference
    from unisim_metrics.cli.files import FileModel
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task


@dataclass(frozen=True)
class RankedCandidates:
    """Candidates that could be read, in their order, and what was found of them; empty if there is none.

    Attributes:
        pairs: Each with what it is held against.
        scores: Higher is closer.
        ranks: 1 is best; ties share their mean.
        signature: What made the scores.
    """

    pairs: Sequence[Pair]
    scores: Sequence[float]
    ranks: Sequence[float]
    signature: str


def rank(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGES...",
            help="Candidates: images, folders, globs; with --prompts a folder a generator.",
        ),
    ] = None,
    text: opt.TextOption = None,
    reference: opt.ReferenceOption = None,
    captions: Annotated[
        list[str] | None,
        typer.Option("--caption", help="A candidate text for the image --reference; give it several times."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Compare generators: a text file with a prompt a line (the n-th image of each folder belongs to the"
            " n-th prompt), or a CSV, TSV or JSONL with columns text and name (the stem of the images)."
        ),
    ] = None,
    task: opt.TaskOption = None,
    method: opt.MethodOption = "naive",
    wording: opt.WordingOption = "authors",
    model: opt.ModelOption = opt.DEFAULT_MODEL,
    device: opt.DeviceOption = None,
    batch_size: opt.BatchSizeOption = None,
    resample: opt.ResampleOption = "bicubic",
    calibration: opt.CalibrationOption = None,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
    guard_formulas: opt.GuardOption = False,
    save_figure: opt.FigureOption = None,
    confidence: opt.ConfidenceOption = 0.95,
    report: opt.ReportOption = None,
) -> None:
    """Rank candidates for a text or an image, by quality, or generators over many prompts: who wins, how surely.

    [bold]unisim rank *.png --text "a red fox"[/]  ·  [bold]unisim rank a.png b.png --reference original.png[/]  ·
    [bold]unisim rank model-a/ model-b/ --prompts prompts.txt[/]
    """
    scoring = Scoring(model, task, method, device, batch_size, resample, wording)
    destination = Output(form, as_json, as_csv, output, guard_formulas)
    destination.check()
    figure.check(save_figure)
    check_confidence(confidence)
    check_report(report)
    checked, _ = scoring.check()
    preference = None if calibration is None else read_preference(calibration)
    if text is not None and reference is not None:
        raise ValueError("Options --text and --reference must not be given together.")
    check_text(text, "--text")
    for caption in captions or []:
        check_text(caption, "--caption")
    if prompts is not None:
        if text is not None or reference is not None or captions:
            raise ValueError("Option --prompts must not come with --text, --reference or --caption.")
        if preference is not None:
            raise ValueError("Option --calibration must come with single candidates, not with --prompts.")
        folders = [Path(argument) for argument in inputs or []]
        rank_generators(folders, prompts, scoring, destination, save_figure, confidence, report)
        return
    if report is not None:
        raise ValueError("Option --report must come with --prompts: it compares generators.")
    pairs = _candidates(inputs, text, reference, captions)
    file_model = scoring.open(pairs[0].task(checked))
    ranked = rank_candidates(file_model, pairs, scoring)
    kept, scores, ranks, signature = ranked.pairs, ranked.scores, ranked.ranks, ranked.signature
    if not kept:
        raise OSError(f"Nothing could be read. {' '.join(file_model.unreadable.values())}")
    order = sorted(range(len(kept)), key=lambda index: -scores[index])
    rows: list[dict[str, Any]] = [
        {"rank": ranks[index], "score": scores[index], "candidate": str(kept[index].candidate)}
        for index in order
    ]
    if preference is not None:
        gaps = [scores[index] - scores[order[0]] for index in order]
        for row, chance in zip(rows, preference.chances(gaps, signature), strict=True):
            row["preferred_to_first"] = chance
    title = "The odd one out" if checked == "odd-one-out" else describe(kept, text, reference, checked)
    destination.write(
        Result(
            rows,
            title=title,
            signature=signature,
            texts_cut=file_model.count_cut(),
            unreadable=file_model.unreadable,
        )
    )
    if save_figure is not None:
        figure.save_ranking(
            save_figure, [(kept[index], scores[index]) for index in order], title, signature, reference
        )
    if file_model.unreadable:
        raise typer.Exit(1)


def read_preference(file: Path) -> Preference:
    """Return how likely people prefer one of two, from a calibration; a note tells if nobody was asked.

    Raises:
        ValueError: If the file is no calibration, or does not hold it.
        OSError: If it cannot be read.
    """
    from unisim_metrics.calibration import read_calibration

    preference = read_calibration(file).preference
    if preference is None:
        raise ValueError(
            f"Option --calibration must name a file with human choices, but {file} has none: give `unisim calibrate`"
            " a set of the benchmark (--dataset)."
        )
    if preference.provenance == "demo":
        print_note(f"{file} was fitted to demo data, which nobody judged: its chances say nothing of people.")
    return preference


def _candidates(
    inputs: Sequence[str] | None, text: str | None, reference: Path | None, captions: Sequence[str] | None
) -> list[Pair]:
    if captions:
        if inputs or reference is None:
            raise ValueError(
                "Option --caption must come with --reference (an image) and without other candidates."
            )
        return [Pair(caption, reference) for caption in captions]
    if not inputs:
        raise ValueError("Candidates must be given: images, folders or globs, or --caption texts.")
    return [Pair(path, text if text is not None else reference) for path in find_images(inputs)]


def rank_candidates(model: FileModel, pairs: Sequence[Pair], scoring: Scoring) -> RankedCandidates:
    """Rank candidates for one reference; those that cannot be read are left out.

    A model that embeds scores candidates as they are read. The three of odd-one-out, and alternatives among which a
    model chooses, are judged together.

    Args:
        model: What `scoring` opened for the task.
        pairs: The candidates, all with the same reference or none.
        scoring: How to score.

    Raises:
        ValueError: If the model does not answer the task for so many.
    """
    import torch

    from unisim_metrics.functional import rank as rank_scores
    from unisim_metrics.signature import signature

    given, method = scoring.check()
    task = pairs[0].task(given)
    together = task == "odd-one-out"
    groups = [[item for pair in pairs for item in pair.items]] if together else [pair.items for pair in pairs]
    kept: list[Pair] = []
    parts: list[Tensor] = []
    for ready in scoring.stream(model, groups):
        run = pairs if together else pairs[ready.start : ready.stop]
        readable = [pair for pair in run if model.is_readable(*pair.items)]
        if readable:
            parts.append(_score_alternatives(model, readable, task, method, scoring.prompts))
            kept += readable
    if not kept:
        return RankedCandidates((), (), (), "")
    scores = torch.cat(parts)
    ranks = rank_scores(scores[None])[0].tolist()
    return RankedCandidates(
        kept,
        scores.tolist(),
        [int(value) if value % 1 == 0 else value for value in ranks],
        signature(model, task, method, scoring.prompts),
    )


def _score_alternatives(
    model: FileModel, pairs: Sequence[Pair], task: Task, method: Method, prompts: PromptsLike
) -> Tensor:
    """Score readable candidates for one reference, `[N]`."""
    from unisim_metrics.functional import unisim_rank
    from unisim_metrics.models.answering import SCORED_ALONE, check_answers

    if len(pairs) == 1 and task != "odd-one-out":
        if check_answers(model, task) not in SCORED_ALONE:
            raise ValueError(
                f"Candidates must be two or more for model {model.name!r}, which answers {task!r} by a choice among"
                " them. `unisim score` scores one, where the model can."
            )
        return _score_alternatives(model, [*pairs, *pairs], task, method, prompts)[:1]
    references = None if pairs[0].reference is None else [pairs[0].reference]
    candidates = [[pair.candidate for pair in pairs]]
    return unisim_rank(candidates, references, model, task=task, method=method, prompts=prompts)[0]
