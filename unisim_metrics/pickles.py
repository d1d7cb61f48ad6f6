"""Unpickling as the reading of data: what every reader of pickles of others here shares.

A pickle is a program: it names functions and calls them. Here it names nothing that a reader did not list.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from typing import IO, Any

PICKLE_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)
"""What the bytes of a broken or hostile pickle end in."""


# Python's own unpickler rather than the quicker one in C, which takes memory for as many entries as a pickle claims.
class ListedNamesUnpickler(pickle._Unpickler):
    """Unpickles Python's own containers, numbers and texts, and what stands behind listed names.

    Args:
        file: The pickle.
        names: What a pickle may name, by module and name.
        encoding: How texts that Python 2 wrote are decoded, as in `pickle.load`.
    """

    def __init__(
        self, file: IO[bytes], names: Mapping[tuple[str, str], Any], encoding: str = "ASCII"
    ) -> None:
        super().__init__(file, encoding=encoding)
        self.names = names

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands behind a listed name.

        Raises:
            UnpicklingError: If the name is not listed.
        """
        if (module, name) not in self.names:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of plain data")
        return self.names[module, name]
