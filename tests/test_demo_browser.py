"""The demo's pages and wsx.js in a real browser, driven through chromedriver (W3C WebDriver)."""

import contextlib
import csv
import io
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium and chromedriver (Debian: apt-get install chromium chromium-driver)",
)
# The key of an element in answers (WebDriver, 12.1).
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ROWS = "#records tbody tr"
CHECKS = Path(__file__).with_name("js") / "checks.mjs"
NAMES, CUT_NAMES = (
    re.findall(r'^  async "(.+)"\(', path.read_text(encoding="utf-8"), re.MULTILINE)
    for path in (CHECKS, CHECKS.with_name("resume.mjs"))
)


class Browser:
    """A browser without a window, and what a user does with it."""

    def __init__(self, base: str, driver: str, downloads: Path) -> None:
        self.base = base
        self.http = httpx.Client(base_url=driver, timeout=30)
        options = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # chromium refuses its sandbox to root, as in most containers
        preferences = {"download.default_directory": str(downloads)}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": CHROMIUM, "args": options, "prefs": preferences},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        self.session = ""
        session = self.ask("POST", "/session", capabilities={"alwaysMatch": wanted})["sessionId"]
        self.session = f"/session/{session}"

    def ask(self, method: str, path: str, **values: Any) -> Any:
        """One command; AssertionError with what the driver says went wrong."""
        reply = self.http.request(method, self.session + path, json=values if method == "POST" else None)
        value = reply.json()["value"]
        assert reply.status_code == 200, value
        return value

    def close(self) -> None:
        with contextlib.suppress(httpx.TransportError):
            self.ask("DELETE", "")
        self.http.close()

    def open(self, fragment: str = "") -> None:
        """Open the page anew, and wait until it shows something."""
        self.ask("POST", "/url", url="about:blank")
        self.ask("POST", "/url", url=f"{self.base}/atlas/{fragment}")
        self.until("return document.querySelector('#page').textContent !== ''")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.ask("POST", "/execute/sync", script=script, args=list(arguments))

    def until(self, script: str, *arguments: Any) -> None:
        """Wait until a script gives something true."""
        deadline = time.monotonic() + 15
        while not self.run(script, *arguments):
            assert time.monotonic() < deadline, f"it never came true: {script} {arguments}"

    def until_text(self, selector: str, text: str) -> None:
        """Wait until an element holds that text, alone."""
        self.until("return document.querySelector(arguments[0]).textContent === arguments[1]", selector, text)

    def element(self, selector: str) -> str:
        found: str = self.ask("POST", "/element", using="css selector", value=selector)[ELEMENT]
        return f"/element/{found}"

    def click(self, selector: str) -> None:
        self.ask("POST", f"{self.element(selector)}/click")

    def write(self, selector: str, text: str) -> None:
        """Put a text in the place of what a field holds."""
        element = self.element(selector)
        self.ask("POST", f"{element}/clear")
        self.ask("POST", f"{element}/value", text=text)

    def text(self, selector: str) -> str:
        text: str = self.ask("GET", f"{self.element(selector)}/text")
        return text

    def texts(self, selector: str) -> list[str]:
        """The visible texts of all elements."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText).filter(Boolean)", selector
        )
        return found

    def visible(self, selector: str) -> bool:
        return bool(self.ask("GET", f"{self.element(selector)}/displayed"))

    def emulate(self, width: int, dark: bool = False) -> None:
        """A screen of that width, and the colours its user prefers."""
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("POST", "/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=screen)
        colours = {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]}
        self.ask("POST", "/goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params=colours)

    def log_in(self) -> None:
        self.click("#log-in")
        self.click("#use-demo")
        self.click("#login .main")
        self.until_text("#who", "Editor: demo")

    def nameless(self, selector: str) -> list[str]:
        """The visible elements that a screen reader could not name; there must be some it could."""
        found = self.ask("POST", "/elements", using="css selector", value=selector)
        elements = [f"/element/{one[ELEMENT]}" for one in found]
        visible = [element for element in elements if self.ask("GET", f"{element}/displayed")]
        assert visible
        without = [element for element in visible if not self.ask("GET", f"{element}/computedlabel")]
        return [self.ask("GET", f"{element}/property/outerHTML") for element in without]

    def complaints(self) -> list[str]:
        """What the browser has put on its console since it was asked."""
        return [entry["message"] for entry in self.ask("POST", "/se/log", type="browser")]


@pytest.fixture(scope="module")
def driver() -> Iterator[str]:
    """The URL of chromedriver."""
    assert DRIVER is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        started = any("was started successfully" in line for line in process.stdout)
        assert started, "chromedriver did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def browser(demo: Any, driver: str, downloads: Path) -> Iterator[Browser]:
    """A browser that shows the page."""
    browser = Browser(demo.url, driver, downloads)
    try:
        browser.open()
        yield browser
    finally:
        browser.close()


def test_reading(browser: Browser) -> None:
    assert browser.texts(ROWS)[1].split("\n")[1].startswith("Åland Islands")
    assert browser.text("#status") == "249 found"
    assert browser.texts("#catalogues a") == ["countries 249", "languages 7923", "currencies 178"]

    browser.write("#text", "united")
    browser.until_text("#status", "7 found for “united”")
    browser.write("#text", "italy")
    browser.until_text("#status", "1 found for “italy”")
    assert browser.run("return location.hash") == "#countries?text=italy"
    browser.click(f"{ROWS} button")
    browser.until("return document.querySelector('#detail').open")
    assert browser.text("#detail-title").endswith("Italy")
    assert browser.texts("#detail dd")[:5] == ["Italy", "IT", "ITA", "380", "Italian Republic"]
    assert not browser.visible("#edit")
    browser.click("#detail [data-close]")

    browser.write("#text", "nothing at all")
    browser.until_text("#status", "0 found for “nothing at all”")
    assert browser.texts(ROWS) == []
    assert browser.complaints() == []


def test_paging_and_the_way_back(browser: Browser) -> None:
    browser.click("#catalogues a:nth-child(2)")
    browser.until_text("#page", "Page 1 of 397")
    browser.click("#next")
    browser.until_text("#page", "Page 2 of 397")
    second = browser.texts(ROWS)
    browser.click("#next")
    browser.until_text("#page", "Page 3 of 397")
    assert browser.texts(ROWS) != second
    browser.ask("POST", "/back")
    browser.until_text("#page", "Page 2 of 397")
    assert browser.texts(ROWS) == second

    browser.open("#languages?text=sign&page=1000")
    pages = httpx.get(f"{browser.base}/atlas/languages/search?text=sign").json()["pages"]
    browser.until("return location.hash === arguments[0]", f"#languages?text=sign&page={pages}")
    assert browser.run("return document.querySelector('#text').value") == "sign"
    browser.until_text("#page", f"Page {pages} of {pages}")
    assert browser.run("return document.querySelector('#next').disabled")
    assert browser.complaints() == []


def test_editing(browser: Browser) -> None:
    browser.click("#log-in")
    browser.write("#token", "wrong")
    browser.click("#login .main")
    browser.until_text("#login .problem", "Invalid or expired credentials")
    browser.write("#token", "atlas-demo-visitor")
    browser.click("#login .main")
    browser.until_text("#login .problem", "/atlas/me is not for these credentials.")
    browser.click("#login [data-close]")
    assert not browser.visible("#add")
    browser.log_in()

    browser.click("#add")
    browser.write("#field-name", "Zembla")
    browser.write("#field-code", "zz")
    browser.click("#editor .main")
    browser.until_text("#field-code-wrong", "must be two capital letters")
    assert browser.run("return document.activeElement.id") == "field-code"
    for field, value in {"code": "IT", "alpha_3": "ZMB", "numeric": "999", "official_name": "Kingdom"}.items():
        browser.write(f"#field-{field}", value)
    browser.click("#editor .main")
    browser.until("return document.querySelector('#editor .problem').textContent.includes('belongs to another')")
    browser.write("#field-code", "XX")
    browser.write("#field-alpha_3", "XXX")
    browser.click("#editor .main")
    browser.until("return !document.querySelector('#editor').open")

    browser.open("#countries?text=zembla")
    assert browser.texts("#catalogues a")[0] == "countries 250"
    browser.click(f"{ROWS} button")
    browser.until("return document.querySelector('#detail').open")
    browser.click("#edit")
    browser.write("#field-name", "New Zembla")
    browser.click("#editor .main")
    browser.until_text(f"{ROWS} button", "New Zembla")

    browser.click(f"{ROWS} button")
    browser.until("return document.querySelector('#detail').open")
    browser.click("#remove")
    browser.ask("POST", "/alert/accept")
    browser.until_text("#status", "0 found for “zembla”")
    browser.click("#log-out")
    browser.until_text("#who", "")
    assert not browser.visible("#add")
    assert [line for line in browser.complaints() if "Failed to load resource" not in line] == []


def test_a_language_without_a_short_code(browser: Browser) -> None:
    browser.log_in()
    browser.click("#catalogues a:nth-child(2)")
    browser.until_text("#add", "Add a language")
    browser.click("#add")
    browser.write("#field-name", "Zemblan")
    browser.write("#field-code", "qaa")
    browser.click("#field-kind option:nth-child(4)")
    browser.click("#editor .main")
    browser.until("return !document.querySelector('#editor').open")
    try:
        record = httpx.get(f"{browser.base}/atlas/languages/detail/qaa").json()
        assert record == {"code": "qaa", "alpha_2": None, "name": "Zemblan", "kind": "constructed"}
    finally:
        httpx.delete(
            f"{browser.base}/atlas/languages/remove/qaa", headers={"Authorization": "Bearer atlas-demo-editor"}
        )


def test_the_download(browser: Browser, downloads: Path) -> None:
    browser.write("#text", "united")
    browser.until_text("#status", "7 found for “united”")
    browser.click("#download")
    target = downloads / "countries.csv"
    deadline = time.monotonic() + 15
    while not target.exists():
        assert time.monotonic() < deadline, list(downloads.iterdir())
        browser.run("return 0")
    rows = list(csv.DictReader(io.StringIO(target.read_text(encoding="utf-8"))))
    assert [row["code"] for row in rows][:2] == ["MX", "TZ"]
    assert len(rows) == 7


def test_every_screen_holds_the_page(browser: Browser) -> None:
    browser.log_in()
    colours = set()
    for width, dark in itertools.product((320, 768, 1200), (False, True)):
        browser.emulate(width, dark)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.visible("#records .minor") == (width > 640)
        browser.click("#add")
        box = browser.run("return document.querySelector('#editor').getBoundingClientRect().toJSON()")
        assert 0 <= box["left"] < box["right"] <= width
        style = "const style = getComputedStyle(document.querySelector('#editor'));"
        colours.add((dark, browser.run(f"{style} return `${{style.color}} on ${{style.backgroundColor}}`")))
        browser.click("#editor [data-close]")
    assert colours == {
        (False, "rgb(23, 38, 43) on rgb(255, 255, 255)"),
        (True, "rgb(228, 236, 236) on rgb(24, 34, 37)"),
    }


def test_whoever_cannot_see_it_is_told(browser: Browser) -> None:
    browser.log_in()
    assert browser.nameless(":is(header, main) :is(button, a, input, table, nav)") == []
    browser.click(f"{ROWS} button")
    browser.until("return document.querySelector('#detail').open")
    assert browser.nameless("#detail, #detail button") == []
    browser.click("#edit")
    assert browser.nameless("#editor, #editor :is(button, input)") == []
    assert browser.run("return document.documentElement.lang") == "en"
    assert browser.run("return document.querySelectorAll('h1').length") == 1
    assert browser.run("return document.querySelector('#status').role || 'status'") == "status"


@pytest.mark.parametrize(("way", "speaks"), [("sse", "/atlas/alike?"), ("wsx", "/_server/resource/wsx.js")])
def test_the_progress_of_a_call(browser: Browser, way: str, speaks: str) -> None:
    browser.click("#places a[href='names']")
    browser.until("return document.readyState === 'complete' && document.querySelector('#work') !== null")
    browser.run("document.querySelector('#way').value = arguments[0]", way)
    browser.write("#names", "700")
    watch = "new MutationObserver(() => window.seen.push(bar.value)).observe(bar, {attributes: true})"
    browser.run(f"window.seen = []; const bar = document.querySelector('#bar'); {watch}")
    browser.click("#start")
    browser.until("return !document.querySelector('#pairs').hidden")
    seen = browser.run("return window.seen")
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 1)
    assert len(seen) > 20
    assert browser.text("#far") == "100 % compared"
    result = httpx.get(f"{browser.base}/atlas/alike?names=700", timeout=60).json()
    assert browser.text("#now") == f"{result['found']} pairs among 700 names, after 244650 comparisons"
    assert len(browser.texts("#pairs tbody tr")) == len(result["pairs"]) == 50
    assert speaks in str(browser.run("return performance.getEntriesByType('resource').map((one) => one.name)"))
    assert browser.complaints() == []


@pytest.mark.parametrize("way", ["sse", "wsx"])
def test_who_cancels_a_call_may_make_another(browser: Browser, way: str) -> None:
    """More of them than the pool has places: none goes on working for nobody."""
    browser.ask("POST", "/url", url=f"{browser.base}/atlas/names")
    browser.run("document.querySelector('#way').value = arguments[0]", way)
    browser.write("#names", "3000")
    for _ in range(10):
        browser.click("#start")
        browser.until("return document.querySelector('#bar').value > 0")
        browser.click("#cancel")
        browser.until_text("#now", "Cancelled.")
    browser.write("#names", "2")
    browser.click("#start")
    browser.until("return document.querySelector('#now').textContent.includes('after 1 comparisons')")
    assert browser.text(".problem") == ""
    assert browser.complaints() == []


@pytest.mark.parametrize("way", ["sse", "wsx"])
def test_what_cannot_be_compared_is_said(browser: Browser, way: str) -> None:
    browser.ask("POST", "/url", url=f"{browser.base}/atlas/names")
    browser.run("document.querySelector('#way').value = arguments[0]", way)
    browser.run("document.querySelector('#work').noValidate = true")
    browser.write("#names", "1")
    browser.click("#start")
    browser.until("return document.querySelector('.problem').textContent !== ''")
    expected = "busy" if way == "sse" else "greater than or equal to 2"
    assert expected in browser.text(".problem")


def test_every_screen_holds_the_progress(browser: Browser) -> None:
    browser.ask("POST", "/url", url=f"{browser.base}/atlas/names")
    browser.write("#names", "100")
    browser.click("#start")
    browser.until("return !document.querySelector('#pairs').hidden")
    for width, dark in itertools.product((320, 768, 1200), (False, True)):
        browser.emulate(width, dark)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        box = browser.run("return document.querySelector('#bar').getBoundingClientRect().toJSON()")
        assert 0 <= box["left"] < box["right"] <= width
    assert browser.nameless("main :is(button, select, input, progress, table)") == []


@pytest.fixture
def windows(demo: Any, driver: str, downloads: Path) -> Iterator[tuple[Browser, Browser]]:
    """The board in two browsers: Ada's and Bob's."""
    with contextlib.ExitStack() as opened:
        pair = []
        for name in ("Ada Lovelace", "Bob"):
            browser = Browser(demo.url, driver, downloads)
            opened.callback(browser.close)
            browser.ask("POST", "/url", url=f"{demo.url}/atlas/board")
            browser.until_text("#state", "Live")
            browser.run("const name = document.querySelector('#name'); name.value = arguments[0]", name)
            browser.run("document.querySelector('#name').dispatchEvent(new Event('change'))")
            pair.append(browser)
        for browser in pair:
            browser.until(PRESENT, ["Ada Lovelace", "Bob"])
        yield pair[0], pair[1]


PRESENT = """
const names = [...document.querySelectorAll('#people .unseen')].map((one) => one.textContent.replace(' (you)', ''));
return names.sort().join() === arguments[0].join()
"""
NOTE = "return [...document.querySelectorAll('.note')].find((one) => one.innerText.startsWith(arguments[0]))"

WHERE = f"""
const {{ style }} = (() => {{ {NOTE} }})();
return ['--x', '--y'].map((name) => style.getPropertyValue(name)).join()
"""
INSIDE = """
const room = document.querySelector('#board').getBoundingClientRect();
return [...document.querySelectorAll('.note')].map((note) => note.getBoundingClientRect()).every((own) =>
  own.left >= room.left - 1 && own.right <= room.right + 1 && own.top >= room.top - 1 && own.bottom <= room.bottom + 1)
"""


def pin(browser: Browser, text: str) -> None:
    browser.write("#text", text)
    browser.click("#write .main")
    browser.until(NOTE, text)


def test_a_note_is_seen_moved_and_taken_away_in_both_windows(windows: tuple[Browser, Browser]) -> None:
    ada, bob = windows
    pin(ada, "Meet at ten")
    bob.until(NOTE, "Meet at ten")
    assert bob.texts(".note footer")[-1].startswith("Ada Lovelace")
    before = ada.run(WHERE, "Meet at ten")
    note = ada.run(NOTE, "Meet at ten")[ELEMENT]
    ada.ask("POST", "/actions", actions=[{
        "type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"},
        "actions": [
            {"type": "pointerMove", "origin": {ELEMENT: note}, "x": 0, "y": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "origin": "pointer", "x": -60, "y": -80, "duration": 120},
            {"type": "pointerUp", "button": 0},
        ],
    }])  # fmt: skip
    after = ada.run(WHERE, "Meet at ten")
    assert after != before
    bob.until(f"return (() => {{ {WHERE} }})() === arguments[1]", "Meet at ten", after)
    bob.until("return document.querySelector('.pointer span')?.textContent === 'Ada Lovelace'")

    ada.run(f"(() => {{ {NOTE} }})().focus()", "Meet at ten")
    ada.ask("POST", f"/element/{note}/value", text="\ue014\ue015")  # right, down: there is room after the drag
    # What a window says comes back to it, the first step perhaps after the second was made.
    there = [float(part) + 0.02 for part in after.split(",")]
    near = "every((part, index) => Math.abs(part - arguments[1][index]) < 1e-6)"
    for window in windows:
        window.until(f"return (() => {{ {WHERE} }})().split(',').{near}", "Meet at ten", there)

    bob.run(f"(() => {{ {NOTE} }})().querySelector('button').click()", "Meet at ten")
    ada.until(f"return !(() => {{ {NOTE} }})()", "Meet at ten")
    assert ada.complaints() == bob.complaints() == []


def test_who_leaves_is_gone(windows: tuple[Browser, Browser]) -> None:
    ada, bob = windows
    bob.ask("POST", "/url", url="about:blank")
    ada.until(PRESENT, ["Ada Lovelace"])
    ada.until("return !document.querySelector('.pointer')")
    bob.ask("POST", "/back")
    ada.until(PRESENT, ["Ada Lovelace", "Bob"])
    bob.until(PRESENT, ["Ada Lovelace", "Bob"])


def test_prices_are_exact(windows: tuple[Browser, Browser]) -> None:
    ada, _ = windows
    ada.until("return document.querySelectorAll('#prices tbody tr').length === 8")
    rates = "return [...document.querySelectorAll('#prices td:nth-child(2)')].map((one) => one.textContent)"
    first = ada.run(rates)
    assert [len(rate.partition(".")[2]) for rate in first] == [4, 4, 4, 2, 4, 4, 4, 3]
    ada.until(f"return (() => {{ {rates} }})().join() !== arguments[0].join()", first)
    ada.write("#amount", "0.10")
    ada.until("return document.querySelector('#converted').textContent === '= 0.11 USD'")
    ada.write("#amount", "much")
    ada.until_text("#converted", "That is no amount.")


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)], ids=["stopped", "killed"])
def test_the_board_comes_back_with_the_server(
    new_demo: Any, driver: str, downloads: Path, how: signal.Signals, code: int
) -> None:
    first = new_demo()
    browser = Browser(first.url, driver, downloads)
    try:
        browser.ask("POST", "/url", url=f"{first.url}/atlas/board")
        browser.until_text("#state", "Live")
        pin(browser, "Soon forgotten")
        assert first.stop(how) == code
        browser.until_text("#state", "Reconnecting")
        new_demo(str(first.script), "--port", first.url.rpartition(":")[2])
        browser.until_text("#state", "Live")
        browser.until(f"return !(() => {{ {NOTE} }})()", "Soon forgotten")
        pin(browser, "Here again")
    finally:
        browser.close()


def test_every_screen_holds_the_board(windows: tuple[Browser, Browser]) -> None:
    ada, _ = windows
    pin(ada, "x" * 140)
    colours = set()
    for width, dark in itertools.product((320, 768, 1200), (False, True)):
        ada.emulate(width, dark)
        assert ada.run("return document.documentElement.scrollWidth") <= width
        assert ada.run(INSIDE)
        colours.add((dark, ada.run("return getComputedStyle(document.querySelector('.note')).color")))
    assert len(colours) == 2
    assert ada.nameless(":is(header, main) :is(button, a, input, select, table, nav, output, .note)") == []
    ada.run(f"(() => {{ {NOTE} }})().querySelector('button').click()", "xxx")


RUN = """
const [name, file, direct, cutUrl, done] = arguments;
(async () => {
  const [module, { run }, { checks }] = await Promise.all(
    ["/_server/resource/wsx.js", "/js/checks.mjs", `/js/${file}`].map((path) => import(path)));
  await run(name, module, { url: "/", direct, cutUrl }, checks);
})().then(() => done(null), (error) => done(String(error.stack)));
"""


@pytest.fixture(scope="module")
def page_of_checks(driver: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser("", driver, tmp_path_factory.mktemp("downloads"))
    try:
        browser.ask("POST", "/timeouts", script=20_000)
        yield browser
    finally:
        browser.close()


@pytest.mark.parametrize("name", NAMES)
def test_wsx_js(page_of_checks: Browser, wsx_site: Any, name: str) -> None:
    page_of_checks.ask("POST", "/url", url=f"{wsx_site.url}/")
    assert page_of_checks.ask("POST", "/execute/async", script=RUN, args=[name, "checks.mjs", None, None]) is None


@pytest.mark.parametrize("name", CUT_NAMES)
def test_sessions_of_wsx_js_go_on(page_of_checks: Browser, wsx_site: Any, cut_site: tuple[str, str], name: str) -> None:
    url, cut_url = cut_site
    page_of_checks.ask("POST", "/url", url=f"{url}/")
    arguments = [name, "resume.mjs", wsx_site.url, cut_url]
    assert page_of_checks.ask("POST", "/execute/async", script=RUN, args=arguments) is None
