"""The report in a real browser: from disk, by keyboard, on a narrow screen, in light and dark, and without its script."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tasks.report import write_report
from tests.tasks.run_folder import make_run

SHOWN = "[data-items] > article:not([hidden])"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
# every text that is shown, with the contrast of its colour on what lies behind it (WCAG 2.2, relative luminance)
CONTRAST = """() => {
  const light = (c) => {
    const [r, g, b] = c.map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  return Array.from(document.querySelectorAll("body *")).filter((e) => e.offsetParent && Array.from(e.childNodes).some(
      (n) => n.nodeType === 3 && n.textContent.trim())).map((e) => {
    const [a, b] = [light(rgb(getComputedStyle(e).color).slice(0, 3)), light(behind(e))].sort((x, y) => y - x);
    return [(a + .05) / (b + .05), e.outerHTML.slice(0, 90)]; });
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("report") / "run"))


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    contexts = []

    def opened(path: Path, **options: object) -> Page:
        contexts.append(browser.new_context(**{"viewport": WIDE} | options))
        page = contexts[-1].new_page()
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def test_pairs_are_searched_filtered_and_sorted(report: Path, opened: Callable[..., Page]) -> None:
    pairs = opened(report).locator("#pairs")
    cards, count = pairs.locator(SHOWN), pairs.locator("[data-count]")
    assert (cards.count(), count.inner_text()) == (20, "showing 20 of 78")
    pairs.get_by_label("Round").select_option("round 2")
    assert count.inner_text() == "showing 20 of 39"
    pairs.get_by_label("Search").fill("WHAT p2-12")
    assert count.inner_text() == "showing 1 of 1" and "What is 12 plus 2?" in cards.inner_text()
    pairs.get_by_label("Search").fill("nobody said this")
    assert (cards.count(), count.inner_text()) == (0, "nothing fits")
    pairs.get_by_label("Search").fill("")
    for order, first in (("least alike first", min), ("most alike first", max)):
        pairs.get_by_label("Order").select_option(order)
        alike = pairs.locator("article[data-group='round 2']").evaluate_all("all => all.map((e) => Number(e.dataset.alike))")
        assert float(cards.first.get_attribute("data-alike") or "") == first(alike)


def test_answers_to_one_question_stand_side_by_side_and_open_with_those_that_changed(
    report: Path, opened: Callable[..., Page]
) -> None:
    answers = opened(report).locator("#answers")
    cards, shown = answers.locator(SHOWN), answers.get_by_label("Answers that")
    assert shown.input_value() == "changed"
    assert set(cards.evaluate_all("all => all.map((e) => e.dataset.kind)")) == {"changed|became right"}
    first = cards.first
    assert first.locator(".answer .role").all_inner_texts() in (
        ["start ✗ wrong", "round 1 ✓ right", "round 2 ✓ right"], ["start ✗ wrong", "round 1 ✗ wrong", "round 2 ✓ right"]
    )  # fmt: skip
    tops = first.locator(".answer").evaluate_all("all => all.map((e) => e.getBoundingClientRect().top)")
    assert len(set(tops)) == 1
    shown.select_option("always wrong")
    assert cards.count() > 0 and cards.locator(".good").count() == 0


def test_the_keyboard_reaches_everything_in_the_pages_order_and_is_never_trapped(
    report: Path, opened: Callable[..., Page]
) -> None:
    page = opened(report)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content" and page.locator(":focus").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    stops: list[int] = []
    at = "Array.from(document.querySelectorAll('*')).indexOf(document.activeElement)"
    while page.evaluate("document.activeElement !== document.body"):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(at))
        assert len(stops) < 200, "the page never lets the focus go"
        if page.evaluate("document.activeElement === document.body"):
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus is not to be seen"
    assert stops[:-1] == sorted(stops[:-1])
    needed = page.evaluate(
        "Array.from(document.querySelectorAll('main a, main summary, main input, main select, main button, main .wide'))"
        ".filter((e) => e.checkVisibility()).length"
    )
    assert len(set(stops[:-1])) >= needed > 10


def test_show_more_hands_the_focus_to_the_first_new_card(report: Path, opened: Callable[..., Page]) -> None:
    page = opened(report)
    more = page.locator("#pairs [data-more]")
    for shown in (40, 60, 78):
        more.focus()
        page.keyboard.press("Enter")
        assert page.locator(f"#pairs {SHOWN}").count() == shown
        assert page.evaluate("document.activeElement.matches('#pairs article')")
    assert not more.is_visible()


def test_all_text_is_readable_in_light_and_dark(report: Path, opened: Callable[..., Page]) -> None:
    papers = []
    for scheme in ("light", "dark"):
        page = opened(report, color_scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
        found = page.evaluate(CONTRAST)
        assert len(found) > 200
        assert [one for one in found if one[0] < 4.5] == []
        papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.add_style_tag(content=".quiet { color: #777 !important }")  # the check itself sees what is too faint
        assert min(page.evaluate(CONTRAST))[0] < 4.5
    assert len(set(papers)) == 2


def test_nothing_sticks_out_of_a_narrow_screen(report: Path, opened: Callable[..., Page]) -> None:
    page = opened(report, viewport=NARROW)
    page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
    for more in page.locator("[data-more]").all():
        while more.is_visible():
            more.click()
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    assert page.evaluate("Array.from(document.querySelectorAll('.wide')).some((e) => e.scrollWidth > e.clientWidth)")


def test_on_paper_no_column_of_a_table_is_cut_off(report: Path, opened: Callable[..., Page]) -> None:
    page = opened(report, viewport={"width": 718, "height": 1000})  # A4 within its margins
    cut = "Array.from(document.querySelectorAll('.wide')).filter((e) => e.scrollWidth > e.clientWidth + 1).length"
    assert page.evaluate(cut) > 0  # on a screen one scrolls
    page.emulate_media(media="print")
    assert page.evaluate(cut) == 0
    assert not page.locator(".controls").first.is_visible()


def test_whoever_asks_for_less_motion_gets_none(report: Path, opened: Callable[..., Page]) -> None:
    scrolls = "getComputedStyle(document.documentElement).scrollBehavior"
    assert opened(report).evaluate(scrolls) == "smooth"
    assert opened(report, reduced_motion="reduce").evaluate(scrolls) == "auto"


def test_only_the_pages_own_script_runs_and_nothing_is_asked_for(
    report: Path, tmp_path: Path, opened: Callable[..., Page], browser: Browser
) -> None:
    forged = tmp_path / "forged.html"  # with a script of somebody else, which the policy must stop
    script = "<script>document.title = 'forged'</script><img src=x onerror=\"document.title = 'forged'\">"
    forged.write_text(report.read_text(encoding="utf-8").replace("</main>", f"{script}</main>"), encoding="utf-8")
    page = opened(forged)
    assert page.title() == "demo · plumbline"
    assert page.locator("#pairs [data-count]").inner_text() == "showing 20 of 78"
    # negative control: without the policy it does run
    source = forged.read_text(encoding="utf-8").replace("Content-Security-Policy", "x")
    forged.write_text(source, encoding="utf-8")
    assert opened(forged).title() == "forged"
    asked: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.close()
    assert asked == [report.as_uri()]


def test_without_scripts_all_cards_are_there(report: Path, opened: Callable[..., Page]) -> None:
    page = opened(report, java_script_enabled=False)
    assert page.locator(f"#pairs {SHOWN}").count() == 78
    assert not page.locator(".controls").first.is_visible()
