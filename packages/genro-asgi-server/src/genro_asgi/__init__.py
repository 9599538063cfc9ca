"""Development marker: joins the portions of genro_asgi in a checkout; no wheel ships it."""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)
