"""A recipe: everything that decides a training run next to the data, as one file that can be read and compared."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_type_hints

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from unisim_metrics.benchmark.datasets.base import Protocol
from unisim_metrics.models.lora import LORA_LAYERS
from unisim_metrics.prompts import Wording
from unisim_metrics.text_files import read_text

from .objective import MARGIN
from .stream import Balance

RECIPES = Path(__file__).parent / "recipes"
Precision = Literal["no", "bf16", "fp16"]
Table = TypeVar("Table")


@dataclass(frozen=True)
class DataSettings:
    """Which triplets are trained on.

    Attributes:
        datasets: Ids of the benchmark's training sets, or JSONL and Parquet files of one's own.
        samples_per_task: Triplets of each task that the run sees (the paper: 400,000).
        balance: Whether a task draws from its triplets or from its datasets alike.
        protocol: Whose triplets, and how often they count: the paper's description, or the authors' code.
    """

    datasets: tuple[str, ...]
    samples_per_task: int = 400_000
    balance: Balance = "samples"
    protocol: Protocol = "paper"


@dataclass(frozen=True)
class LoraSettings:
    """The adapter (paper, Appendix B.2); `layers` is the regular expression of the adapted modules' names."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.2
    layers: str = LORA_LAYERS


@dataclass(frozen=True)
class OptimizationSettings:
    """The objective and its descent (paper, Section 3.3 and Appendix B.2).

    Attributes:
        batch_size: Triplets of each task in a step.
        learning_rate: The highest, at the end of the warm-up.
        weight_decay: Of tensors of two dimensions or more.
        warmup_steps: Steps up to the highest rate, the first of which moves already.
        margin: Of the hinge.
        reduction: Over the triplets of a task.
        max_norm: What the gradient's norm is clipped to; None for no clipping, as in the authors' code.
        accumulation: Batches whose gradients are added before a step.
        precision: Of the forward pass.
        min_learning_rate: Where the cosine ends.
    """

    batch_size: int = 32
    learning_rate: float = 5e-6
    weight_decay: float = 0.35
    warmup_steps: int = 500
    margin: float = MARGIN
    reduction: Literal["sum", "mean"] = "sum"
    max_norm: float | None = None
    accumulation: int = 1
    precision: Precision = "no"
    min_learning_rate: float = 0.0


@dataclass(frozen=True)
class ValidationSettings:
    """What is held out of the training sets, and how often the model is asked about it.

    Attributes:
        triplets: Of each dataset at least so many triplets are held out, at most half of it; 0 holds out nothing.
        every: Steps between validations. There is one before the first step, and one after the last.
    """

    triplets: int = 0
    every: int = 500


@dataclass(frozen=True)
class Recipe:
    """A run of the CLIP trainer.

    Attributes:
        name: What the result is called.
        base: The CLIP model to start from: a directory or a Hub id.
        revision: Of the Hub id.
        prompts: The texts of quality and attributes: those of the authors' code, or of the paper.
        train_projection: Whether `visual_projection` is trained too, as in the authors' code.
        seed: Of the order of the triplets, of the adapter's first weights and of its dropout.
        save_every: Steps between checkpoints.
        keep: How many checkpoints are kept.
    """

    name: str
    base: str
    data: DataSettings
    revision: str | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)
    optimization: OptimizationSettings = field(default_factory=OptimizationSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    prompts: Wording = "authors"
    train_projection: bool = True
    seed: int = 0
    save_every: int = 500
    keep: int = 2

    def __post_init__(self) -> None:
        if not self.data.datasets:
            raise ValueError("Setting data.datasets must name at least one dataset, but it is empty.")
        least = {
            "data.samples_per_task": (self.data.samples_per_task, self.optimization.batch_size),
            "optimization.batch_size": (self.optimization.batch_size, 1),
            "optimization.accumulation": (self.optimization.accumulation, 1),
            "optimization.min_learning_rate": (self.optimization.min_learning_rate, 0),
            "lora.rank": (self.lora.rank, 1),
            "validation.triplets": (self.validation.triplets, 0),
            "validation.every": (self.validation.every, 1),
            "save_every": (self.save_every, 1),
            "keep": (self.keep, 1),
        }
        check_least(least)
        if self.optimization.min_learning_rate > self.optimization.learning_rate:
            raise ValueError(
                "Setting optimization.min_learning_rate must be at most optimization.learning_rate,"
                f" {self.optimization.learning_rate}, but got {self.optimization.min_learning_rate}."
            )

    @property
    def steps(self) -> int:
        """Steps of the run; a last batch that would not be full is left out."""
        return self.data.samples_per_task // self.optimization.batch_size

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as TOML and JSON hold it; what is None is left out."""
        return cast("dict[str, Any]", without_none(dataclasses.asdict(self)))


def check_least(settings: Mapping[str, tuple[float, float]]) -> None:
    """Check settings, given by name with their value and the least that it may be.

    Raises:
        ValueError: If one is below. The message names it.
    """
    for name, (value, lowest) in settings.items():
        if value < lowest:
            raise ValueError(f"Setting {name} must be at least {lowest}, but got {value}.")


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of the CLIP trainer.

    Args:
        name_or_path: A name of `list_recipes()`, or a TOML file.
        overrides: Settings that replace the file's, as `read_table` takes them.

    Raises:
        ValueError: If there is no such recipe, or a key or value is not one of a recipe.
    """
    values = read_table(name_or_path, overrides)
    if "base" not in values and "bridge" in values:
        raise ValueError(
            f"The recipe {str(name_or_path)!r} is of the bundled model, which has a trainer of its own:"
            " `unisim train` chooses it, `unisim_metrics.training.mini.recipe` reads it."
        )
    return build(Recipe, values)


def read_table(name_or_path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read the settings of a recipe as they stand, with those of the recipes that it extends.

    `extends = "unisim-vit-b-32"` names another recipe, or a TOML file relative to the one that says so. Its tables are
    taken over key by key, all but its `name`.

    Args:
        name_or_path: A name of `list_recipes()`, or a TOML file.
        overrides: Settings that replace the file's, `"optimization.learning_rate=1e-5"`, values as in TOML;
            a value that is no TOML is taken as a string.

    Raises:
        ValueError: If there is no such recipe, it is not valid TOML, or recipes extend one another in a circle.
    """
    values = _read_file(_find(str(name_or_path), Path()), ())
    for override in overrides:
        _replace(values, override)
    return values


def build(kind: type[Table], values: Mapping[str, Any]) -> Table:
    """Make an instance of a dataclass from a table, every key and type checked.

    A setting is a `bool`, `int`, `float` or `str`, one of them or None, a `Literal` of strings, a `tuple[str, ...]`, or
    a dataclass, whose settings stand in a table of its name.

    Raises:
        ValueError: If a key is unknown, one is missing, or a value is not of its type.
    """
    return cast(Table, _build(kind, values, ""))


def _find(name: str, folder: Path) -> Path:
    path = RECIPES / f"{name}.toml" if name in list_recipes() else folder / name
    if not path.is_file():
        raise ValueError(f"A recipe must be one of {list_recipes()} or a TOML file, but got {name!r}.")
    return path


def _read_file(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in extending:
        raise ValueError(f"A recipe must not extend itself, but {path} does.")
    try:
        values: dict[str, Any] = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"The recipe {path} is not valid TOML: {error}") from error
    if "extends" not in values:
        return values
    extended = values.pop("extends")
    if not isinstance(extended, str):
        raise ValueError(f"Setting extends of {path} must be of type str, but got {extended!r}.")
    inherited = _read_file(_find(extended, path.parent), (*extending, path.resolve()))
    inherited.pop("name", None)
    return _merged(inherited, values)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: _merged(below[name], value)
        for name, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(name), dict)
    }
    return below | above | both


def _replace(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise ValueError(f"An override must be of the form key=value, but got {override!r}.")
    *tables, name = key.strip().split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ValueError(f"An override must name a setting, but {table!r} of {override!r} is no table.")
    try:
        values[name] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[name] = text.strip()


def _build(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """An instance of a dataclass from a table, every key and type checked."""
    hints = get_type_hints(kind)
    settings = {setting.name: setting for setting in dataclasses.fields(kind)}
    unknown = sorted(values.keys() - settings.keys())
    if unknown:
        raise ValueError(f"A recipe has no setting {where}{unknown[0]}; there are {sorted(settings)}.")
    missing = [
        name
        for name, setting in settings.items()
        if name not in values
        and setting.default is dataclasses.MISSING
        and setting.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"A recipe must have the setting {where}{missing[0]}, but it is missing.")
    return kind(**{name: _value(hints[name], value, where + name) for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ValueError(f"Setting {where} must be a table, but got {value!r}.")
        return _build(cast(type, hint), value, f"{where}.")
    choices = get_args(hint)
    if hint == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ValueError(f"Setting {where} must be a list of strings, but got {value!r}.")
    if choices and all(isinstance(choice, str) for choice in choices):
        if value not in choices:
            raise ValueError(f"Setting {where} must be one of {choices}, but got {value!r}.")
        return value
    kinds = choices or (hint,)
    if isinstance(value, int) and not isinstance(value, bool) and float in kinds:
        value = float(value)
    if not isinstance(value, tuple(kinds)) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
        raise ValueError(f"Setting {where} must be of type {names}, but got {value!r}.")
    return value


def without_none(value: Any) -> Any:
    """A setting as TOML and JSON hold it: tables without their entries that are None, lists for tuples."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return list(value) if isinstance(value, tuple) else value
