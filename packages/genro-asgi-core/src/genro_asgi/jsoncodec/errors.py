"""What is wrong with a JSON text, or with a value that should become one."""

__all__ = ["BIG_NUMBER", "INTEGER_MAX", "INTEGER_MIN", "MALFORMED", "MAX_DEPTH", "JsonError", "too_deep"]

#: No text may nest lists and objects deeper than this, whatever a caller allows.
MAX_DEPTH = 1024

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**64 - 1

MALFORMED = "The text is not valid JSON."
BIG_NUMBER = "The JSON holds a number beyond 64 bits."


class JsonError(ValueError):
    """A JSON text that is refused, or a value that holds itself; the text of the error never quotes the document.

    `pos` is where, in characters, when it is known.
    """

    def __init__(self, text: str, pos: int | None = None) -> None:
        super().__init__(text)
        self.pos = pos


def too_deep(max_depth: int) -> JsonError:
    """The error for a text with more than `max_depth` nested lists and objects."""
    return JsonError(f"The JSON is nested deeper than {max_depth} levels.")
