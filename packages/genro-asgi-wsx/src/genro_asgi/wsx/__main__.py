"""The command line: `python -m genro_asgi.wsx call|stream|subscribe|schema|encode|decode`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from genro_asgi.jsoncodec import dumps
from genro_asgi.wsx.answers import seconds
from genro_asgi.wsx.codec import decode_message, encode_fields
from genro_asgi.wsx.errors import TytxError, WsxCallError, WsxError
from genro_asgi.wsx.kinds import BINARY, TYPED_TEXT
from genro_asgi.wsx.tytx import decode, encode


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all went well, 1 when the answer or the input was an error.

    130 and 141 when it was interrupted, or nobody read on, as shells have it; 2 for wrong usage is raised.
    """
    options = _parser().parse_args(argv)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left would be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (WsxCallError, WsxError, TytxError, ValueError, OSError, ImportError) as error:
        print((error.strerror if isinstance(error, OSError) else None) or error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m genro_asgi.wsx", description="Speak WSX/1.")
    commands = parser.add_subparsers(title="commands", required=True)
    for name, run, text in (
        ("call", _call, "call a path and print the data of the answer"),
        ("stream", _stream, "call a path and print the items of the answer, one a line"),
    ):
        command = _remote(commands.add_parser(name, help=text), "path", run)
        command.add_argument("-X", "--method", help="default GET, or POST with data")
        command.add_argument(
            "-q",
            "--query",
            action="append",
            default=[],
            type=_pair("="),
            metavar="NAME=VALUE",
            help="may be given again, for a list too",
        )
        command.add_argument("-d", "--data", type=_value, help='TYTX, such as {"price":"9.90::N"}::JS')
        command.add_argument("-H", "--header", action="append", default=[], type=_pair(":"), metavar="NAME:VALUE")
        command.add_argument("-t", "--timeout", type=_timeout, help="seconds")
    command = _remote(commands.add_parser("subscribe", help="print the events of a topic"), "topic", _subscribe)
    command.add_argument("-f", "--filter", type=_value, help="TYTX")
    command.add_argument("-n", "--count", type=_count, help="end after so many events")
    _remote(commands.add_parser("schema", help="print the server's OpenAPI document"), None, _schema)
    for name, run, text in (
        ("encode", _encode, "print the message that has these fields"),
        ("decode", _decode, "print the kind and the fields of a message"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("message", nargs="?", help="default: what comes on standard input")
        command.add_argument("--hex", action="store_true", help="the message is, or is printed as, hex digits")
        command.set_defaults(run=run)
        if name == "encode":
            command.add_argument("--msgpack", action="store_true")
    return parser


def _remote(command: argparse.ArgumentParser, what: str | None, run: Any) -> argparse.ArgumentParser:
    command.add_argument("url", help="ws://host:port or wss://host")
    if what is not None:
        command.add_argument(what)
    command.add_argument("-a", "--auth", help="value of the Authorization header, such as 'Bearer x'")
    command.add_argument("--msgpack", action="store_true", help="send MessagePack and not text")
    command.set_defaults(run=run)
    return command


def _value(text: str) -> Any:
    try:
        return decode(text)
    except TytxError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not TYTX: {error}") from None


def _pair(sign: str) -> Callable[[str], tuple[str, str]]:
    def pair(text: str) -> tuple[str, str]:
        name, found, value = text.partition(sign)
        if not name.strip() or not found:
            raise argparse.ArgumentTypeError(f"{text!r} has no name and {sign!r}; write NAME{sign}VALUE")
        return name.strip(), value.strip() if sign == ":" else value

    return pair


def _timeout(text: str) -> float | None:
    try:
        return seconds(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write seconds above 0") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of events; write 1 or more")
    return int(text)


def _query(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    query: dict[str, Any] = {}
    for name, value in pairs:
        before = query.get(name)
        query[name] = value if before is None else [*(before if type(before) is list else [before]), value]
    return query


def _show(value: Any) -> None:
    print(encode(value).decode(), flush=True)


def _client(options: argparse.Namespace) -> Any:
    from genro_asgi.wsx.client import connect

    return connect(options.url, options.auth, form="msgpack" if options.msgpack else "text")


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "query": _query(options.query),
        "headers": dict(options.header),
        "timeout": options.timeout,
        "method": options.method or ("GET" if options.data is None else "POST"),
    }


def _call(options: argparse.Namespace) -> None:
    async def run() -> None:
        async with _client(options) as wsx:
            _show(await wsx.call(path=options.path, data=options.data, **_asked(options)))

    asyncio.run(run())


def _stream(options: argparse.Namespace) -> None:
    async def run() -> None:
        async with _client(options) as wsx:
            async for item in wsx.stream(options.path, data=options.data, **_asked(options)):
                _show(item)

    asyncio.run(run())


def _subscribe(options: argparse.Namespace) -> None:
    async def run() -> None:
        left = options.count
        async with _client(options) as wsx:
            async for event in wsx.subscribe(options.topic, options.filter):
                _show(event)
                left = None if left is None else left - 1
                if left == 0:
                    return

    asyncio.run(run())


def _schema(options: argparse.Namespace) -> None:
    async def run() -> None:
        async with _client(options) as wsx:
            print(dumps(await wsx.schema()).decode())

    asyncio.run(run())


def _input(options: argparse.Namespace) -> str | bytes:
    if options.message is not None:
        return str(options.message)
    data = sys.stdin.buffer.read()
    with suppress(UnicodeDecodeError):
        return data.decode().strip()
    return data


def _encode(options: argparse.Namespace) -> None:
    _, parsed = decode_message(_input(options))
    message = encode_fields(parsed.fields, BINARY if options.msgpack else TYPED_TEXT)
    if options.hex or not options.msgpack:
        print(message.hex() if options.hex else message.decode())
    else:
        sys.stdout.buffer.write(message)
        sys.stdout.buffer.flush()


def _decode(options: argparse.Namespace) -> None:
    message = _input(options)
    if options.hex:
        try:
            message = bytes.fromhex(message if isinstance(message, str) else message.decode())
        except ValueError as error:
            raise WsxError(f"the message is not hex digits: {error}") from None
    kind, parsed = decode_message(message)
    print(kind)
    _show(parsed.fields)


if __name__ == "__main__":
    sys.exit(main())
