"""Side by side with GenroPy's own server on the same site: same status, same headers, same body."""

import http.client
import json
import re
import uuid
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from genropy_sites import SITE, Home, Served

# What belongs to the connection, and so to the server.
OF_THE_SERVER = {"date", "server", "connection", "transfer-encoding", "keep-alive"}
# What GenroPy makes up anew for each request: times, identifiers, signed cookies.
PASSING = [
    (re.compile(r"(?<=[?&]mtime=)[0-9.]+"), "MTIME"),
    (re.compile(r"127\.0\.0\.1:[0-9]+"), "HOST"),
    (re.compile(r"guest_[\w-]+"), "GUEST"),
    (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+"), "TIME"),
]
TIMES = {"x-gnrtime", "x-gnrsqltime", "x-gnrxmltime", "x-gnrxmlsize", "x-gnrsqlcount"}


@dataclass
class Answer:
    """What came back, without what may differ."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return dict(self.headers)[name]


def ask(served: Served, method: str, target: str, headers: dict[str, str] | None = None, body: Any = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        connection.request(method, target, body, headers or {}, encode_chunked=not isinstance(body, bytes | str))
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    kept = [(k.lower(), v) for k, v in response.getheaders() if k.lower() not in OF_THE_SERVER]
    return Answer(response.status, sorted(kept), content)


def settled(answer: Answer) -> tuple[int, list[tuple[str, str]], str]:
    """An answer in a form that two servers can be compared by."""
    headers = []
    for name, value in answer.headers:
        if name == "expires":  # counted from now: minutes are enough
            value = str(int(parsedate_to_datetime(value).timestamp()) // 600)
        if name in TIMES:
            value = "SOME"
        if name == "set-cookie":
            value = re.sub(rf"(?<={SITE}=)[^;]*|(?<=Expires=)[^;]*", "SOME", value)
        headers.append((name, replaced(value)))
    return answer.status, headers, replaced(answer.body.decode("latin-1"))


def replaced(text: str) -> str:
    for pattern, word in PASSING:
        text = pattern.sub(word, text)
    return text


PROBE = "/testpkg/probe"
LATER, LONG_AGO = "Fri, 01 Jan 2100 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"
REQUESTS: dict[str, tuple[str, str, dict[str, str], Any]] = {
    "page": ("GET", PROBE, {}, None),
    "page HEAD": ("HEAD", PROBE, {}, None),
    "page with arguments": ("GET", f"{PROBE}/one/two?x=1&x=2&y=%C3%A8", {}, None),
    "path in UTF-8": ("GET", f"{PROBE}/%C3%A8%20%C3%A0/%E2%82%AC", {}, None),
    "path in latin-1": ("GET", f"{PROBE}/%E8", {}, None),
    "path with an encoded slash": ("GET", f"{PROBE}/a%2Fb", {}, None),
    "path with a plus": ("GET", f"{PROBE}/a+b", {}, None),
    "static": ("GET", "/_site/small.css", {}, None),
    "static again": ("GET", "/_site/small.css", {}, None),
    "static HEAD": ("HEAD", "/_site/small.css", {}, None),
    "static with mtime": ("GET", "/_site/small.css?mtime=123", {}, None),
    "static as a download": ("GET", "/_site/small.css?download=1", {}, None),
    "static not ASCII": ("GET", "/_site/%C3%A8%20%C3%A0/%C3%BC.txt", {}, None),
    "static empty": ("GET", "/_site/empty.txt", {}, None),
    "static large": ("GET", "/_site/big.bin", {}, None),
    "static of GenroPy": ("GET", "/_gnr/11/js/genro.js", {}, None),
    "static of dojo": ("GET", "/_dojo/11/dojo/dojo/dojo.js", {}, None),
    "static resource": ("GET", "/_rsrc/common/pwa/worker.js", {}, None),
    "static range": ("GET", "/_site/big.bin", {"Range": "bytes=10-19"}, None),
    "static range from": ("GET", "/_site/big.bin", {"Range": "bytes=2097100-"}, None),
    "static range not there": ("GET", "/_site/big.bin", {"Range": "bytes=9999999-"}, None),
    "static not changed since": ("GET", "/_site/small.css", {"If-Modified-Since": LATER}, None),
    "static changed since": ("GET", "/_site/small.css", {"If-Modified-Since": LONG_AGO}, None),
    "static of another tag": ("GET", "/_site/small.css", {"If-None-Match": '"nothing"'}, None),
    "static POST": ("POST", "/_site/small.css", {}, b""),
    "static not there": ("GET", "/_site/nothing.css", {}, None),
    "static folder": ("GET", "/_site/", {}, None),
    "static of nothing": ("GET", "/_nothing/x", {}, None),
    "volume path": ("GET", "/site:small.css", {}, None),
    "storage path": ("GET", "/_storage/site/small.css", {}, None),
    "favicon": ("GET", "/favicon.ico", {}, None),
    "worker": ("GET", "/_pwa_worker.js", {}, None),
    "health": ("GET", "/_tools/health", {}, None),
    "ping of nobody": ("POST", "/_ping", {"Content-Type": "application/x-www-form-urlencoded"}, b"page_id=nobody"),
    "beacon": ("POST", "/_beacon?method=nothing", {}, b""),
    "api": ("GET", "/_api/x", {}, None),
    "RPC": ("GET", f"{PROBE}?rpc=echo&a=5::L&b=2020-01-02::D&c=%E2%82%AC", {}, None),
    "RPC POST": ("POST", f"{PROBE}?rpc=echo", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1&b=%C3%A8"),
    "RPC chunked": (
        "POST", f"{PROBE}?rpc=echo", {"Content-Type": "application/x-www-form-urlencoded"}, [b"a=1&", b"b=2"],
    ),
    "RPC unknown": ("GET", f"{PROBE}?rpc=nothing", {}, None),
    "body": ("POST", f"{PROBE}?rpc=raw", {"Content-Type": "application/octet-stream"}, b"\0\xff" * 500_000),
    "body chunked": ("POST", f"{PROBE}?rpc=raw", {"Content-Type": "application/octet-stream"}, [b"x" * 70_000] * 30),
    "upload": (
        "POST", f"{PROBE}?rpc=upload", {"Content-Type": "multipart/form-data; boundary=B"},
        b'--B\r\nContent-Disposition: form-data; name="file_handle"; filename="\xc3\xa8.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n" + b"line\n" * 100_000 + b"\r\n--B--\r\n",
    ),
    "environ": ("GET", f"{PROBE}?rpc=environ", {"Cookie": "a=1; b=2", "X-Forwarded-For": "9.9.9.9"}, None),
    "cookies": ("GET", f"{PROBE}?rpc=cookies", {"Cookie": "a=1; b=2"}, None),
    "redirect": ("GET", f"{PROBE}?rpc=go", {}, None),
    "stream": ("GET", f"{PROBE}?rpc=stream&n=50", {}, None),
    "stream HEAD": ("HEAD", f"{PROBE}?rpc=stream&n=5", {}, None),
    "failure": ("GET", f"{PROBE}?rpc=fail", {}, None),
    "header of 16 KB": ("GET", f"{PROBE}?rpc=echo", {"X-Large": "x" * 16_000}, None),
    "cookie of 16 KB": ("GET", f"{PROBE}?rpc=cookies", {"Cookie": f"a={'x' * 16_000}"}, None),
    "query of 16 KB": ("GET", f"{PROBE}?rpc=echo&a={'x' * 16_000}", {}, None),
    "PUT": ("PUT", f"{PROBE}?rpc=raw", {}, b"put"),
    "OPTIONS": ("OPTIONS", PROBE, {}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_answer(name: str, stock: Served, ours: Served) -> None:
    method, target, headers, body = REQUESTS[name]
    assert settled(ask(ours, method, target, headers, body)) == settled(ask(stock, method, target, headers, body))


@pytest.mark.parametrize("place", ["/_site/small.css", "/_gnr/11/js/genro.js", "/_site/big.bin"])
@pytest.mark.parametrize("quotes", [True, False])
def test_a_file_that_is_there_already(place: str, quotes: bool, stock: Served, ours: Served) -> None:
    tag = ask(ours, "GET", place).header("etag")
    seen = {"If-None-Match": tag if quotes else tag.strip('"'), "If-Modified-Since": LONG_AGO}
    answers = [ask(served, "GET", place, seen) for served in (ours, stock)]
    assert [answer.status for answer in answers] == [304, 304]
    assert answers[0] == answers[1]


def test_a_file_that_changes_is_read_again(home: Home, ours: Served) -> None:
    file = home.instance(SITE) / "site" / "changing.txt"
    bodies = []
    for text in ("one", "two", "three"):
        file.write_text(text)
        bodies += [ask(ours, "GET", "/_site/changing.txt").body for _ in range(2)]
    file.unlink()
    assert bodies == [b"one", b"one", b"two", b"two", b"three", b"three"]
    assert ask(ours, "GET", "/_site/changing.txt").status == 404


LEAVING = [
    "/_site/../config/instanceconfig.xml",
    "/_site/%2e%2e/config/instanceconfig.xml",
    "/_site/x/../../config/instanceconfig.xml",
    "/_site/..%2fconfig/instanceconfig.xml",
    "/site:../config/instanceconfig.xml",
    "/site:x/../../config/instanceconfig.xml",
    "/_storage/site/../config/instanceconfig.xml",
    "/_gnr/11/../../../__init__.py",
    "/_pkg/testpkg/../../../x",
]


@pytest.mark.parametrize("target", LEAVING)
def test_nothing_is_served_from_outside_its_folder(target: str, ours: Served) -> None:
    answer = ask(ours, "GET", target)
    assert (answer.status, b"GenRoBag" in answer.body) == (404, False)


def test_the_configuration_is_what_stock_would_give_away(stock: Served) -> None:
    """The reason for the refusal above; should GenroPy refuse it some day, ours is no longer needed."""
    assert ask(stock, "GET", LEAVING[0]).status == 200


class Page:
    """A page of the client, opened."""

    def __init__(self, served: Served, home: str = "/") -> None:
        self.served, self.home = served, home
        answer = ask(served, "GET", home)
        assert answer.status == 200
        self.cookie = answer.header("set-cookie").partition(";")[0]
        match = re.search(r"page_id\W+([A-Za-z0-9_-]{20,})", answer.body.decode())
        assert match is not None
        self.page_id = match[1]
        self.text = answer.body.decode().replace(self.page_id, "PAGE")
        self.links: list[str] = re.findall(r"""(?:src|href)=["']([^"']+)""", self.text)

    def call(self, method: str, **arguments: str) -> Answer:
        from urllib.parse import urlencode

        body = urlencode({"page_id": self.page_id, "mode": "bag", "method": method, **arguments})
        headers = {"Cookie": self.cookie, "Content-Type": "application/x-www-form-urlencoded"}
        answer = ask(self.served, "POST", self.home, headers, body.encode())
        for name, value in answer.headers:
            if name == "set-cookie":
                self.cookie = value.partition(";")[0]
        return answer


@pytest.fixture
def pages(stock: Served, ours: Served) -> tuple[Page, Page]:
    return Page(ours), Page(stock)


def test_the_page_of_the_client(pages: tuple[Page, Page]) -> None:
    assert replaced(pages[0].text) == replaced(pages[1].text)


def test_calls_of_a_page(pages: tuple[Page, Page]) -> None:
    for arguments in ({"method": "add", "a": "2::L", "b": "40::L"}, {"method": "who"}, {"method": "nothing"}):
        answers = [settled(page.call(**arguments)) for page in pages]
        assert answers[0] == answers[1]


def test_signing_in(pages: tuple[Page, Page]) -> None:
    wrong = [settled(page.call("sign_in", user="admin", password="wrong")) for page in pages]
    assert wrong[0] == wrong[1]
    answers = [page.call("sign_in", user="admin", password="secret") for page in pages]
    assert [b"signed in: admin" in answer.body for answer in answers] == [True, True]
    assert settled(answers[0]) == settled(answers[1])
    assert [b"admin" in page.call("who").body for page in pages] == [True, True]


def test_a_failure_is_shown_to_a_developer(pages: tuple[Page, Page]) -> None:
    answers = []
    for page in pages:
        page.call("sign_in", user="admin", password="secret")
        answers.append(page.call("fail"))
    assert [answer.status for answer in answers] == [500, 500]
    assert [b"page-failure" in answer.body and b"Werkzeug Debugger" in answer.body for answer in answers] == [
        True,
        True,
    ]
    names = [[name for name, _ in answer.headers] for answer in answers]
    assert names[0] == names[1]
    for page, answer in zip(pages, answers, strict=True):
        url = answer.header("x-debug-url")
        assert url.startswith(f"http://127.0.0.1:{page.served.port}/console?error=")
        assert b"page-failure" in ask(page.served, "GET", url.partition(str(page.served.port))[2]).body


def test_a_failure_is_not_shown_through_a_proxy(ours: Served) -> None:
    page = Page(ours)
    page.call("sign_in", user="admin", password="secret")
    body = f"page_id={page.page_id}&mode=bag&method=fail".encode()
    headers = {"Cookie": page.cookie, "Content-Type": "application/x-www-form-urlencoded", "X-Real-IP": "9.9.9.9"}
    answer = ask(ours, "POST", "/", headers, body)
    assert (answer.status, b"Debugger" in answer.body) == (500, False)


def test_uploads_reach_the_page(ours: Served, tmp_path: Path) -> None:
    boundary = uuid.uuid4().hex
    content = bytes(range(256)) * 20_000
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file_handle"; filename="x.bin"\r\n\r\n'.encode()
        + content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert json.loads(ask(ours, "POST", f"{PROBE}?rpc=upload", kind, body).body)["size"] == len(content)


def test_the_database(ours: Served) -> None:
    title = uuid.uuid4().hex
    assert json.loads(ask(ours, "GET", f"{PROBE}?rpc=note&title={title}").body) == [title]


def test_the_server_tells_of_itself(ours: Served) -> None:
    answer = ask(ours, "GET", "/_server/info")
    assert answer.status == 200
    assert json.loads(answer.body)["transports"] == ["http", "websocket"]
