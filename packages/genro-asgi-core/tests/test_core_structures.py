import copy
import pickle
from typing import get_args

import pytest

from genro_asgi import datastructures, types
from genro_asgi.datastructures import Address, CommaSeparatedStrings, Secret, State
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send


def test_the_types_are_the_five_of_asgi() -> None:
    assert set(types.__all__) == {"Scope", "Message", "Receive", "Send", "ASGIApp"}
    assert get_args(ASGIApp)[0] == [Scope, Receive, Send]
    assert get_args(Receive)[0] == []
    assert get_args(Send)[0] == [Message]


def test_every_name_of_datastructures_is_there() -> None:
    assert all(hasattr(datastructures, name) for name in datastructures.__all__)


def test_an_address_is_a_pair() -> None:
    address = Address("127.0.0.1", 8000)
    assert address == ("127.0.0.1", 8000)
    assert (address.host, address.port) == ("127.0.0.1", 8000)
    assert repr(address) == "Address(host='127.0.0.1', port=8000)"


def test_state_by_attribute_and_by_key() -> None:
    state = State({"a": 1})
    state.b = 2
    state["c"] = 3
    assert (state.a, state["b"], state.c) == (1, 2, 3)
    assert ("a" in state, "x" in state, list(state), len(state)) == (True, False, ["a", "b", "c"], 3)
    assert repr(state) == "State({'a': 1, 'b': 2, 'c': 3})"
    del state.a
    del state["b"]
    assert state == State({"c": 3})
    assert state != {"c": 3}
    assert State()
    with pytest.raises(KeyError):
        state["x"]
    with pytest.raises(TypeError):
        hash(state)


def test_state_wraps_what_it_is_given() -> None:
    shared: dict[str, object] = {}
    State(shared).a = 1
    assert shared == {"a": 1}


def test_a_missing_attribute_reads_like_any_objects() -> None:
    state = State()
    with pytest.raises(AttributeError, match="'State' object has no attribute 'x'"):
        _ = state.x
    with pytest.raises(AttributeError, match="'State' object has no attribute 'x'"):
        del state.x
    assert not hasattr(state, "x")


def test_state_can_be_copied_and_pickled() -> None:
    state = State({"a": [1]})
    assert copy.deepcopy(state) == pickle.loads(pickle.dumps(state)) == state
    assert copy.copy(state).a is state.a


def test_a_secret_does_not_show() -> None:
    secret = Secret("hunter2")
    assert repr(secret) == "Secret('**********')"
    assert str(secret) == "hunter2"
    assert secret
    assert not Secret("")


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("", []),
        ("a, b", ["a", "b"]),
        ("'a', 'b, c'", ["a", "b, c"]),
        ("localhost, 127.0.0.1, *.example.org", ["localhost", "127.0.0.1", "*.example.org"]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_comma_separated_strings(value: str | list[str], items: list[str]) -> None:
    strings = CommaSeparatedStrings(value)
    assert list(strings) == items
    assert len(strings) == len(items)
    assert strings[:1] == items[:1]
    assert repr(strings) == f"CommaSeparatedStrings({items!r})"
    assert str(strings) == ", ".join(map(repr, items))


def test_one_of_the_comma_separated() -> None:
    assert CommaSeparatedStrings("a, b")[1] == "b"
