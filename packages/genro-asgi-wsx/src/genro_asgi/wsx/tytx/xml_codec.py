"""TYTX as XML: `<?xml version="1.0" ?><tytx_root>...</tytx_root>` around a text, or around elements.

An element is `{tag: {"attrs": {...}, "value": ...}}`. Documents with a DOCTYPE are refused, and with them every
entity a document could define.
"""

import math
import re
from typing import Any
from xml.parsers import expat

from genro_asgi.jsoncodec import dumps
from genro_asgi.wsx.errors import TytxError
from genro_asgi.wsx.tytx.codec import encode, read_text
from genro_asgi.wsx.tytx.registry import DEFAULT_TYPES, NATIVE_ENTRIES, TypeTable
from genro_asgi.wsx.tytx.tree import MAX_DEPTH, join_pointer

__all__ = ["decode_xml", "encode_xml"]

_ROOT = "tytx_root"
_ASCII_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# Characters XML cannot hold, and the one it would read back as a line feed.
_NOT_XML = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_TEXT = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ATTRIBUTE = str.maketrans(_TEXT | {'"': "&quot;", "\n": "&#10;", "\t": "&#09;"})
_ELEMENT_TEXT = str.maketrans(_TEXT)


def encode_xml(value: Any, types: TypeTable = DEFAULT_TYPES) -> bytes:
    """A document as UTF-8; TytxError for a value that has no form.

    A list of elements becomes children: an empty one is read back as None, and one of a single element as that
    element, which is how other implementations do it.
    """
    try:
        body = _element(value, types, MAX_DEPTH) if _is_element(value) else _plain_text(value, types)
    except RecursionError:
        raise TytxError("the value is nested too deeply, or holds itself") from None
    return f'<?xml version="1.0" ?><{_ROOT}>{body}</{_ROOT}>'.encode()


def _plain_text(value: Any, types: TypeTable) -> str:
    # A text on its own keeps its ">", as other implementations write it, where XML allows it to.
    text = _literal(value, types).replace("&", "&amp;").replace("<", "&lt;")
    return text.replace("]]>", "]]&gt;")


def _literal(value: Any, types: TypeTable) -> str:
    text = encode(value, types=types).decode()
    if not _NOT_XML.search(text):
        return text
    if text[0] in '"{[':  # only inside strings, and there they can be escaped
        return _NOT_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    # A typed text on its own: in quotes it can.
    return _NOT_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", dumps(text).decode()) + "::JS"


def _is_element(value: Any) -> bool:
    if type(value) is not dict or len(value) != 1:
        return False
    ((tag, content),) = value.items()
    if type(content) is not dict or "value" not in content or content.keys() - {"attrs", "value"}:
        return False
    attrs = content.get("attrs", {})
    return type(attrs) is dict and _is_name(tag) and all(map(_is_name, attrs))


def _is_name(name: Any) -> bool:
    if not isinstance(name, str):
        return False
    if name.isascii():
        return _ASCII_NAME.fullmatch(name) is not None
    # Which other letters may be in a name is what the parser says.
    try:
        expat.ParserCreate("UTF-8", "}").Parse(f"<{name}/>".encode(), True)
    except (expat.ExpatError, UnicodeEncodeError):
        return False
    return not re.search(r"[\s/>=]", name)


def _element(value: dict[str, Any], types: TypeTable, depth: int) -> str:
    if not depth:
        raise TytxError("the value is nested too deeply, or holds itself")
    ((tag, content),) = value.items()
    attrs = ""
    inner = content["value"]
    where = "/value"
    try:
        if type(inner) is list and all(map(_is_element, inner)):
            body = "".join([_element(child, types, depth - 1) for child in inner])
        else:
            body = _literal(inner, types).translate(_ELEMENT_TEXT)
        for name, item in content.get("attrs", {}).items():
            where = f"/attrs/{name}"
            attrs += f' {name}="{_attribute(item, types).translate(_ATTRIBUTE)}"'
    except TytxError as error:
        error.pointer = f"/{tag}{where}{error.pointer}"
        raise
    return f"<{tag}{attrs}>{body}</{tag}>" if body else f"<{tag}{attrs} />"


def _attribute(value: Any, types: TypeTable) -> str:
    entry = NATIVE_ENTRIES.get(type(value))
    if entry is None or (type(value) is float and not math.isfinite(value)):
        return _literal(value, types)
    return f"{entry.write(value)}::{entry.suffix}"


def decode_xml(data: str | bytes, types: TypeTable = DEFAULT_TYPES, *, max_depth: int = MAX_DEPTH) -> Any:
    """Read a document; TytxError when it is malformed, or names the value that cannot be read."""
    reader = _Reader(types, max_depth)
    try:
        return reader.read(data.encode() if isinstance(data, str) else data)
    except (expat.ExpatError, UnicodeEncodeError):
        raise TytxError("the document is not well-formed XML", code="MALFORMED") from None


class _Open:
    """An element whose end has not come yet."""

    def __init__(self, tag: str, attrs: dict[str, str]) -> None:
        self.tag = tag
        self.attrs = attrs
        self.children: list[dict[str, Any]] = []
        self.text: list[str] = []


class _Reader:
    """Builds values while the parser runs; nothing here recurses."""

    def __init__(self, types: TypeTable, max_depth: int) -> None:
        self.types = types
        self.max_depth = max_depth
        self.open: list[_Open] = []
        self.result: Any = None

    def read(self, data: bytes) -> Any:
        parser = expat.ParserCreate("UTF-8", "}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.Parse(data, True)
        return self.result

    def _doctype(self, *declaration: Any) -> None:
        raise TytxError("the document has a DOCTYPE, which is not accepted", code="MALFORMED")

    def _start(self, name: str, attrs: dict[str, str]) -> None:
        if len(self.open) >= self.max_depth:
            raise TytxError(f"the document is nested deeper than {self.max_depth} levels", code="MALFORMED")
        self.open.append(_Open(_qualified(name), attrs))

    def _characters(self, text: str) -> None:
        self.open[-1].text.append(text)

    def _end(self, name: str) -> None:
        element = self.open.pop()
        text = "".join(element.text)
        if element.children and text.strip():
            raise TytxError(f"the element {element.tag} mixes text and elements", self._pointer(), "MALFORMED")
        if not self.open and element.tag == _ROOT:
            self.result = _children(element) if element.children else read_text(text.encode(), self.types)
            return
        pointer = self._pointer() + join_pointer(element.tag, "")
        attrs = {
            _qualified(key): self._value(item, f"{pointer}/attrs{join_pointer(_qualified(key), '')}")
            for key, item in element.attrs.items()
        }
        value = _children(element) if element.children else self._value(text, f"{pointer}/value") if text else None
        node = {element.tag: {"attrs": attrs, "value": value}}
        if self.open:
            self.open[-1].children.append(node)
        else:
            self.result = node

    def _value(self, text: str, pointer: str) -> Any:
        """What stands in an element or attribute: a literal, JSON, or else the text itself."""
        try:
            return read_text(text.encode(), self.types)
        except TytxError as error:
            if error.code == "MALFORMED":
                return text
            error.pointer = pointer + error.pointer
            raise

    def _pointer(self) -> str:
        outer = self.open[1:] if self.open and self.open[0].tag == _ROOT else self.open
        return "".join(f"{join_pointer(element.tag, '')}/value" for element in outer)


def _children(element: _Open) -> Any:
    return element.children[0] if len(element.children) == 1 else element.children


def _qualified(name: str) -> str:
    """The name with its namespace in braces, as ElementTree has made them known."""
    return f"{{{name}" if "}" in name else name
