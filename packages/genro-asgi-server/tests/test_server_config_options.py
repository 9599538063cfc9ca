import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.server.config_options import Options

VALUES: dict[str, Any] = {"port": 8000, "apps": {"shop": {"module": "shop_app"}}, "a.b": 1, "items": [1], "none": None}

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def test_values_by_item_and_by_attribute() -> None:
    options = Options(VALUES)
    assert options.port == options["port"] == 8000
    assert options.apps.shop.module == "shop_app"
    assert options["items"] == [1]
    assert isinstance(options.apps["shop"], Options)


def test_what_is_missing_is_none() -> None:
    options = Options(VALUES)
    assert options.nothing is None
    assert options["nothing"] is None
    assert options["apps.nothing.module"] is None
    assert options["port.deeper"] is None
    assert options.get("none", 3) == 3
    assert "nothing" not in options
    assert "none" in options
    assert Options().anything is None
    assert not Options()


def test_a_dotted_key_walks_down_unless_it_is_a_key() -> None:
    assert Options(VALUES)["apps.shop.module"] == "shop_app"
    assert Options(VALUES)["a.b"] == 1


def test_it_cannot_be_changed_and_its_copy_can() -> None:
    options = Options(VALUES)
    with pytest.raises(TypeError):
        options["port"] = 1  # type: ignore[index]
    with pytest.raises(AttributeError):
        options.port = 1
    options.as_dict()["apps"]["shop"]["module"] = "other"
    assert options["apps.shop.module"] == "shop_app"


def test_its_repr_keeps_secrets() -> None:
    shown = repr(Options({"auth": {"basic": {"ada": "hunter2"}}, "nats": [{"password": "hunter2"}], "port": 1}))
    assert shown == "Options({'auth': {'basic': '***'}, 'nats': [{'password': '***'}], 'port': 1})"


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(st.text(max_size=5), trees, max_size=4))
def test_it_is_the_mapping_it_was_made_of(values: dict[str, Any]) -> None:
    options = Options(values)
    assert options == values
    assert options.as_dict() == values
    assert list(options) == list(values)
    assert len(options) == len(values)
    assert copy.deepcopy(options) == pickle.loads(pickle.dumps(options)) == options
