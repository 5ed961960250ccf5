"""A real browser for tests that look at pages as a person does: Debian's Chromium, driven by playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = "PLUMBLINE_SCREENSHOTS"  # a folder: the README's pictures are written there


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One a module and not one a session: while playwright's event loop lives in this thread, no other test may run one of its
    own."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with chromium() as running:
        yield running


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Chromium without a window. It reaches loopback and files alone: every other name is refused."""
    from playwright.sync_api import sync_playwright

    alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", alone])
        yield running
        running.close()


def screenshot(page: "Page", name: str) -> None:
    """Write `name`.png where PLUMBLINE_SCREENSHOTS says, in 128 colours so that it stays small; nothing where it is not set."""
    if not (folder := os.environ.get(SCREENSHOTS)):
        return
    from io import BytesIO

    from PIL import Image

    page.wait_for_timeout(1500)  # graphs and plots are drawn some frames later
    shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
    image = shot.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)  # other methods change rare colours
    Path(folder).mkdir(parents=True, exist_ok=True)
    image.save(Path(folder) / f"{name}.png", optimize=True)
