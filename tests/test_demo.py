"""The demo, examples/atlas: served as a user serves it, asked as a client asks, stopped with Ctrl-C."""

import csv
import io
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

ATLAS = Path(__file__).parent.parent / "examples" / "atlas"
EDITOR = {"Authorization": "Bearer atlas-demo-editor"}
VISITOR = {"Authorization": "Bearer atlas-demo-visitor"}
#: One new record of each catalogue, and what it is changed to.
RECORDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "countries": (
        {"code": "XX", "alpha_3": "XXX", "numeric": "999", "name": "Zembla", "official_name": "Kingdom of Zembla",
         "flag": ""},
        {"code": "XY", "alpha_3": "XXX", "numeric": "999", "name": "New Zembla", "official_name": "Republic of Zembla",
         "flag": ""},
    ),
    "languages": (
        {"code": "qaa", "alpha_2": None, "name": "Zemblan", "kind": "constructed"},
        {"code": "qaa", "alpha_2": "qq", "name": "Old Zemblan", "kind": "extinct"},
    ),
    "currencies": (
        {"code": "ZEM", "numeric": "998", "name": "Crown of Zembla"},
        {"code": "ZEN", "numeric": "998", "name": "New Crown of Zembla"},
    ),
}  # fmt: skip


@pytest.fixture
def client(demo: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo.url, timeout=20) as client:
        yield client


def problem(reply: httpx.Response) -> tuple[int, str]:
    """Status and detail of an error, which has the one body every error has."""
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert body["status"] == reply.status_code
    return body["status"], body["detail"]


def test_every_url_it_prints_answers(demo: Any, client: httpx.Client) -> None:
    demo.wait_for(r"(needs a token)")
    urls = re.findall(rf"  ({demo.url}/\S*)", demo.printed)
    statuses = {url.removeprefix(demo.url): client.get(url).status_code for url in urls}
    assert statuses == {
        "/atlas/": 200,
        "/atlas/names": 200,
        "/atlas/board": 200,
        "/atlas/countries/search?text=united&size=5": 200,
        "/atlas/countries/detail/IT": 200,
        "/atlas/languages/export?text=sign": 200,
        "/atlas/me": 401,
    }


@pytest.mark.parametrize(("path", "location"), [("/", "/atlas/"), ("/atlas", "atlas/")])
def test_the_way_to_the_page(client: httpx.Client, path: str, location: str) -> None:
    reply = client.get(path)
    assert (reply.status_code, reply.headers["location"]) == (302, location)
    page = client.get(path, follow_redirects=True)
    assert page.url.path == "/atlas/"
    assert page.headers["content-security-policy"] == "default-src 'self'"


@pytest.mark.parametrize(("path", "name"), [("", "catalogues"), ("names", "names"), ("board", "board")])
def test_a_page_has_all_it_names_and_nothing_from_elsewhere(client: httpx.Client, path: str, name: str) -> None:
    page = client.get(f"/atlas/{path}")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == "default-src 'self'"
    assert re.findall(r'<a href="([^"]+)" aria-current=page>', page.text) == [path or "./"]
    names = set(re.findall(r'(?:src|href)="([^"#]+)"', page.text))
    shared = {"./", "names", "board", "static/atlas.css", "static/globe.svg"}
    files = shared | {f"static/{name}.css", f"static/{name}.js"}
    assert files <= names
    replies = {file: client.get(f"/atlas/{file}") for file in names}
    assert {file: reply.status_code for file, reply in replies.items()} == dict.fromkeys(names, 200)
    types = {file: reply.headers["content-type"].partition(";")[0] for file, reply in replies.items()}
    assert types["static/atlas.css"] == types[f"static/{name}.css"] == "text/css"
    assert types[f"static/{name}.js"] == "text/javascript"
    assert types["static/globe.svg"] == "image/svg+xml"
    modules = re.findall(r'from "([^"]+)"', replies[f"static/{name}.js"].text)
    assert [client.get(f"/atlas/static/{module}").status_code for module in modules] == [200] * (name != "catalogues")


def test_the_board_over_http(client: httpx.Client) -> None:
    note = client.post("/atlas/live/pin", json={"text": " Hi ", "x": 0.5, "y": 1, "author": "Ada"}).json()
    assert note | {"number": 0, "at": ""} == {"number": 0, "text": "Hi", "x": 0.5, "y": 1, "author": "Ada", "at": ""}
    assert client.put("/atlas/live/move", json={"number": note["number"], "x": 0, "y": 0}).status_code == 200
    assert client.delete(f"/atlas/live/unpin?number={note['number']}").status_code == 200
    assert problem(client.delete(f"/atlas/live/unpin?number={note['number']}"))[0] == 404
    bad = client.post("/atlas/live/pin", json={"text": "", "x": 1, "y": 0, "author": "Ada"})
    assert problem(bad)[0] == 400
    assert bad.json()["details"][0]["parameter"] == "text"
    price = client.get("/atlas/live/convert?amount=100&code=JPY").json()
    assert re.fullmatch(r"17[0-9]{3}\.[0-9]{2}", price["amount"])
    assert problem(client.get("/atlas/live/convert?amount=1&code=XXX"))[0] == 404
    assert problem(client.get("/atlas/live/convert?amount=-1&code=JPY"))[0] == 400


@pytest.mark.parametrize("name", ["nothing.js", "..%2frun.py", "%2e%2e%2fconfig.yaml", "%00", "%2fetc%2fpasswd"])
def test_there_is_nothing_else_among_its_files(client: httpx.Client, name: str) -> None:
    assert client.get(f"/atlas/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("catalogue", "text", "first"),
    [
        ("countries", "it", "Italy"),
        ("countries", "ITA", "Italy"),
        ("countries", "380", "Italy"),
        ("countries", "cote ivoire", "Côte d'Ivoire"),
        ("countries", "ÅLAND", "Åland Islands"),
        ("countries", "united states", "United States"),
        ("countries", "republic italian", "Italy"),
        ("languages", "it", "Italian"),
        ("currencies", "978", "Euro"),
    ],
)
def test_search_finds_names_and_codes(client: httpx.Client, catalogue: str, text: str, first: str) -> None:
    found = client.get(f"/atlas/{catalogue}/search", params={"text": text}).json()
    assert found["items"][0]["name"] == first


@pytest.mark.parametrize("text", ["%", "_", "'", '"; DROP TABLE countries', "\t", "\0", "*", "ß" * 100])
def test_search_takes_any_text_as_text(client: httpx.Client, text: str) -> None:
    reply = client.get("/atlas/currencies/search", params={"text": text})
    expected = 178 if text == "\t" else 0
    assert (reply.status_code, reply.json()["total"]) == (200, expected)


@pytest.mark.parametrize(("catalogue", "total"), [("countries", 249), ("currencies", 178)])
def test_pages_hold_every_record_once(client: httpx.Client, catalogue: str, total: int) -> None:
    def page(number: int) -> dict[str, Any]:
        reply: dict[str, Any] = client.get(f"/atlas/{catalogue}/search", params={"page": number, "size": 50}).json()
        return reply

    first = page(1)
    assert (first["total"], first["page"], first["pages"]) == (total, 1, -(-total // 50))
    codes = [item["code"] for number in range(1, first["pages"] + 1) for item in page(number)["items"]]
    assert len(codes) == len(set(codes)) == total
    assert page(first["pages"] + 1)["items"] == []


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("page=x", "Parameter 'page': Input should be a valid integer, unable to parse string as an integer."),
        ("page=0", "Parameter 'page': Input should be greater than or equal to 1."),
        ("page=9223372036854775808", "Parameter 'page': Input should be less than or equal to 1000000."),
        ("size=101", "Parameter 'size': Input should be less than or equal to 100."),
        ("text=" + "x" * 101, "Parameter 'text': String should have at most 100 characters."),
    ],
)
def test_a_bad_query_is_named(client: httpx.Client, query: str, detail: str) -> None:
    assert problem(client.get(f"/atlas/countries/search?{query}")) == (400, detail)


def test_detail(client: httpx.Client) -> None:
    italy = {"code": "IT", "alpha_3": "ITA", "numeric": "380", "name": "Italy", "official_name": "Italian Republic",
             "flag": "\N{REGIONAL INDICATOR SYMBOL LETTER I}\N{REGIONAL INDICATOR SYMBOL LETTER T}"}  # fmt: skip
    assert client.get("/atlas/countries/detail/it").json() == italy
    assert client.get("/atlas/languages/detail/ita").json()["alpha_2"] == "it"
    assert problem(client.get("/atlas/countries/detail/ZZ")) == (404, "There is no 'ZZ' among the countries.")
    assert client.get("/atlas/countries/detail").status_code == 400
    assert client.get("/atlas/planets/detail/x").status_code == 404


GUARDED = [
    ("GET", "/atlas/me"),
    *[(method, f"/atlas/{catalogue}/{entry}") for catalogue in RECORDS
      for method, entry in (("POST", "add"), ("PUT", "change/IT"), ("DELETE", "remove/IT"))],
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_only_editors_may(client: httpx.Client, method: str, path: str) -> None:
    before = client.get("/atlas/about").json()["counts"]

    def refusal(**given: Any) -> tuple[int, str | None]:
        reply = client.request(method, path, **given)
        problem(reply)
        return reply.status_code, reply.headers.get("www-authenticate")

    assert refusal() == (401, 'Bearer realm="api"')
    assert refusal(headers={"Authorization": "Bearer wrong"}) == (401, 'Bearer realm="api"')
    assert refusal(auth=("ada", "wrong")) == (401, 'Basic realm="api"')
    assert refusal(auth=("nobody", "lovelace")) == (401, 'Basic realm="api"')
    assert refusal(headers=VISITOR) == (403, None)
    assert client.get("/atlas/about").json()["counts"] == before


@pytest.mark.parametrize("who", [{"headers": EDITOR}, {"auth": ("ada", "lovelace")}], ids=["bearer", "basic"])
@pytest.mark.parametrize("catalogue", RECORDS)
def test_the_life_of_a_record(client: httpx.Client, catalogue: str, who: dict[str, Any]) -> None:
    base = f"/atlas/{catalogue}"
    new, changed = RECORDS[catalogue]
    before = client.get("/atlas/about").json()["counts"][catalogue]

    added = client.post(f"{base}/add", json={"record": new}, **who)
    assert (added.status_code, added.json()) == (201, new)
    try:
        assert client.get(f"{base}/detail/{new['code']}").json() == new
        assert client.get(f"{base}/search", params={"text": "zembla"}).json()["items"] == [new]
        status, detail = problem(client.post(f"{base}/add", json={"record": new}, **who))
        assert status == 409
        assert re.fullmatch(rf"The (code|alpha_3|numeric) '\w+' belongs to another of the {catalogue}\.", detail)

        replaced = client.put(f"{base}/change/{new['code']}", json={"record": changed}, **who)
        assert (replaced.status_code, replaced.json()) == (200, changed)
        assert client.get(f"{base}/search", params={"text": "zembla"}).json()["items"] == [changed]
        if new["code"] != changed["code"]:
            assert client.get(f"{base}/detail/{new['code']}").status_code == 404
    finally:
        removed = client.delete(f"{base}/remove/{changed['code']}", **who)
        client.delete(f"{base}/remove/{new['code']}", **who)
    assert (removed.status_code, removed.content) == (204, b"")
    unknown = (404, f"There is no {changed['code']!r} among the {catalogue}.")
    assert problem(client.delete(f"{base}/remove/{changed['code']}", **who)) == unknown
    assert problem(client.put(f"{base}/change/{changed['code']}", json={"record": changed}, **who)) == unknown
    assert client.get("/atlas/about").json()["counts"][catalogue] == before


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"record": {**RECORDS["countries"][0], "code": "xx"}}, {"record.code": "must be two capital letters"}),
        ({"record": {**RECORDS["countries"][0], "numeric": "٣٨٠"}}, {"record.numeric": "must be three digits"}),
        ({"record": {**RECORDS["countries"][0], "name": " "}},
         {"record.name": "String should have at least 1 character"}),
        ({"record": {**RECORDS["countries"][0], "capital": "Onhava"}},
         {"record.capital": "Extra inputs are not permitted"}),
        ({"record": {"name": 7, "code": "X\n", "alpha_3": "XXX", "numeric": "999"}},
         {"record.name": "Input should be a valid string", "record.code": "must be two capital letters",
          "record.official_name": "Field required"}),
        ({}, {"record": "is missing"}),
    ],
)  # fmt: skip
def test_a_bad_record_is_told_field_by_field(
    client: httpx.Client, body: dict[str, Any], fields: dict[str, str]
) -> None:
    reply = client.post("/atlas/countries/add", json=body, headers=EDITOR)
    assert problem(reply)[0] == 400
    assert {one["parameter"]: one["message"] for one in reply.json()["details"]} == fields


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [(b"{", "application/json", 400), (b"x", "application/x-unknown", 415), (b"x" * (17 << 20), "text/plain", 413)],
)
def test_a_bad_body(client: httpx.Client, content: bytes, media_type: str, status: int) -> None:
    headers = {**EDITOR, "Content-Type": media_type}
    assert client.post("/atlas/countries/add", content=content, headers=headers).status_code == status


def test_a_code_of_another_record_is_a_conflict(client: httpx.Client) -> None:
    italy = client.get("/atlas/countries/detail/IT").json()
    reply = client.put("/atlas/countries/change/FR", json={"record": {**italy, "code": "FR"}}, headers=EDITOR)
    assert reply.status_code == 409
    assert re.fullmatch(r"The (alpha_3|numeric) '(ITA|380)' belongs to another of the countries\.", problem(reply)[1])
    assert client.get("/atlas/countries/detail/FR").json()["name"] == "France"


def test_the_export_streams(client: httpx.Client) -> None:
    with client.stream("GET", "/atlas/languages/export") as reply:
        assert reply.headers["content-type"] == "text/csv; charset=utf-8"
        assert reply.headers["content-disposition"] == 'attachment; filename="languages.csv"'
        assert reply.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in reply.headers
        text = b"".join(reply.iter_raw()).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 7923
    italian = {"code": "ita", "alpha_2": "it", "name": "Italian", "kind": "living"}
    assert [row for row in rows if row["code"] == "ita"] == [italian]


def test_the_export_holds_what_the_search_finds(client: httpx.Client) -> None:
    rows = list(csv.DictReader(io.StringIO(client.get("/atlas/countries/export?text=united").text)))
    found = client.get("/atlas/countries/search?text=united&size=100").json()["items"]
    assert sorted(row["code"] for row in rows) == sorted(item["code"] for item in found)
    assert client.get("/atlas/currencies/export?text=nothing+at+all").text == "code,numeric,name\r\n"


def test_an_export_that_is_read_slowly_or_left_keeps_nobody_from_writing(demo: Any, client: httpx.Client) -> None:
    new = RECORDS["currencies"][0]
    with httpx.stream("GET", f"{demo.url}/atlas/languages/export", timeout=20) as reply:
        next(reply.iter_raw())
        assert client.post("/atlas/currencies/add", json={"record": new}, headers=EDITOR).status_code == 201
    # The rest of that export was never read: its connection was closed in the middle.
    assert client.delete(f"/atlas/currencies/remove/{new['code']}", headers=EDITOR).status_code == 204


def test_many_clients_at_once(demo: Any) -> None:
    def come(number: int) -> list[int]:
        record = {"code": f"QQ{chr(65 + number)}", "numeric": f"02{number}", "name": f"Crown {number}"}
        with httpx.Client(base_url=f"{demo.url}/atlas/currencies", headers=EDITOR, timeout=30) as client:
            return [
                client.post("/add", json={"record": record}).status_code,
                client.get("/search?text=crown").status_code,
                client.get("/export").status_code,
                client.put(f"/change/{record['code']}", json={"record": record}).status_code,
                client.delete(f"/remove/{record['code']}").status_code,
            ]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(come, range(8))) == [[201, 200, 200, 200, 204]] * 8


def test_ctrl_c_ends_it_and_the_data_stay(new_demo: Callable[..., Any]) -> None:
    first = new_demo()
    new = RECORDS["countries"][0]
    assert httpx.post(f"{first.url}/atlas/countries/add", json={"record": new}, headers=EDITOR).status_code == 201
    assert first.stop(signal.SIGINT) == 0
    second = new_demo()
    assert httpx.get(f"{second.url}/atlas/countries/detail/XX").json() == new
    assert httpx.get(f"{second.url}/atlas/about").json()["counts"]["countries"] == 250
    assert second.stop(signal.SIGTERM) == 0
    for demo in (first, second):
        assert "Traceback" not in demo.printed
        assert "Warning" not in demo.printed


def test_ctrl_c_during_an_export(new_demo: Callable[..., Any]) -> None:
    demo = new_demo()
    with httpx.stream("GET", f"{demo.url}/atlas/languages/export", timeout=20) as reply:
        pieces = reply.iter_raw()
        text = next(pieces)
        demo.process.send_signal(signal.SIGINT)
        text += b"".join(pieces)
    assert text.count(b"\r\n") == 7924
    assert demo.stop(None) == 0
    assert "Traceback" not in demo.printed


def test_its_secrets_come_from_the_environment(new_demo: Callable[..., Any]) -> None:
    demo = new_demo(ATLAS_TOKEN="another one")
    assert httpx.get(f"{demo.url}/atlas/about").json()["demo_token"] == "another one"
    assert httpx.get(f"{demo.url}/atlas/me", headers=EDITOR).status_code == 401
    me = httpx.get(f"{demo.url}/atlas/me", headers={"Authorization": "Bearer another one"}).json()
    assert me == {"identity": "demo", "tags": ["editor"]}


def test_several_workers_fill_one_database_once(new_demo: Callable[..., Any]) -> None:
    demo = new_demo("-m", "genro_asgi", "serve", str(ATLAS), "--port", "0", "--workers", "2")
    counts = {"countries": 249, "languages": 7923, "currencies": 178}
    for _ in range(4):
        assert httpx.get(f"{demo.url}/atlas/about", timeout=30).json()["counts"] == counts
    assert demo.stop() == 0
    assert "Traceback" not in demo.printed


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, str(ATLAS / "run.py"), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"run.py: error: Cannot listen on 127.0.0.1:{port}: Address already in use; choose another --host or --port."
    )


def command_line(verb: str) -> str:
    command = [sys.executable, "-m", "genro_asgi", verb, str(ATLAS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_command_line_checks_it() -> None:
    assert re.search(r"config\.yaml: 1 app, \d+ routes, no errors\.\n$", command_line("check"))


def test_the_command_line_lists_what_is_guarded() -> None:
    rows = [line.split() for line in command_line("routes").splitlines()]
    rules = {path.partition("{")[0].rstrip("/"): rule for _, path, _, rule, *_ in rows if path.startswith("/atlas/")}
    guarded = {path for path, rule in rules.items() if rule == "editor"}
    assert guarded == {path.removesuffix("/IT") for _, path in GUARDED}
    assert {rules[path] for path in rules.keys() - guarded} == {"-"}
