"""Merge an environment file: in this process on localhost, else through the module."""

from __future__ import annotations

from dream_runner.module_utils.dream_core.files.env_file_write import SPEC, carry_out
from dream_runner.plugins.in_process import HereOrThere


class ActionModule(HereOrThere):
    """Return the result of the module."""

    _VALID_ARGS = frozenset(SPEC)
    SPEC = SPEC
    work = staticmethod(carry_out)
