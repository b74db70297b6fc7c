"""The graph of a run in a real browser: drawn, walked by keys, folded, and as plain as its list."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import browser
from explore_tools import explored
from governed import World
from logsim import ORIGIN, LogSim
from muniment.records.thingnames import thing_name

DRAWN = "document.querySelector('#drawn')?.textContent"
HOSTILE = "</text><script>document.title = 'taken'</script><img src=x onerror=alert(1)>\u202e" * 20


def tree(count: int, width: int) -> World:
    """Runs that trigger others, `width` each; one of the last is revoked."""
    world = World(ORIGIN)
    world.decide("r0")
    for number in range(1, count):
        world.decide(f"r{number}")
        world.edge("triggered_by", f"run:r{number}", f"run:r{(number - 1) // width}")
    world.revoke(execution=f"r{count - 1}")
    return world


async def look(
    world: World, folder: Path, run: str, work: Callable[[browser.Page, str], None]
) -> None:
    """Opens the page of a run, waits for its graph, and has `work` do what a person would."""
    sim = LogSim()
    sim.entries = world.entries()
    browser.chromium()
    async with explored(sim, folder) as explorer:

        def watch() -> None:
            with browser.page() as page:
                page.resize(1280, 900)
                page.open(f"{explorer.url}lineage?run={quote(run, safe='')}")
                page.wait_until(DRAWN)
                work(page, explorer.url)
                own = f"request: {explorer.url}"
                assert [one for one in page.problems if not one.startswith(own)] == []

        await asyncio.to_thread(watch)


def focused(page: browser.Page) -> str:
    """The name of what has the focus, as a screen reader says it."""
    return page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''")


async def test_keys_lead_along_the_lineage(tmp_path: Path) -> None:
    world = World(ORIGIN)
    world.decide("plan")
    for child, parent in (("call", "plan"), ("write", "call"), ("mail", "write")):
        world.decide(child)
        world.edge("triggered_by", f"run:{child}", f"run:{parent}")
    world.revoke(execution="write")

    def work(page: browser.Page, url: str) -> None:
        page.tab.click("#things")  # runs alone
        page.evaluate("document.querySelector('#home').focus()")
        page.press("Tab")
        assert focused(page) == "run call, allowed, the traced run"
        page.press("ArrowRight")
        assert focused(page) == "run write, allowed, revoked, followed from it"
        assert "since 1789999990" in page.evaluate("document.querySelector('#detail').textContent")
        page.press("ArrowRight")
        assert focused(page) == "run mail, allowed, cut by a revocation, followed from it"
        page.press("ArrowRight")  # there is nothing more
        assert focused(page).startswith("run mail")
        page.press("Home")
        page.press("ArrowLeft")
        assert focused(page) == "run plan, allowed, led to it"
        before = page.evaluate("document.querySelector('#inside').getAttribute('transform')")
        page.press("-")
        assert before != page.evaluate(
            "document.querySelector('#inside').getAttribute('transform')"
        )
        page.press("Enter")
        with page.arriving():
            page.tab.click("#detail a >> nth=0")
        page.wait_until(DRAWN)
        assert page.evaluate("document.title").startswith("Lineage of plan")
        assert page.evaluate("document.querySelector('#picture .traced .name').textContent")

    await look(world, tmp_path, "call", work)


async def test_times_and_decisions_are_shown_on_demand(tmp_path: Path) -> None:
    world = World(ORIGIN)
    world.decide("plan", id_="d-plan")
    world.edge("performed_by", "run:plan", "agent:sub")

    def work(page: browser.Page, _: str) -> None:
        text = "document.querySelector('#picture').textContent"
        assert "d-plan" in page.evaluate(text)
        assert "2026-09-21" not in page.evaluate(text)
        page.tab.click("#times")
        assert "2026-09-21" in page.evaluate(text)
        page.tab.click("#things")
        assert "d-plan" not in page.evaluate(text)
        assert "2 relations" not in page.evaluate(DRAWN)

    await look(world, tmp_path, "plan", work)


async def test_a_large_graph_is_folded_and_its_groups_open(tmp_path: Path) -> None:
    def work(page: browser.Page, _: str) -> None:
        assert "300 things" in page.evaluate(DRAWN)
        assert page.evaluate("document.querySelectorAll('#picture .node.revoked').length") == 1
        groups = "document.querySelectorAll('#picture .group').length"
        before = page.evaluate(groups)
        assert before > 0
        group = page.tab.locator("#picture .group").first
        group.focus()  # which brings it into the picture; a graph of so many is larger
        group.click()
        assert "things" in page.evaluate(DRAWN)
        assert "300 things" not in page.evaluate(DRAWN)
        assert page.evaluate("document.activeElement.dataset.id").startswith("n")

    await look(tree(1500, 3), tmp_path, "r0", work)


async def test_ten_thousand_edges_are_drawn_in_part_and_listed_in_full(tmp_path: Path) -> None:
    world = World(ORIGIN)
    world.decide("root")
    for number in range(10_000):
        world.edge("triggered_by", "run:root", f"run:parent-{number}")

    def work(page: browser.Page, _: str) -> None:
        drawn = page.evaluate("document.querySelectorAll('#picture .node').length")
        assert 10 <= drawn <= 601
        assert "more things in" in page.evaluate(DRAWN)
        assert page.evaluate("document.querySelectorAll('#list tbody tr').length") == 100

    await look(world, tmp_path, "root", work)


async def test_what_strangers_chose_is_text(tmp_path: Path) -> None:
    world = World(ORIGIN)
    run = "<b>&lt;run/..%2f'\">"
    world.decide(run, subject=HOSTILE)
    world.edge("performed_by", f"run:{run}", f"agent:{thing_name(HOSTILE[:500])}")
    world.edge("performed_by", f"run:{run}", "agent:" + "long" * 500)

    def work(page: browser.Page, _: str) -> None:
        assert (
            page.evaluate("document.querySelectorAll('main img, main script, main b').length") == 0
        )
        assert page.evaluate("document.title") == f"Lineage of {run} – Muniment"
        assert page.evaluate("document.querySelector('.traced .name').textContent") == run
        assert "\u202e" not in page.evaluate("document.documentElement.textContent")
        page.resize(390, 800)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

    await look(world, tmp_path, run, work)


async def test_without_the_graph_the_list_stays(tmp_path: Path) -> None:
    """A graph that cannot be had is said, and the list is there as ever."""

    def work(page: browser.Page, url: str) -> None:
        page.tab.route("**/lineage.json*", lambda route: route.abort())
        page.open(f"{url}lineage?run=r0")
        page.wait_until(DRAWN)
        assert "the list below says the same" in page.evaluate(DRAWN)
        assert page.evaluate("document.querySelectorAll('#list tbody tr').length") == 9
        page.problems.clear()

    await look(tree(9, 2), tmp_path, "r0", work)
