"""How the pages of Data Docs are drawn: complete without a network, and without a word to anybody.

Great Expectations' own pages take their styles, and the scripts that draw the index, from six other hosts, and their logo from
the vendor's, with an id of the run. The templates in `data_docs/` stand in for those that do, with one style and no script.

All are compiled once a process: each of its views makes a Jinja environment of its own, and each gate four views, so that fifty
templates would be compiled anew for every gate, which takes longer than the gate itself. The site's configuration names these.
"""

from functools import cache
from pathlib import Path
from typing import Any

from great_expectations.render.renderer.site_builder import SiteBuilder
from great_expectations.render.view import DefaultJinjaIndexPageView, DefaultJinjaPageView
from jinja2 import ChoiceLoader, Environment, FileSystemLoader


class Site(SiteBuilder):
    def build(self, *arguments: Any, **named: Any) -> Any:
        """Without copying 5 MB of fonts and pictures, at every gate, that no page shows."""
        self.target_store.copy_static_assets = _nothing
        return super().build(*arguments, **named)


class PageView(DefaultJinjaPageView):
    def __init__(self, **directories: Any) -> None:
        super().__init__(**directories)
        self.env = _environment()


class IndexPageView(PageView, DefaultJinjaIndexPageView):
    """The list of all suites and results."""

    _template = "page.j2"


@cache
def _environment() -> Environment:
    env = DefaultJinjaPageView().env  # its filters keep nothing from one page to the next
    assert env.loader is not None
    env.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent / "data_docs"), env.loader])
    return env


def _nothing() -> None:
    """There is nothing to copy."""
