"""Copy the shared code to a host as one program that needs only Python.

The archive is created here. The same code gives the same bytes, so Ansible's copy, which compares
first, changes nothing the next time.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Dict

from ansible.plugins.action import ActionBase

from dream_runner import paths

#: The earliest time that an archive can store, used instead of the times of files.
_TIME = (1980, 1, 1, 0, 0, 0)
_MAIN = "import sys\n\nfrom dream_core.%s import main\n\nsys.exit(main())\n"


class ActionModule(ActionBase):
    """Copy the archive; ``entry`` is the module whose ``main`` the program runs."""

    _VALID_ARGS = frozenset(("path", "entry", "mode"))

    def run(self, tmp: Any = None, task_vars: Any = None) -> Dict[str, Any]:
        result: Dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        with tempfile.TemporaryDirectory(prefix="dream-program-") as folder:
            source = Path(folder) / "program.pyz"
            source.write_bytes(archive(str(arguments["entry"])))
            task = self._task.copy()
            task.args = {
                "src": str(source),
                "dest": arguments["path"],
                "mode": arguments.get("mode", "0644"),
            }
            copy = self._shared_loader_obj.action_loader.get(
                "ansible.legacy.copy",
                task=task,
                connection=self._connection,
                play_context=self._play_context,
                loader=self._loader,
                templar=self._templar,
                shared_loader_obj=self._shared_loader_obj,
            )
            result.update(copy.run(task_vars=task_vars))
        # Skip the diff of a few hundred kilobytes of binary data.
        result.pop("diff", None)
        return result


def archive(entry: str) -> bytes:
    """Return the program: all shared code in a fixed order; it starts with ``entry``."""
    root = paths.PACKAGE / "module_utils"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        _put(packed, "__main__.py", (_MAIN % entry).encode())
        for path in sorted((root / "dream_core").rglob("*.py")):
            _put(packed, path.relative_to(root).as_posix(), path.read_bytes())
    return buffer.getvalue()


def _put(packed: zipfile.ZipFile, name: str, content: bytes) -> None:
    item = zipfile.ZipInfo(name, _TIME)
    item.compress_type = zipfile.ZIP_DEFLATED
    item.external_attr = 0o644 << 16
    packed.writestr(item, content)
