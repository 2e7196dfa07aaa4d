"""The status page in a real browser: every action of it, with and without JavaScript, on a phone and on a desk, by mouse and
by keyboard alone, in both colour schemes. Pictures of all of it are in `.cache/screenshots/`."""

import io
import json
import re
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from stream_scrub.config import Http
from stream_scrub.kafka import clients
from stream_scrub.model import Reason, RegisterKind
from stream_scrub.ops import http_server
from stream_scrub.ops.logs import configure
from stream_scrub.serve import tokens
from stream_scrub.serve.guard import COOKIE
from stream_scrub.serve.page import list_import, live_parts
from stream_scrub.serve.watch import watcher
from stream_scrub.serve.watch.time_series import FILE
from tests.support.fakes import imports
from tests.support.fakes.desk import Desk
from tests.support.fakes.process_status import worker
from tests.support.running import browsing
from tests.support.running.server import publish
from tests.unit.serve.conftest import CONSENTING, make_lists, starting

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


class Mode(NamedTuple):
    """How somebody looks at the page."""

    name: str
    size: dict
    scheme: str
    script: bool
    keyboard: bool


MODES = [
    Mode("phone-light", PHONE, "light", True, False),
    Mode("desk-dark-keyboard", DESK, "dark", True, True),
    Mode("phone-dark-keyboard-no-script", PHONE, "dark", False, True),
]


DESK = Desk()


def day_of_figures():
    """What a server that ran for a day has kept of the workers that it watches."""
    now = int(time.time()) // 60 * 60
    minutes = []
    for ago in range(1, 1441):
        if 300 <= ago < 400:
            continue  # nobody watched
        busy = 1000 + 600 * (ago % 120) // 120 + ago // 3
        verdicts = {"clear": busy * 4, "opposed": busy, "no-consent": busy // 3, "invalid-number": ago % 9}
        minutes.append({"at": now - ago * 60, "verdicts": verdicts, "lag": float(ago % 50)})
    return json.dumps({"format": 1, "minutes": minutes[::-1]})


@pytest.fixture(scope="module")
def shown(rules, tmp_path_factory):
    """A server with everything to show: a worker that holds, one that says nothing, a day of figures, deltas."""
    state, out = tmp_path_factory.mktemp("state"), io.BytesIO()
    (state / FILE).write_text(day_of_figures())
    collector, counters, _ = worker("worker-0")
    counters.assigned, counters.lags = 3, {"0": 12, "1": 5}
    counters.emitted(Counter({Reason.CLEAR: 10}), 0.1, 0.1, 0.1)
    counters.holding, counters.why = "log-behind", "the log's end was last confirmed 31 s ago"
    log = make_lists()
    for place in range(60):
        publish(log, "internal", [33612000000 + place], name="requests")
    publish(log, "tps", range(447400000000, 447400000500), RegisterKind.DENY, name="tps-2026-11-26.csv")
    now = int(time.time() * 1000)
    log.records[:] = [
        each._replace(timestamp_ms=now - 60_000 * (log.end - each.offset)) for each in log.records
    ]
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(live_parts, "LIVE_EVERY_S", 0.2)
        patch.setattr(watcher, "_EVERY_S", 0.2)
        patch.setattr(clients.Brokers, "requests_writer", lambda *_: DESK)
        patch.setattr(clients.Brokers, "last_refused", lambda *_: iter(DESK.refused))
        patch.setattr(
            list_import, "run", lambda *given: list_import._outcome(lambda: effect(*given), str(given[1]))
        )
        stack.enter_context(
            http_server.serving(
                Http(listen="127.0.0.1:0"),
                lambda: [collector()],
                lambda _: None,
                configure("info", "json", out),
            )
        )
        port = json.loads(out.getvalue().splitlines()[0])["port"]
        start = stack.enter_context(starting(rules))
        watch = [f"127.0.0.1:{port}", "localhost:9"]
        file = state / "tokens.json"
        scopes = ["check", "history", "request", "admin"]
        token = tokens.add(file, "supervisor", scopes, datetime.now(UTC)).token
        server = start(log, http__watch=watch, worker__state_dir=str(state), http__tokens=str(file))
        server.client.cookies.set(COOKIE, token)
        server.until(lambda: "worker-0" in server.client.get("/").text)
        server.until(lambda: "tps-2026-11-26.csv" in server.client.get("/").text)
        yield server


def effect(settings, file, form, dry_run, _stopping):
    return imports.imported(settings, None, file, form, dry_run)


@pytest.fixture
def faults():
    """What pages asked of elsewhere, and the errors on their consoles."""
    return []


@pytest.fixture
def looking(browser, faults):
    """Open a page in a mode; what it asks of anywhere else is a fault, and so is an error on its console."""
    with ExitStack() as stack:

        def look(mode, server, **more):
            context = browser.new_context(
                viewport=mode.size, color_scheme=mode.scheme, java_script_enabled=mode.script, **more
            )
            stack.callback(context.close)
            for cookie in server.client.cookies.jar:  # who has signed in
                context.add_cookies([{"name": cookie.name, "value": cookie.value or "", "url": server.url}])
            page = context.new_page()
            page.set_default_timeout(120_000)
            page.on("filechooser", lambda _: None)  # from the start: what opens before that is told is lost
            page.on(
                "request", lambda request: None if request.url.startswith(own) else faults.append(request.url)
            )
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
            page.goto(server.url)
            return page

        own = ("http://127.0.0.1:", "data:")
        yield look
        assert faults == []


def seen(page, mode, name):
    """The page is as it should be: no scrolling sideways, nothing that axe finds; and it is kept as a picture."""
    if mode.script:
        assert browsing.faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    browsing.picture(page, f"{name}-{mode.name}")


def reach(page, label, mode):
    """Where that label leads, by the mode's own means."""
    found = page.get_by_label(label, exact=True) if isinstance(label, str) else label
    if not mode.keyboard:
        found.scroll_into_view_if_needed()
        return found
    for _ in range(150):
        page.keyboard.press("Tab")
        if found.evaluate("element => element === document.activeElement"):
            return found
    raise AssertionError(f"no way there by Tab: {label}")


def fill(page, form, label, text, mode):
    found = reach(page, form.get_by_label(label, exact=True), mode)
    page.keyboard.type(text) if mode.keyboard else found.fill(text)


def press(page, form, button, mode):
    found = reach(page, form.get_by_role("button", name=button), mode)
    with page.expect_navigation():
        page.keyboard.press("Enter") if mode.keyboard else found.click()


def heading(page):
    return page.get_by_role("heading", level=1).text_content()


def go(page, name, mode):
    """Follow a link of the navigation."""
    link = reach(page, page.get_by_role("navigation").get_by_role("link", name=name, exact=True), mode)
    with page.expect_navigation():
        page.keyboard.press("Enter") if mode.keyboard else link.click()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
def test_every_action_is_done_by_everybody(shown, looking, faults, mode, tmp_path):
    """A supervisor on a phone, or one who uses no mouse, or whose browser runs no script, could not act."""
    page = looking(mode, shown)
    assert heading(page) == "Safe to dial: yes"
    rows = page.get_by_role("row")
    assert "not ready" in rows.filter(has_text="worker-0").text_content()
    assert "no answer" in rows.filter(has_text="localhost:9").text_content()
    assert (
        "list tps-2026-11-26.csv, 20"
        in rows.filter(has_text="days old").filter(has_text="tps").text_content()
    )
    assert page.locator("svg.chart rect.allowed").count() > 100
    seen(page, mode, "status")

    go(page, "Check a number", mode)
    form = page.locator("form[action='/check']")
    fill(page, form, "Number", "06 12 34 56 78", mode)
    press(page, form, "Check", mode)
    assert heading(page).startswith("Blocked: opposed on ")
    assert page.get_by_text("Now in these registers: consent, internal.").count() == 1
    assert form.get_by_label("Number", exact=True).input_value() == "06 12 34 56 78"
    if mode.script:
        assert form.get_by_role("option", name="France (FR)").count() == 1
    seen(page, mode, "check")

    go(page, "Record an objection", mode)
    form = page.locator("form[action='/opt-out']")
    seen(page, mode, "opt-out-form")
    fill(page, form, "Number of the person who objects", f"+{CONSENTING}", mode)
    form.get_by_label("Day of the objection").fill("2026-11-30")
    channel = reach(page, form.get_by_label("How they objected"), mode)
    page.keyboard.type("letter") if mode.keyboard else channel.select_option("letter")
    press(page, form, "Record the objection", mode)
    assert heading(page) == "The objection is recorded"
    seen(page, mode, "opt-out")

    for _ in range(2):
        DESK.ask(b"Please never call " + b"my house " * 30, b"form-7")
    go(page, "Unread requests", mode)
    seen(page, mode, "unread")
    form = page.locator("form[action='/unread']").first
    fill(page, form, "Number of the person who opts out", "blue", mode)
    press(page, form, "Record the opt-out", mode)
    assert "no valid number" in page.get_by_role("alert").text_content()
    faults.clear()  # the browser's own line on the answer's status
    seen(page, mode, "unread-wrong")
    fill(page, form, "Number of the person who opts out", "", mode)
    for _ in range(2):
        press(page, form, "No opposition", mode)
        assert heading(page) == "The request is settled: no opposition"
        go(page, "Unread requests", mode)
    assert page.get_by_text("None.").count() == 1
    seen(page, mode, "unread-none")

    go(page, "Import a list", mode)
    list_file = tmp_path / "tps-2026-11-27.csv"
    list_file.write_text("447400123456\n447400123457\n")
    form = page.locator("form[action='/lists']")
    seen(page, mode, "list-form")
    chooser = reach(page, form.get_by_label("List file"), mode)
    with page.expect_file_chooser() as opened:
        page.keyboard.press("Space") if mode.keyboard else chooser.click()
    opened.value.set_files(list_file)
    register = reach(page, form.get_by_label("Register", exact=True), mode)
    page.keyboard.type("tps") if mode.keyboard else register.select_option("tps")
    press(page, form, "Show a dry run", mode)
    assert heading(page) == "Nothing is published yet"
    seen(page, mode, "list")
    press(page, page.locator("form[action='/lists/publish']"), "Publish in tps", mode)
    assert heading(page) == "The list is published in tps"
    seen(page, mode, "published")
    go(page, "API", mode)
    seen(page, mode, "docs")


def test_times_are_shown_in_the_viewers_zone_too(shown, looking):
    """A supervisor in Paris would read every hour wrong by one or two."""
    page = looking(MODES[1], shown, timezone_id="Asia/Tokyo")
    text = page.locator("#status time").first.text_content()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC \(\w{3},? \d\d:\d\d here\)", text)
    rows = page.locator("#past tbody tr time").first
    assert "here" in rows.text_content()


def test_a_value_is_read_under_the_pointer(shown, looking):
    """What a bar stands for could only be guessed."""
    page = looking(MODES[1], shown)
    hint = page.locator("#past svg.chart g title").nth(5).text_content()
    assert re.fullmatch(r"\d\d:\d\d UTC: [\d,.]+ allowed, [\d,.]+ blocked \(per second\)", hint)


def test_every_table_opens(shown, looking):
    """The figures behind a chart, and the rules, could not be read by whoever sees no chart."""
    page = looking(MODES[0], shown)
    page.locator("#past summary").first.click()
    page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
    assert page.get_by_role("row").count() > 300
    publish(shown.log, "internal@day", [33612999998])
    page.get_by_role("row").filter(has_text="internal@day").first.wait_for()  # what is live went on
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    browsing.picture(page, "tables-phone-light")


def test_the_page_changes_by_itself(shown, looking):
    """A supervisor would look at a state of an hour ago."""
    page = looking(MODES[1], shown)
    publish(shown.log, "internal@night", [33612999999])
    page.get_by_role("row").filter(has_text="internal@night").first.wait_for()
    shown.state.stopping = True  # the events end, and the browser tries again
    page.get_by_text("Not live").wait_for()
    shown.state.stopping = False
    page.get_by_text("Not live").wait_for(state="hidden")


def test_somebody_signs_in_and_out(serve, looking, faults, tmp_path):
    """Nobody could use the page of a server that is reached over the network."""
    mode = MODES[1]
    file = tmp_path / "tokens.json"
    token = tokens.add(file, "operator", ["admin"], datetime.now(UTC)).token
    page = looking(mode, serve(make_lists(), http__tokens=str(file)))
    assert heading(page) == "Sign in"
    seen(page, mode, "sign-in")
    fill(page, page.locator("form"), "Token", "scrub_wrong", mode)
    press(page, page.locator("form"), "Sign in", mode)
    assert page.get_by_role("alert").text_content() == "This token is not valid."
    assert "401" in faults.pop()
    seen(page, mode, "sign-in-wrong")
    fill(page, page.locator("form"), "Token", token, mode)
    press(page, page.locator("form"), "Sign in", mode)
    assert heading(page) == "Safe to dial: yes"
    seen(page, mode, "signed-in")
    press(page, page.locator("header"), "Sign out", mode)
    assert heading(page) == "Sign in"


def test_the_worst_news_is_readable(serve, looking):
    """The one line that matters most could not be read in the dark, or does not say what to do."""
    mode = MODES[2]._replace(script=True, keyboard=False, name="phone-dark")
    server = serve(make_lists(), rules__index_lag_max_s="0.3")
    server.reader.silent = True
    server.until(lambda: "Safe to dial: no" in server.client.get("/").text)
    page = looking(mode, server)
    assert heading(page) == "Safe to dial: no" and page.locator(".verdict").get_by_text("To do:").count() == 1
    seen(page, mode, "not-safe")
