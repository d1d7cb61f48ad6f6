"""Pages of this package in the browser of `browser`: opened from their files, and what a console would show in red."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import Page, open_page

# Gathers what a console would show in red, and what the page's policy has refused.
_GATHER = """
window.problems = [];
addEventListener("error", (event) => problems.push(event.message || event.target.outerHTML), true);
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective));
for (const level of ["error", "warn"]) console[level] = (...parts) => problems.push(parts.join(" "));
"""


@contextmanager
def open_watched(browser: str, profile: Path) -> Iterator[Page]:
    """Start a browser whose pages gather their problems in `problems`, from their first script on."""
    with open_page(browser, profile, timeout=60) as page:
        page.call("Page.enable")
        page.call("Page.addScriptToEvaluateOnNewDocument", source=_GATHER)
        yield page


def show(page: Page, file: Path, width: int = 1440, height: int = 1000, scheme: str = "light") -> Page:
    """Load a file afresh, in a window of a size, light or dark."""
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.open("about:blank", width, height)
    page.wait_for("location.href == 'about:blank'")
    page.open(file.as_uri(), width, height)
    page.wait_for("location.protocol == 'file:' && document.readyState == 'complete'")
    return page
