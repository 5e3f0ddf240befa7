"""The base of every document: a TypedDict for mypy, an empty class when the program runs.

Documents are plain dictionaries, so their classes are not needed at run time. Python takes up to a
millisecond to create each TypedDict, in every process that imports one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypedDict as TypedDict
else:

    class TypedDict:
        """A stand-in for ``typing.TypedDict``, in both of its spellings."""

        def __new__(cls, *words, **values):
            """Return an empty class for a name and keys, else the values as a dictionary."""
            return type(words[0], (cls,), {}) if words else values

        def __init_subclass__(cls, total=True):
            """Accept ``total``."""
