# SPDX-License-Identifier: MIT
"""BitBake's own library (PyPI: bitbake-setup) without OpenEmbedded: parses and expands what is in this layer.

What the layer inherits and requires of oe-core and of other layers is in tests/layer/stubs, reduced to what
our files rely on. Tests with the real layers are those of `make test-layer`.
"""

import ast
import pathlib
import re
import sys
import types
from collections.abc import Iterator, Sequence

# Left out of the package; nothing here starts a server.
for name in ("hashserv", "hashserv.client", "prserv"):
    sys.modules.setdefault(name, types.ModuleType(name))

import bb  # noqa: E402
import bb.codeparser  # noqa: E402
import bb.data  # noqa: E402
import bb.parse  # noqa: E402
import bb.siggen  # noqa: E402
from bb.parse import ast as nodes  # noqa: E402
from bb.parse.parse_py import BBHandler, ConfHandler  # noqa: E402
from bb.pysh import pyshyacc  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
STUBS = TOP / "tests/layer/stubs"
SUFFIXES = (".bb", ".bbappend", ".bbclass", ".inc", ".conf")
FOLDERS = ("classes", "conf", "dynamic-layers", "recipes-bsp", "recipes-core", "recipes-kernel")

# ${@...} up to the brace that closes it; braces within come in pairs.
INLINE = re.compile(r"\$\{@((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")


def files(*suffixes: str) -> list[pathlib.Path]:
    """All files of the layer that BitBake reads, or those that end so."""
    found = (path for folder in FOLDERS for path in (TOP / folder).rglob("*"))
    return sorted(path for path in found if path.suffix in (suffixes or SUFFIXES))


def quick_files() -> list[pathlib.Path]:
    """Those of the quick build, which BitBake reads only where kas/opt/debian-toolchain.yml asks for it."""
    return sorted(path for path in (TOP / "kas").rglob("*") if path.suffix in SUFFIXES)


def _configuration(path: pathlib.Path) -> nodes.StatementGroup:
    """Statements of a .conf: what ConfHandler does, without evaluating them."""
    statements = nodes.StatementGroup()
    lines = iter(enumerate(path.read_text().splitlines(), 1))
    for number, line in lines:
        while line.endswith("\\") and not line.startswith("#"):
            line = line[:-1] + next(lines, (0, ""))[1]
        if line.strip() and not line.startswith("#"):
            ConfHandler.feeder(number, line.rstrip(), str(path), statements, baseconfig=True)
    return statements


def _python(code: str, where: str) -> Iterator[str]:
    try:
        ast.parse(code)
    except SyntaxError as error:
        yield f"{where}: {error}"


def _shell(code: str, where: str) -> Iterator[str]:
    # What ${@...} becomes is not known here; the parser takes it for a word.
    code = INLINE.sub("INLINE", code)
    try:
        pyshyacc.parse(code, eof=True, debug=False)
    except Exception as error:  # whatever that parser raises
        yield f"{where}: {error}"


def syntax(path: pathlib.Path) -> list[str]:
    """What is wrong with the syntax of a file: BitBake's, that of its functions, and of ${@...}."""
    try:
        if path.suffix == ".conf":
            statements = _configuration(path)
        else:
            BBHandler.cached_statements.clear()
            statements = BBHandler.get_statements(str(path), str(path), path.stem)
    except (bb.parse.ParseError, bb.BBHandledException) as error:
        return [f"{path}: {error}"]
    found: list[str] = []
    for statement in statements:
        where = f"{path}:{statement.lineno}"
        match statement:
            case nodes.MethodNode():
                body = "\n".join(statement.body) + "\n"
                if statement.python:
                    found += _python(f"def f(d):\n{body}    pass\n", where)
                else:
                    found += _shell(body, where)
                    found += (e for m in INLINE.finditer(body) for e in _python(m[1].strip(), where))
            case nodes.PythonMethodNode():
                found += _python("\n".join(statement.body), where)
            case nodes.DataNode():
                value = statement.groupd.get("value") or ""
                if value.count("${@") != len(INLINE.findall(value)):
                    found.append(f"{where}: ${{@...}} without an end in {statement.groupd['var']}")
                found += (e for m in INLINE.finditer(value) for e in _python(m[1].strip(), where))
    return found


def configuration(**variables: str) -> bb.data_smart.DataSmart:
    """The datastore after the configuration: this layer, then the stub of bitbake.conf, then `variables`.

    `overrides` is the value of OVERRIDES (default: that of a nitrogen6x), `unpackdir` that of UNPACKDIR as
    wrynose's bitbake.conf has it (default), or "" for scarthgap, which has none.
    """
    d = bb.data.init()
    bb.parse.siggen = bb.siggen.SignatureGenerator(d)
    d.setVar("__bbclasstype", "recipe")
    d.setVar("BBPATH", str(STUBS))
    d.setVar("LAYERDIR", str(TOP))
    d = bb.parse.handle(str(TOP / "conf/layer.conf"), d, True, True)
    d.expandVarref("LAYERDIR")
    d.delVar("LAYERDIR")
    d = bb.parse.handle(str(STUBS / "conf/bitbake.conf"), d, True, True)
    if variables.pop("unpackdir", "wrynose"):
        d.setVarFlag("UNPACKDIR", "_defaultval", "${WORKDIR}/sources")
    for name, value in variables.items():
        d.setVar("OVERRIDES" if name == "overrides" else name, value)
    return d


def recipe(
    path: pathlib.Path, d: bb.data_smart.DataSmart, appends: Sequence[pathlib.Path] = ()
) -> bb.data_smart.DataSmart:
    """A recipe with its bbappends, parsed and finalised; `d` is a configuration and is left as it is."""
    d = bb.data.createCopy(d)
    d.setVar("__BBAPPEND", " ".join(map(str, appends)))
    return bb.parse.handle(str(path), d)[""]


def shown(d: bb.data_smart.DataSmart) -> dict:
    """All variables of a recipe with all their flags, but for the notes of what was parsed."""
    notes = {"__depends", "__base_depends", "__BBAPPEND", "BBINCLUDED", "__inherit_cache", "FILE"}
    return {
        name: (
            d.getVar(name, False),
            d.getVarFlags(name, ["lineno", "filename"]) and dict(d.getVarFlags(name)),
        )
        for name in d
        if name not in notes
    }
