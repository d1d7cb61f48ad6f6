"""The verdict as one page that needs nothing but itself: figures, charts, pictures, styles and script."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unisim_metrics.cli.comparing.contest import Contest
from unisim_metrics.cli.comparing.report.charts import distribution, whiskers
from unisim_metrics.cli.figure import thumbnail
from unisim_metrics.cli.output import shown_p, signed
from unisim_metrics.cli.terminal import print_note, visible
from unisim_metrics.text_files import write_text
from unisim_metrics.version import __version__

if TYPE_CHECKING:
    from jinja2 import Template

    from unisim_metrics.statistics.verdict import Duel

PAGE_NAME = "report.html"
# So many wins of either of a pair are shown with their pictures, of so many pairs.
_MOST_WINS = 4
_MOST_PAIRS = 6
_QUALITY = 82


@dataclass(frozen=True)
class _Side:
    """What one of two made for a trial: its score, and a picture, or a text or the name of a file without one."""

    name: str
    score: float
    text: str
    picture: str | None


@dataclass(frozen=True)
class _Win:
    trial: str
    gap: float
    sides: tuple[_Side, _Side]


def check_report(folder: Path | None) -> None:
    """Check, before any work is done, that a page can be written.

    Raises:
        ValueError: If the folder is a file.
        OSError: If it, or the folder that it is to be made in, must not be written to.
    """
    if folder is None:
        return
    standing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not standing.is_dir():
        raise ValueError(f"Option --report must name a folder, but {standing} is a file.")
    if not os.access(standing, os.W_OK):
        raise PermissionError(
            f"Option --report must name a folder that may be written, but {standing} may not."
        )


def write_report(folder: Path, contest: Contest, left_out: int) -> None:
    """Write the page into a folder, which is made if there is none, and say so.

    Args:
        folder: The folder.
        contest: What was judged.
        left_out: How many trials were not.

    Raises:
        OSError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / PAGE_NAME, to_html(contest, left_out))
    print_note(f"Wrote {folder / PAGE_NAME}")


def to_html(contest: Contest, left_out: int = 0) -> str:
    """Return the page."""
    verdict, names = contest.verdict, contest.names
    order = [standing.index for standing in verdict.standings]
    pictures = _Pictures()
    script = _resource("page.js")
    duels = contest.told_duels()
    return _template().render(
        style=_resource("page.css"),
        script=script,
        # The page runs its own script and no other, whatever stands in a prompt.
        script_hash=base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode(),
        version=__version__,
        title=contest.title,
        kind=contest.kind,
        unit=contest.unit,
        signature=contest.signature,
        left_out=left_out,
        sentences=[
            (sentence, duel.is_settled) for sentence, duel in zip(contest.sentences(), duels, strict=True)
        ],
        remarks=contest.remarks(),
        standings=[
            {
                "name": names[standing.index],
                "win_rate": contest.percent(standing.win_rate),
                "mean_rank": f"{standing.mean_rank:.2f}",
                "mean_score": f"{standing.mean_score:.4f}",
                "strength": "" if standing.strength is None else signed(standing.strength, 2),
            }
            for standing in verdict.standings
        ],
        rates=whiskers(
            [(names[each.index], each.win_rate, contest.percent(each.win_rate)) for each in verdict.standings]
        ),
        pairs=[_pair(contest, duel) for duel in verdict.duels],
        distribution=distribution(contest.scores[:, order], [names[index] for index in order]),
        duels=[
            {
                "names": (names[duel.first], names[duel.second]),
                "sides": [
                    list(_wins(contest, winner, loser, pictures))
                    for winner, loser in ((duel.first, duel.second), (duel.second, duel.first))
                ],
            }
            for duel in duels[:_MOST_PAIRS]
        ],
        unreadable=pictures.unreadable,
        columns=[names[index] for index in order],
        rows=[
            (trial, [float(row[index]) for index in order], float(row.max() - row.min()))
            for trial, row in zip(contest.trials, contest.scores, strict=True)
        ],
    )


class _Pictures:
    """Small pictures of files as addresses that hold them, each made once."""

    def __init__(self) -> None:
        self.made: dict[Path, str | None] = {}

    def address(self, file: Path) -> str | None:
        """Return a picture as an address; None if the file cannot be read."""
        if file not in self.made:
            self.made[file] = _embed(file)
        return self.made[file]

    @property
    def unreadable(self) -> int:
        """How many files could not be read."""
        return sum(address is None for address in self.made.values())


def _embed(file: Path) -> str | None:
    from unisim_metrics.errors import ImageReadError

    try:
        image = thumbnail(file)
    except ImageReadError:
        return None
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _wins(contest: Contest, winner: int, loser: int, pictures: _Pictures) -> Iterator[_Win]:
    """Yield the largest wins of one over another, the largest first."""
    gaps = contest.scores[:, winner] - contest.scores[:, loser]
    for trial in (-gaps).argsort(kind="stable")[:_MOST_WINS].tolist():
        if gaps[trial] <= 0:
            return
        winning, losing = (_side(contest, trial, index, pictures) for index in (winner, loser))
        yield _Win(contest.trials[trial], float(gaps[trial]), (winning, losing))


def _side(contest: Contest, trial: int, index: int, pictures: _Pictures) -> _Side:
    item = contest.items[trial][index]
    picture = pictures.address(item) if isinstance(item, Path) else None
    return _Side(contest.names[index], float(contest.scores[trial, index]), str(item), picture)


def _pair(contest: Contest, duel: Duel) -> dict[str, Any]:
    return {
        "first": contest.names[duel.first],
        "second": contest.names[duel.second],
        "share": duel.share.value,
        "wins": contest.percent(duel.share),
        "p": duel.corrected,
        "p_shown": shown_p(duel.corrected),
        "settled": duel.is_settled,
        "further": duel.further,
        "difference": duel.difference.value,
        "difference_shown": signed(duel.difference, 4),
        "difference_p": duel.difference_corrected,
        "difference_p_shown": shown_p(duel.difference_corrected),
    }


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def show(value: object) -> object:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    # Prompts and names come from files of others: whatever they hold, it is text.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=show
    )
    return environment.from_string(_resource("page.html"))


def _resource(name: str) -> str:
    return files(__package__).joinpath("page").joinpath(name).read_text(encoding="utf-8")
