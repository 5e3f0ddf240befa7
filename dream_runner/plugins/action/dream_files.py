"""Create directories and small files: in this process on localhost, else by the module."""

from __future__ import annotations

from dream_runner.module_utils.dream_core.files.wanted_files import SPEC, carry_out
from dream_runner.plugins.in_process import HereOrThere


class ActionModule(HereOrThere):
    """Return the same as the module."""

    _VALID_ARGS = frozenset(SPEC)
    SPEC = SPEC
    work = staticmethod(carry_out)
