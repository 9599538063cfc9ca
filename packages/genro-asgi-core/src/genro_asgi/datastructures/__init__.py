"""What requests and responses are made of: addresses, URLs, headers, query parameters, state, cookies."""

from genro_asgi.datastructures.address import Address
from genro_asgi.datastructures.cookies import parse_cookies
from genro_asgi.datastructures.forms import FormData, UploadFile
from genro_asgi.datastructures.headers import (
    Headers,
    MutableHeaders,
    RawHeaders,
    encode_header,
    headers_from_scope,
)
from genro_asgi.datastructures.multidict import ImmutableMultiDict, MultiDict
from genro_asgi.datastructures.query_params import QueryParams, parse_query, query_dict, query_params_from_scope
from genro_asgi.datastructures.state import State
from genro_asgi.datastructures.strings import CommaSeparatedStrings, Secret
from genro_asgi.datastructures.url import URL, URLPath, is_host

__all__ = [
    "URL",
    "Address",
    "CommaSeparatedStrings",
    "FormData",
    "Headers",
    "ImmutableMultiDict",
    "MultiDict",
    "MutableHeaders",
    "QueryParams",
    "RawHeaders",
    "Secret",
    "State",
    "URLPath",
    "UploadFile",
    "encode_header",
    "headers_from_scope",
    "is_host",
    "parse_cookies",
    "parse_query",
    "query_dict",
    "query_params_from_scope",
]
