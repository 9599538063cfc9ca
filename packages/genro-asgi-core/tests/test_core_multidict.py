import pytest

from genro_asgi.datastructures import ImmutableMultiDict, MultiDict


@pytest.fixture
def both() -> MultiDict:
    return MultiDict([("a", "1"), ("b", "2"), ("a", "3")])


def test_an_immutable_one_reads(both: MultiDict) -> None:
    frozen = ImmutableMultiDict(both)
    assert frozen.multi_items() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert (frozen["a"], frozen.getlist("a"), len(frozen)) == ("3", ["1", "3"], 2)
    assert frozen == ImmutableMultiDict([("b", "2"), ("a", "1"), ("a", "3")])
    assert frozen != ImmutableMultiDict([("a", "3"), ("a", "1"), ("b", "2")])
    assert frozen != ImmutableMultiDict([("a", "1")])
    assert frozen != [("a", "1")]
    assert repr(frozen) == "ImmutableMultiDict([('a', '1'), ('b', '2'), ('a', '3')])"
    assert ImmutableMultiDict({"a": 1}, b=2).multi_items() == [("a", 1), ("b", 2)]
    with pytest.raises(KeyError):
        frozen["c"]
    with pytest.raises(TypeError):
        hash(frozen)


def test_values_without_an_order_compare_as_they_stand() -> None:
    one, other = object(), object()
    assert ImmutableMultiDict([("a", one), ("a", other)]) == ImmutableMultiDict([("a", one), ("a", other)])
    assert ImmutableMultiDict([("a", one), ("a", other)]) != ImmutableMultiDict([("a", other), ("a", one)])


def test_setting_replaces_all_values(both: MultiDict) -> None:
    both["a"] = "9"
    assert both.multi_items() == [("b", "2"), ("a", "9")]


def test_deleting_takes_all_values(both: MultiDict) -> None:
    del both["a"]
    assert both.multi_items() == [("b", "2")]
    with pytest.raises(KeyError):
        del both["a"]


def test_pop_gives_the_last_and_poplist_all(both: MultiDict) -> None:
    assert both.pop("x", "none") == "none"
    assert both.pop("x") is None
    copy = both.copy()
    assert both.pop("a") == "3"
    assert copy.poplist("a") == ["1", "3"]
    assert both == copy == MultiDict(b="2")


def test_popitem_takes_the_newest_key(both: MultiDict) -> None:
    assert both.popitem() == ("b", "2")
    assert both.multi_items() == [("a", "1"), ("a", "3")]


def test_setlist_and_append(both: MultiDict) -> None:
    both.setlist("a", ["5", "6"])
    both.append("c", "7")
    both.append("c", "8")
    assert both.multi_items() == [("b", "2"), ("a", "5"), ("a", "6"), ("c", "7"), ("c", "8")]
    assert both["c"] == "8"
    both.setlist("a", [])
    both.setlist("never", [])
    assert "a" not in both


def test_setdefault_keeps_what_is_there(both: MultiDict) -> None:
    assert both.setdefault("a", "x") == "3"
    assert both.setdefault("c", "x") == "x"
    assert both.setdefault("d") is None
    assert both.getlist("c") == ["x"]


def test_update_replaces_the_keys_it_brings(both: MultiDict) -> None:
    both.update([("a", "7"), ("a", "8")], c="9")
    assert both.multi_items() == [("b", "2"), ("a", "7"), ("a", "8"), ("c", "9")]
    assert both["a"] == "8"


def test_clear(both: MultiDict) -> None:
    both.clear()
    assert both.multi_items() == []
    assert not both
