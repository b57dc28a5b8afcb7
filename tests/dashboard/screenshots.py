"""`make screenshots`: the dashboard on made-up traffic, in four pictures in docs/.

`python -m tests.dashboard.screenshots [folder]`. Fonts are the system's; Inter if there is one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import oxipng

from tests.dashboard.conftest import fill
from tests.dashboard.driving import Dashboard, browser
from tests.harness import ROOT, Pipeline

SIZES = {1_440: 1_640, 390: 1_640}
"""Width of the window to height of the picture, in pixels."""
A_DAY = 6_000


def take(chrome: Any, url: str, folder: Path) -> None:
    """Four pictures, named by width and theme."""
    for width, height in SIZES.items():
        for theme in ("light", "dark"):
            path = folder / f"dashboard-{width}-{theme}.png"
            window = {"width": width, "height": height}
            with Dashboard(chrome, url, viewport=window, color_scheme=theme) as dashboard:
                dashboard.open(live=True)
                # The live dot has beaten by then.
                dashboard.page.wait_for_timeout(1_000)
                dashboard.page.screenshot(path=path)
            oxipng.optimize(path, level=4, strip=oxipng.StripChunks.safe())
            print(path, path.stat().st_size)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"
    with tempfile.TemporaryDirectory() as data, Pipeline(Path(data)) as pipeline:
        fill(pipeline, a_day=A_DAY)
        with browser() as chrome:
            take(chrome, pipeline.query_url, folder)


if __name__ == "__main__":
    main()
