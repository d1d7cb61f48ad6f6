"""Exceptions raised by the package.

Each one also derives from the built-in exception that a caller of this ecosystem would expect, so that
``except ValueError`` and ``except OSError`` keep working.
"""

from __future__ import annotations

import sys

# What the libraries behind the URLs of fsspec (HTTP, S3, Google, Azure) raise that is no OSError, by their modules.
_OF_STORES = {
    "aiohttp": "ClientError",
    "botocore.exceptions": "BotoCoreError",
    "google.auth.exceptions": "GoogleAuthError",
    "azure.core.exceptions": "AzureError",
}


class UniSimError(Exception):
    """Base of the exceptions that only this package raises."""


class CheckpointError(UniSimError, ValueError):
    """A file of weights does not hold what its layout asks for, or holds what must not be unpickled."""


class GradientError(UniSimError, ValueError):
    """Pixels require gradients of a model through which none reach them. The message tells the way out."""


class BadRowsError(UniSimError, ValueError, OSError):
    """More rows of a collection cannot be scored than are allowed. The message tells how many, and the last reason."""


class ImageReadError(UniSimError, ValueError, OSError):
    """A file cannot be read as an image. The message names the file."""


class ModelUnavailableError(UniSimError, OSError):
    """The weights of a known model cannot be reached from here. The message tells each way out."""


def errors_of_stores(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What a store of files may refuse with, for an `except`.

    Args:
        others: What is caught besides; OSError, in which most of them come, is to be among it.

    Returns:
        These, and the errors of those libraries of stores that are loaded: others have raised nothing.
    """
    loaded = ((sys.modules.get(module), name) for module, name in _OF_STORES.items())
    return *others, *(getattr(module, name) for module, name in loaded if module is not None)
