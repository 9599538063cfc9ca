"""The compiled table answers like genro-routes itself, on any tree and any path."""

from typing import Any

from genro_routes import RoutingClass
from hypothesis import given, settings, strategies as st

from genro_asgi.routing import route
from genro_asgi.server.routes import RouteTable

NAMES = ("index", "a", "b", "c", "list", "x")


def _no_arguments(self: Any) -> str:
    return "none"


def _one(self: Any, first: Any = None) -> str:
    return "one"


def _two(self: Any, first: Any = None, second: Any = None) -> str:
    return "two"


def _any(self: Any, *args: Any) -> str:
    return "any"


def _named_and_any(self: Any, first: Any = None, *args: Any) -> str:
    return "named"


def _keyword(self: Any, *, first: Any = None) -> str:
    return "keyword"


SHAPES = (_no_arguments, _one, _two, _any, _named_and_any, _keyword)


def make_class(entries: dict[str, int]) -> type[RoutingClass]:
    namespace: dict[str, Any] = {}
    for position, (name, shape) in enumerate(entries.items()):
        original = SHAPES[shape]
        code = type(original)(
            original.__code__, original.__globals__, f"m{position}", original.__defaults__, original.__closure__
        )
        code.__kwdefaults__ = original.__kwdefaults__
        namespace[f"m{position}"] = route(name=name)(code)
    return type("Node", (RoutingClass,), namespace)


entries = st.dictionaries(st.sampled_from(NAMES), st.integers(0, len(SHAPES) - 1), max_size=4)
trees = st.recursive(
    st.tuples(entries, st.just({}), st.just({})),
    lambda children: st.tuples(
        entries,
        st.dictionaries(st.sampled_from(NAMES), st.tuples(children, st.booleans()), max_size=3),
        st.dictionaries(st.sampled_from(("alias", "a")), st.sampled_from(("a", "b/c", "x", "list")), max_size=1),
    ),
    max_leaves=6,
)
paths = st.lists(st.sampled_from((*NAMES, "alias", "", "zzz")), max_size=5).map("/".join)


def build(tree: Any) -> RoutingClass:
    own, children, aliases = tree
    instance = make_class(own)()
    for name, target in aliases.items():
        instance.add_branches({"name": name, "alias": target})
    for name, (child, lazy) in children.items():
        if name in aliases:
            continue
        spec = {"cls": lambda child=child: build(child), "params": {}} if lazy else {"instance": build(child)}
        instance.add_branches({"name": name, **spec})
    return instance


def expected(root: RoutingClass, path: str) -> tuple[Any, tuple[str, ...]] | None:
    """What genro-routes finds: the entry and the segments left over; None for not_found."""
    try:
        node = root.route.node(path)
    except ValueError:
        return None  # a circle of aliases
    if node._entry is None:
        return None
    return node._entry.func, (*node._partial_kwargs.values(), *node._extra_args)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(trees, st.lists(paths, min_size=1, max_size=6))
def test_the_table_answers_like_the_tree(tree: Any, asked: list[str]) -> None:
    root, twin = build(tree), build(tree)
    table = RouteTable(root.route, lambda router: None, lambda router: False)
    table.refresh()
    for path in asked:
        want = expected(twin, path)
        exact = table.exact.get(f"/{path}")
        found = (exact, ()) if exact is not None else table.resolve(f"/{path}")
        if want is None:
            assert found is None, path
            continue
        assert found is not None, path
        endpoint, rest = found
        assert endpoint.entry.func.__func__.__code__ is want[0].__func__.__code__, path
        assert endpoint.entry.name == want[0].__func__._route_decorator_kw[0]["entry_name"], path
        assert rest == want[1], path


def test_every_change_of_the_tree_is_seen_at_once() -> None:
    class Leaf(RoutingClass):
        @route()
        def here(self) -> str:
            return "here"

    root = make_class({"a": 0})()
    table = RouteTable(root.route, lambda router: None, lambda router: False)
    table.refresh()
    leaf = Leaf()
    assert table.resolve("/leaf/here") is None

    root.add_branches({"name": "leaf", "instance": leaf})
    assert table.stale
    table.refresh()
    assert table.exact["/leaf/here"].rule == ""

    root.route.plug("auth")
    leaf.routing.configure("auth/here", rule="admin")
    assert table.stale
    table.refresh()
    assert table.exact["/leaf/here"].rule == "admin"

    leaf.route.add_entry(lambda self: "later", name="later")
    assert table.stale
    table.refresh()
    assert "/leaf/later" in table.exact

    root.remove_branch("leaf")
    root.route.detach_instance(leaf)
    table.refresh()
    assert "/leaf/here" not in table.exact


def test_reverse_lookup_is_not_for_clients() -> None:
    class Named(RoutingClass):
        @route(endpoint_id="secret")
        def index(self) -> str:
            return "x"

        @route()
        def item(self, key: str) -> str:
            return key

    table = RouteTable(Named().route, lambda router: None, lambda router: False)
    table.refresh()
    assert table.resolve("/@secret") is None
    assert table.resolve("/@anything") is None
    assert table.resolve("/item/@x") is None
    assert table.resolve("/item/a@x") is not None
