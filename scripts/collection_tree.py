"""Write the tree of the Ansible collection dream_runner.core for build_collection.sh.

    python scripts/collection_tree.py DIRECTORY

A collection has other paths and longer names than this tree. In roles and playbooks, modules,
plugins and roles get their full names. The action plugins import code of the wrapper: it is
copied to ``plugins/plugin_utils``, and its imports are rewritten.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dream_runner"
NAME = "dream_runner.core"
PLUGINS = f"ansible_collections.{NAME}.plugins"
UTILS = f"{PLUGINS}.plugin_utils.dream_runner"
KINDS = ("action", "filter", "lookup")
VERBS = ("install", "uninstall")

_GALAXY = {
    "namespace": "dream_runner",
    "name": "core",
    "readme": "README.md",
    "authors": ["dream-runner maintainers"],
    "description": "Turn a Linux machine into a private AI server",
    "license_file": "LICENSE",
    "tags": ["linux", "infrastructure"],
    "build_ignore": [],
}

_README = """# dream_runner.core

Turn a Linux machine into a private AI server: the roles, modules and plugins of dream-runner.

```yaml
- hosts: localhost
  gather_facts: false
  roles: [dream_runner.core.detection]
```

`ansible-playbook dream_runner.core.install` runs every role in order. Each role also works in a
playbook of its own; its README lists its variables.

The machine that runs Ansible needs the packages in `requirements.txt`.
"""

_PATHS = '''"""Where the roles, playbooks and catalogue are in this collection."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]


def content() -> Path:
    """Return the directory that holds ``playbooks/`` and ``roles/``."""
    return PACKAGE.parent


def playbook(verb: str) -> Path:
    """Return the playbook of ``verb``."""
    return content() / "playbooks" / f"{verb}.yml"


def catalog() -> Path:
    """Return the directory of the product catalogue."""
    return Path(__file__).resolve().parent / "catalog"
'''

_FROM = re.compile(r"^(\s*)from (\.*)([\w.]*) import ", re.MULTILINE)
_RUNS_MODULE = re.compile(r'(_execute_module\(\s*")(dream_\w+")')
_INCLUDED = re.compile(r"((?:include|import)_role:\s*\n\s+name: )(\w+)")


def version() -> str:
    """Return the version of the tree."""
    (found,) = re.findall(r'__version__ = "(.+)"', (PACKAGE / "version.py").read_text("utf-8"))
    return str(found)


def write(target: Path) -> None:
    """Write the collection to ``target``, which must not exist."""
    target.mkdir(parents=True)
    galaxy = yaml.safe_dump({**_GALAXY, "version": version()}, sort_keys=False)
    _put(target / "galaxy.yml", galaxy)
    _put(target / "README.md", _README)
    _put(target / "requirements.txt", "jsonschema\nPyYAML\n")
    _put(target / "meta" / "runtime.yml", '---\nrequires_ansible: ">=2.19.0"\n')
    for name in ("LICENSE", "CHANGELOG.md"):
        _put(target / name, (ROOT / name).read_text("utf-8"))
    _write_modules(target / "plugins")
    _write_plugins(target / "plugins")
    _write_roles(target / "roles")
    _write_playbooks(target / "playbooks")


def _write_modules(plugins: Path) -> None:
    for path in sorted((ROOT / "library").glob("*.py")):
        text = path.read_text("utf-8").replace(
            "from ansible.module_utils.dream_core", f"from {PLUGINS}.module_utils.dream_core"
        )
        _put(plugins / "modules" / path.name, text)
    for path in sorted((PACKAGE / "module_utils").rglob("*.py")):
        _put(plugins / path.relative_to(PACKAGE), path.read_text("utf-8"))


def _write_plugins(plugins: Path) -> None:
    for path in closure().values():
        text = rewritten(path)
        if path.parent.name in KINDS:
            _put(plugins / path.parent.name / path.name, text)
        else:
            _put(plugins / "plugin_utils" / "dream_runner" / path.relative_to(PACKAGE), text)
    utils = plugins / "plugin_utils" / "dream_runner"
    _put(utils / "paths.py", _PATHS)
    for path in sorted((PACKAGE / "catalog").iterdir()):
        if path.is_file() and path.suffix != ".py":
            shutil.copyfile(path, utils / "catalog" / path.name)


def _write_roles(roles: Path) -> None:
    for path in sorted(p for p in (ROOT / "roles").rglob("*") if p.is_file()):
        relative = path.relative_to(ROOT / "roles")
        if path.suffix == ".yml":
            _put(roles / relative, renamed(path))
        elif path.name == "README.md":
            _put(roles / relative, _page(path))
        elif "__pycache__" not in path.parts:
            (roles / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, roles / relative)


def _write_playbooks(playbooks: Path) -> None:
    source = ROOT / "playbooks"
    for verb in VERBS:
        _put(playbooks / f"{verb}.yml", renamed(source / f"{verb}.yml"))
    for path in sorted((source / "group_vars" / "all").glob("*.yml")):
        _put(playbooks / path.relative_to(source), path.read_text("utf-8"))


def renamed(path: Path) -> str:
    """Return the YAML file ``path`` with the full names of modules, plugins and roles."""
    text = path.read_text("utf-8")
    roles = "|".join(p.name for p in (ROOT / "roles").iterdir())
    text = re.sub(rf"(\brole: )({roles})\b", rf"\1{NAME}.\2", text)
    text = _INCLUDED.sub(rf"\1{NAME}.\2", text)
    text = re.sub(r"(\| )(dream_(?:resources|parts)\()", rf"\1{NAME}.\2", text)
    text = re.sub(r"(lookup\(')(dream_)", rf"\1{NAME}.\2", text)
    if path.parent.name in ("tasks", "handlers", "playbooks"):
        text = re.sub(rf"^( *(?:- )?)({_modules()}):", rf"\1{NAME}.\2:", text, flags=re.MULTILINE)
    return text


def _modules() -> str:
    folders = (ROOT / "library", PACKAGE / "plugins" / "action")
    return "|".join(sorted({path.stem for folder in folders for path in folder.glob("*.py")}))


def _page(path: Path) -> str:
    text = path.read_text("utf-8").replace("roles: [", f"roles: [{NAME}.")
    return re.sub(r"\n`ANSIBLE_CONFIG=.*\n", "", text)


def rewritten(path: Path) -> str:
    """Return the text of the module ``path`` with its imports rewritten for the collection."""
    package = _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]

    def full(found: re.Match[str]) -> str:
        indent, dots, module = found.groups()
        target = _absolute(package, len(dots), module)
        if not target.startswith("dream_runner") or (dots and not _is_elsewhere(target)):
            return found.group()
        return f"{indent}from {_in_collection(target)} import "

    return _RUNS_MODULE.sub(rf"\1{NAME}.\2", _FROM.sub(full, path.read_text("utf-8")))


def _is_elsewhere(target: str) -> bool:
    return target.startswith(("dream_runner.module_utils", "dream_runner.plugins.action"))


def _in_collection(target: str) -> str:
    parts = target.split(".")
    if _is_elsewhere(target):
        return ".".join([PLUGINS, *parts[2:]] if parts[1] == "plugins" else [PLUGINS, *parts[1:]])
    return ".".join([UTILS, *parts[1:]])


def closure() -> dict[str, Path]:
    """Return the modules of the package that the plugins import, without ``module_utils``."""
    files = {_name(path): path for path in PACKAGE.rglob("*.py")}
    found: dict[str, Path] = {}
    due = [name for name, path in files.items() if path.parent.name in KINDS]
    while due:
        name = due.pop()
        while name and name not in files:
            name = name.rpartition(".")[0]
        if not name or name in found or name.startswith("dream_runner.module_utils"):
            continue
        found[name] = files[name]
        due += [*_imports(files[name]), name.rpartition(".")[0]]
    return found


def _imports(path: Path) -> Iterator[str]:
    package = _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = _absolute(package, node.level, node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _absolute(package: str, level: int, module: str) -> str:
    if not level:
        return module
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, module] if module else base)


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
