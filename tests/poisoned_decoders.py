"""A format of images whose decoder kills the process that reads it, for every Python that is started from here.

Decoders in C have such faults. Pillow takes a format from whoever registers it; `sitecustomize` does so at the start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

POISON = b"POISON: kills its reader"
HOW = "SIGSEGV"

_PLUGIN = """
import os, signal, time
from PIL import Image, ImageFile, PngImagePlugin

class Poison(ImageFile.ImageFile):
    format = "POISON"

    def _open(self):
        os.kill(os.getpid(), signal.SIGSEGV)

Image.register_open("POISON", Poison, lambda start: start.startswith(b"POISON"))

if pause := {pause}:
    read_header = PngImagePlugin.PngImageFile._open

    def read_slowly(self):
        time.sleep(pause)
        read_header(self)

    PngImagePlugin.PngImageFile._open = read_slowly
"""


def environment(folder: Path, pause: float = 0, modules: Sequence[str] = ()) -> dict[str, str]:
    """The variables with which Python has that decoder, and finds the modules of the tests.

    Args:
        folder: Where it stands; a new one.
        pause: How many seconds each PNG takes, for deaths to fall into.
        modules: What else is imported at the start.
    """
    folder.mkdir()
    imports = "".join(f"import {module}\n" for module in modules)
    (folder / "sitecustomize.py").write_text(_PLUGIN.format(pause=pause) + imports)
    paths = [str(folder), str(Path(__file__).parent), *filter(None, sys.path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
