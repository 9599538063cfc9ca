"""One call of a WSGI application, rule by rule of PEP 3333."""

import asyncio
import contextvars
import logging
import sys
import threading
from typing import Any
from wsgiref.validate import validator

import pytest

pytestmark = pytest.mark.asyncio

OK = ("200 OK", [("Content-Type", "text/plain")])


class Body:
    """An iterable that notes how it is used."""

    def __init__(self, *chunks: Any, close_error: Exception | None = None) -> None:
        self.chunks = iter(chunks)
        self.close_error = close_error
        self.closed = 0
        self.threads: list[int] = []

    def __iter__(self) -> "Body":
        return self

    def __next__(self) -> Any:
        self.threads.append(threading.get_ident())
        chunk = next(self.chunks)
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk

    def close(self) -> None:
        self.threads.append(threading.get_ident())
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error


def answering(body: Any, status: Any = OK[0], headers: Any = None) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(OK[1]) if headers is None else headers)
        return body

    return app


# -- the answer


@pytest.mark.parametrize("body", [[b"Hello, ", b"World!"], (b"Hello, World!",), iter([b"Hello, ", b"", b"World!"])])
async def test_an_answer(host: Any, body: Any) -> None:
    client = await host.ask(answering(body))
    assert client.sent[0]["type"] == "http.response.start"
    assert client.status == 200
    assert client.headers["content-type"] == "text/plain"
    assert client.body == b"Hello, World!"
    assert client.complete


async def test_length_is_added_where_the_whole_body_is_known(host: Any) -> None:
    assert (await host.ask(answering([b"ab", b"cd"]))).headers["content-length"] == "4"
    assert (await host.ask(answering([]))).headers["content-length"] == "0"
    assert (await host.ask(answering(iter(())))).headers["content-length"] == "0"
    assert "content-length" not in (await host.ask(answering(iter([b"ab", b"cd"])))).headers
    assert "content-length" not in (await host.ask(answering([b"ab"]), "HEAD")).headers


async def test_an_own_length_stays(host: Any) -> None:
    headers = [("Content-Length", "2"), ("X-A", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    client = await host.ask(answering([b"ab"], "201 Created", headers))
    assert client.status == 201
    assert client.sent[0]["headers"] == [
        (b"content-length", b"2"),
        (b"x-a", b"1"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]


async def test_a_class_is_an_application_too(host: Any) -> None:
    class App:
        def __init__(self, environ: Any, start_response: Any) -> None:
            start_response(*OK)

        def __iter__(self) -> Any:
            yield b"x"

    assert (await host.ask(App)).body == b"x"


async def test_an_old_style_sequence_is_iterable(host: Any) -> None:
    class Sequence:
        def __getitem__(self, index: int) -> bytes:
            return [b"a", b"b"][index]

    assert (await host.ask(answering(Sequence()))).body == b"ab"


async def test_start_response_may_come_with_the_first_chunk(host: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("202 Accepted", [])
        yield b"late"

    client = await host.ask(app)
    assert (client.status, client.body) == (202, b"late")


async def test_many_small_chunks_arrive_in_order(host: Any) -> None:
    chunks = [b"%d," % number for number in range(20_000)]
    assert (await host.ask(answering(iter(chunks)))).body == b"".join(chunks)


async def test_a_list_of_large_blocks(host: Any) -> None:
    block = bytes(range(256)) * 2000
    client = await host.ask(answering([block] * 5))
    assert client.body == block * 5
    assert client.headers["content-length"] == str(len(block) * 5)


# -- write()


async def test_write(host: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response(*OK)
        assert write(b"a") is None
        write(b"")
        write(b"b")
        return [b"c", b"d"]

    client = await host.ask(app)
    assert client.body == b"abcd"
    assert client.complete
    assert "content-length" not in client.headers


@pytest.mark.parametrize("tail", [[], (), iter(())])
async def test_write_alone(host: Any, tail: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "3")])(b"abc")
        return tail

    client = await host.ask(app)
    assert (client.body, client.complete) == (b"abc", True)


async def test_write_takes_bytes_only(host: Any) -> None:
    errors: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response(*OK)
        try:
            write("text")
        except TypeError as error:
            errors.append(str(error))
        return [b"x"]

    assert (await host.ask(app)).body == b"x"
    assert errors == ["the WSGI application sent 'text' as body; it must send bytes"]


async def test_write_after_the_end(host: Any) -> None:
    kept: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        kept.append(start_response(*OK))
        return [b"x"]

    assert (await host.ask(app)).body == b"x"
    with pytest.raises(RuntimeError, match="after the end of the response"):
        kept[0](b"y")


# -- start_response


async def test_twice_without_exc_info_is_an_error(host: Any, caplog: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(*OK)
        start_response(*OK)
        return [b"x"]

    client = await host.ask(app)
    assert (client.status, client.body) == (500, b"Internal Server Error")
    assert "called twice" in caplog.text


async def test_exc_info_replaces_the_head_while_nothing_was_sent(host: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-First", "1")])
        try:
            raise KeyError("x")
        except KeyError:
            start_response("503 Busy", response_headers=[("X-Second", "2")], exc_info=sys.exc_info())
        return [b"sorry"]

    client = await host.ask(app)
    assert (client.status, client.body) == (503, b"sorry")
    assert client.headers == {"x-second": "2", "content-length": "5"}


async def test_exc_info_counts_until_the_first_bytes_not_the_first_chunk(host: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b""
        try:
            raise KeyError("x")
        except KeyError:
            start_response("500 Oops", [], sys.exc_info())
        yield b"sorry"

    client = await host.ask(app)
    assert (client.status, client.body) == (500, b"sorry")


async def test_exc_info_is_raised_when_the_head_is_out(host: Any, caplog: Any) -> None:
    seen: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response(*OK)
        yield b"begun"
        try:
            raise KeyError("the cause")
        except KeyError as error:
            try:
                start_response("500 Oops", [], sys.exc_info())
            except KeyError as again:
                seen.extend([error, again])
                raise

    client = host.client()
    with pytest.raises(RuntimeError, match="failed after its headers were sent"):
        await host.run(host.bridge(app), client)
    assert seen[0] is seen[1]
    assert client.status == 200
    assert not client.complete
    assert "KeyError: 'the cause'" in caplog.text


@pytest.mark.parametrize(
    ("status", "headers", "text"),
    [
        (200, [], "response status is 200"),
        ("OK", [], "does not begin with a number"),
        ("200 OK", (), "give a list"),
        ("200 OK", [("X-A", b"x")], "give a str"),
        ("200 OK", [("X-A", "a\r\nSet-Cookie: x=y")], "control character"),
        ("200 OK", [("X-A", "a\x00")], "control character"),
        ("200 OK\r\nX: y", [], "control character"),
        ("200 OK", [("X A", "a")], "RFC 9110"),
        ("200 OK", [("Connection", "close")], "is the server's to set"),
        ("200 OK", [("Transfer-Encoding", "chunked")], "is the server's to set"),
        ("200 OK", [("Content-Length", "x")], "give a number of bytes"),
    ],
)
async def test_a_bad_head_is_500_and_logged(host: Any, caplog: Any, status: Any, headers: Any, text: str) -> None:
    body = Body(b"x")
    client = await host.ask(answering(body, status, headers))
    assert (client.status, client.body, client.complete) == (500, b"Internal Server Error", True)
    assert client.headers == {"content-type": "text/plain; charset=utf-8", "content-length": "21"}
    assert text in caplog.text


async def test_a_bad_head_can_be_caught_by_the_application(host: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        try:
            start_response("200 OK", [("X-A", "a\nb")])
        except ValueError:
            start_response("400 Bad", [])
        return [b"x"]

    assert (await host.ask(app)).status == 400


@pytest.mark.parametrize("body", [[], [b""], [b"x"], iter([]), iter([b""]), iter([b"x"])])
async def test_without_start_response(host: Any, caplog: Any, body: Any) -> None:
    client = await host.ask(lambda environ, start_response: body)
    assert (client.status, client.body) == (500, b"Internal Server Error")
    assert "start_response()" in caplog.text


# -- what is no body


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (None, "returned None; it must return an iterable of bytes"),
        (3, "returned 3; it must return an iterable of bytes"),
        ("text", "sent 't' as body; it must send bytes"),
        (b"bytes", "sent 98 as body; it must send bytes"),
        (["text"], "sent 'text' as body"),
        ([b"x", None], "sent None as body"),
        (iter([bytearray(b"x")]), "sent bytearray(b'x') as body"),
    ],
)
async def test_a_body_of_something_else_is_500(host: Any, caplog: Any, body: Any, text: str) -> None:
    client = await host.ask(answering(body))
    assert (client.status, client.body) == (500, b"Internal Server Error")
    assert text in caplog.text


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 None"), ("GET", "304 Same")])
@pytest.mark.parametrize("kind", [list, Body, iter])
async def test_no_body_where_none_belongs(host: Any, caplog: Any, method: str, status: str, kind: Any) -> None:
    def endless() -> Any:
        while True:
            yield b"x" * 1000

    body = Body(b"", b"abc", b"def") if kind is Body else [b"abc"] if kind is list else endless()
    client = await host.ask(answering(body, status, [("Content-Length", "3")]), method)
    assert client.status == int(status[:3])
    assert client.body == b""
    assert client.complete
    assert client.headers == ({"content-length": "3"} if method == "HEAD" else {})
    assert caplog.text == ""
    if kind is Body:
        assert body.closed == 1


async def test_an_error_answer_to_head_has_no_body(host: Any) -> None:
    client = await host.ask(lambda environ, start_response: None, "HEAD")
    assert (client.status, client.body, client.complete) == (500, b"", True)


# -- Content-Length against what comes


@pytest.mark.parametrize("body", [[b"abc", b"def"], Body(b"abc", b"def", b"never asked for"), Body(b"abcd", b"", b"e")])
async def test_too_much_is_cut(host: Any, caplog: Any, body: Any) -> None:
    client = await host.ask(answering(body, headers=[("Content-Length", "4")]))
    assert (client.body, client.complete) == (b"abcd"[:4] if not isinstance(body, list) else b"abcd", True)
    assert "is longer than its Content-Length; it was cut" in caplog.text
    if isinstance(body, Body):
        assert body.closed == 1


@pytest.mark.parametrize("body", [[b"abc"], [], Body(b"abc"), Body()])
async def test_too_little_breaks_the_connection(host: Any, caplog: Any, body: Any) -> None:
    client = host.client()
    with pytest.raises(RuntimeError, match=r"\d bytes shorter than its Content-Length"):
        await host.run(host.bridge(answering(body, headers=[("Content-Length", "5")])), client)
    assert client.status == 200
    assert client.headers["content-length"] == "5"
    assert not client.complete
    assert "broke off" in caplog.text
    if isinstance(body, Body):
        assert body.closed == 1


async def test_write_is_counted_too(host: Any, caplog: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [("Content-Length", "3")])
        write(b"ab")
        write(b"cd")
        return [b"e"]

    client = await host.ask(app)
    assert (client.body, client.complete) == (b"abc", True)
    assert "it was cut" in caplog.text


# -- errors


async def test_an_error_before_the_head_is_a_short_500(host: Any, caplog: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise ValueError("a secret of the application")

    client = await host.ask(app, path="/some\nwhere")
    assert (client.status, client.body, client.complete) == (500, b"Internal Server Error", True)
    (record,) = caplog.records
    assert record.name == "genro_asgi.wsgi"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "the WSGI application failed at GET /some\\x0awhere"
    assert "ValueError: a secret of the application" in caplog.text


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
async def test_no_exception_kills_the_thread(host: Any, error: BaseException, caplog: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise error

    bridge = host.bridge(app, workers=1)
    for _ in range(3):
        client = host.client()
        await host.run(bridge, client)
        assert client.status == 500


async def test_an_error_in_the_iteration_before_the_first_bytes(host: Any, caplog: Any) -> None:
    body = Body(b"", ValueError("early"))
    client = await host.ask(answering(body))
    assert (client.status, client.body) == (500, b"Internal Server Error")
    assert body.closed == 1


async def test_an_error_after_the_first_bytes_breaks_the_connection(host: Any, caplog: Any) -> None:
    body = Body(b"begun", ValueError("late"))
    client = host.client()
    with pytest.raises(RuntimeError, match="failed after its headers were sent") as caught:
        await host.run(host.bridge(answering(body)), client)
    assert caught.value.__cause__ is None
    assert (client.status, client.body, client.complete) == (200, b"begun", False)
    assert "ValueError: late" in caplog.text
    assert body.closed == 1


async def test_an_error_in_close_is_logged(host: Any, caplog: Any) -> None:
    body = Body(b"x", close_error=ValueError("in close"))
    client = await host.ask(answering(body))
    assert (client.body, client.complete) == (b"x", True)
    assert "close() of the WSGI response to GET / failed" in caplog.text
    assert "ValueError: in close" in caplog.text


# -- close, threads, context


async def test_close_is_called_once_in_the_thread_of_the_call(host: Any) -> None:
    body = Body(b"a", b"b")
    threads: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        threads.append(threading.current_thread())
        start_response(*OK)
        return body

    assert (await host.ask(app)).body == b"ab"
    assert body.closed == 1
    assert set(body.threads) == {threads[0].ident}
    assert threads[0] is not threading.main_thread()
    assert "wsgi" in threads[0].name


async def test_close_of_an_empty_body(host: Any) -> None:
    body = Body()
    assert (await host.ask(answering(body))).complete
    assert body.closed == 1


async def test_a_generator_is_finished(host: Any) -> None:
    steps: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        try:
            start_response("200 OK", [("Content-Length", "1")])
            yield b"x"
            steps.append("after the last chunk")
        finally:
            steps.append("finally")

    assert (await host.ask(app)).body == b"x"
    assert steps == ["after the last chunk", "finally"]


async def test_the_answer_is_complete_before_a_slow_close_ends(host: Any) -> None:
    go_on = threading.Event()

    class Slow(Body):
        def close(self) -> None:
            assert go_on.wait(10)
            super().close()

    body = Slow(b"x")
    client = host.client()
    task = asyncio.create_task(host.run(host.bridge(answering(body)), client))
    await client.until(lambda: client.complete)
    assert body.closed == 0
    go_on.set()
    await task
    assert body.closed == 1


async def test_context_variables_reach_the_application(host: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    def app(environ: Any, start_response: Any) -> Any:
        start_response(*OK)
        yield variable.get().encode()
        variable.set("changed")
        yield variable.get().encode()

    variable.set("outer")
    assert (await host.ask(app)).body == b"outerchanged"
    assert variable.get() == "outer"


# -- wsgiref's validator


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_wsgiref_validate_is_content(host: Any, method: str, caplog: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"]
        parts = [body.read(2), body.readline(), body.readline(3), b"".join(body.readlines(4)), b"".join(body)]
        environ["wsgi.errors"].flush()
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"read ")
        return [b"|".join(parts)]

    client = host.client(method, "/a b/caf\xe9", [(b"host", b"x"), (b"x-y", b"z")])
    client.scope["query_string"] = b"a=b"
    data = b"01ne\nlonger line\nthird\nfourth\n"
    if method == "POST":
        client.scope["headers"] += [(b"content-length", b"%d" % len(data)), (b"content-type", b"text/plain")]
        client.feed(data[:7], True).feed(data[7:])
    else:
        client.feed(b"")
    await host.run(host.bridge(validator(app)), client)
    assert caplog.text == ""
    assert client.status == 200
    if method == "POST":
        assert client.body == b"read 01|ne\n|lon|ger line\n|third\nfourth\n"
