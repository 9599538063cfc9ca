"""Modules that a fresh interpreter does not find by their name, such as tests that pytest imported by file."""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from typing import Any

# A module or package: its name, its file (None for a namespace package), where its submodules are (None: it has none).
Place = tuple[str, str | None, list[str] | None]


class Located:
    """A `module:name` that tells who unpickles it where the module is, before anything of it is needed."""

    def __init__(self, reference: str, places: list[Place]) -> None:
        self.reference = reference
        self.places = places

    def __reduce__(self) -> Any:
        return locate, (self.reference, self.places)


def locate(reference: str, places: list[Place]) -> str:
    """Let these modules be imported, and give the reference back."""
    _finder.places.update((name, (file, inside)) for name, file, inside in places)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    return reference


class _Finder(MetaPathFinder):
    def __init__(self) -> None:
        self.places: dict[str, tuple[str | None, list[str] | None]] = {}

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname not in self.places:
            return None
        file, inside = self.places[fullname]
        if file is not None:
            return spec_from_file_location(fullname, file, submodule_search_locations=inside)
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = inside
        return spec


_finder = _Finder()


def places_of(module: str) -> list[Place]:
    """A module and the packages it is in, when its name alone leads elsewhere or nowhere; nothing when it is enough."""
    if module in ("__main__", "__mp_main__"):
        return []  # it has a way of its own
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not os.path.isfile(file) or _found(module) == file:
        return []
    names = module.split(".")
    places: list[Place] = []
    for end in range(1, len(names) + 1):
        name = ".".join(names[:end])
        found = sys.modules.get(name)
        inside = getattr(found, "__path__", None)
        places.append((name, getattr(found, "__file__", None), None if inside is None else list(inside)))
    return places


def _found(module: str) -> str | None:
    """The file a fresh interpreter with our path would load the module from."""
    names = module.split(".")
    path = None
    for end in range(1, len(names)):
        spec = PathFinder.find_spec(".".join(names[:end]), path)
        if spec is None or spec.submodule_search_locations is None:
            return None
        path = list(spec.submodule_search_locations)
    spec = PathFinder.find_spec(module, path)
    return None if spec is None else spec.origin
