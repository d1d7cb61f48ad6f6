"""The model that a metric or a loss holds, but never saves."""

from __future__ import annotations

import os
from typing import Any, cast

from unisim_metrics.models import PerceptualModel, load_model
from unisim_metrics.models.kept import ModelLike


class Backbone:
    """Holds a model outside the module tree of a metric.

    A copy shares the model. A pickle carries its name, where it came by name, and the weights are read
    again (and checked) when they are first needed; a model that came as an object travels whole.
    """

    def __init__(self, model_name_or_path: ModelLike) -> None:
        self.source: str | os.PathLike[str] | None = None
        self.expected_hash: str | None = None
        if isinstance(model_name_or_path, (str, os.PathLike)):
            self.source = model_name_or_path
        self._model: PerceptualModel | None = load_model(model_name_or_path)

    @property
    def name(self) -> str:
        """The model's name, without reading weights: after unpickling what it was loaded by."""
        return str(self.source) if self._model is None else self._model.name

    @property
    def model(self) -> PerceptualModel:
        """The model, read again after unpickling."""
        if self._model is None:
            model = load_model(cast(str, self.source))
            if model.weights_hash() != self.expected_hash:
                raise ValueError(
                    f"Model {str(self.source)!r} has other weights than when the metric was pickled:"
                    f" expected {self.expected_hash}, but got {model.weights_hash()}."
                )
            self._model = model
        return self._model

    def __deepcopy__(self, memo: dict[int, Any]) -> Backbone:
        return self

    def __getstate__(self) -> dict[str, Any]:
        if self.source is None:
            return self.__dict__
        expected = self.expected_hash if self._model is None else self._model.weights_hash()
        return {"source": self.source, "expected_hash": expected, "_model": None}
