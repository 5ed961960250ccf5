"""How the pages of Data Docs are drawn: Great Expectations' own templates, compiled once a process, and no beacons.

Each of its views makes a Jinja environment of its own, and each gate four views: every page's templates, fifty in all, would be
compiled anew for every gate, which takes longer than the gate itself. The site's configuration names these views instead.
"""

import re
from functools import cache
from typing import Any

from great_expectations.render.view import DefaultJinjaIndexPageView, DefaultJinjaPageView
from jinja2 import Environment

_BEACON = re.compile(r"https://great-expectations-web-assets[^\"')]*")


class PageView(DefaultJinjaPageView):
    def __init__(self, **directories: Any) -> None:
        super().__init__(**directories)
        self.env = _environment()

    def render(self, document: Any, template: str | None = None, **values: Any) -> str:
        """Every page fetches its logo from the vendor's server, with the time and an id of the run: leave that out."""
        return _BEACON.sub("data:,", super().render(document, template, **values))


class IndexPageView(PageView, DefaultJinjaIndexPageView):
    """The list of all suites and results."""


@cache
def _environment() -> Environment:
    return DefaultJinjaPageView().env  # its filters keep nothing from one page to the next
