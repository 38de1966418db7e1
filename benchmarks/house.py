"""How the code is organised, in figures: `python benchmarks/house.py [CHECKOUT …]`, one column per checkout.

Static figures are read from the sources. The figures of a call come from `sys.setprofile` and count this package's own functions
alone, in fp32 on OpenVINO; each checkout is traced in a process of its own, with its folder first on the path. It needs what
`make test` installs.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Self

PACKAGE = "textsiam"


def code_lines(path: Path) -> int:
    """Lines that hold code: no docstring, comment, import or blank line."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    free: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) or _is_docstring(node):
            free.update(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and line.strip()[0] != "#" and number not in free for number, line in lines)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def modules(root: Path) -> dict[str, Path]:
    """Module name → file, packages under their own name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path, *, type_checking: bool = False) -> dict[str, set[str]]:
    """Module → the package's own modules that it imports, also within functions; those for the type checker alone on request.

    A name taken from a package's face (``from textsiam import train``) counts as an import of the module that defines it.
    """
    names = modules(root)
    faces = _lazy_names(names[PACKAGE])
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skipped = set() if type_checking else {id(node) for guard in _guards(tree) for node in ast.walk(guard)}
        found[name] = set()
        for node in ast.walk(tree):
            if (
                id(node) in skipped
                or not isinstance(node, ast.ImportFrom)
                or not (node.module or "").startswith(PACKAGE)
            ):
                continue
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found[name].add(
                    inner
                    if inner in names
                    else faces.get(alias.name, PACKAGE)
                    if node.module == PACKAGE
                    else node.module
                )
        found[name].discard(name)
    return found


def _guards(tree: ast.Module) -> list[ast.If]:
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    ]


def _lazy_names(face: Path) -> dict[str, str]:
    for node in ast.walk(ast.parse(face.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict) and all(isinstance(value, ast.Constant) for value in node.values):
            pairs = {key.value: value.value for key, value in zip(node.keys, node.values, strict=True) if key}
            if pairs and all(str(value).startswith(f"{PACKAGE}.") for value in pairs.values()):
                return pairs
    return {}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other by imports."""
    import networkx as nx

    arrows = nx.DiGraph([(one, other) for one, others in graph.items() for other in others])
    return sorted(sorted(group) for group in nx.strongly_connected_components(arrows) if len(group) > 1)


def static_figures(root: Path) -> dict[str, object]:
    """Sizes, crowds, splinters, names and circles, read from the sources."""
    names = modules(root)
    plain = {name: path for name, path in names.items() if path.stem not in {"__init__", "__main__"}}
    folders = Counter(path.parent for path in plain.values() if path.parent.name != "commands")
    importers = Counter(imported for others in imports(root, type_checking=True).values() for imported in others)
    stems = Counter(path.stem for path in plain.values() if path.parent.name != "commands")
    return {
        "modules": len(plain),
        "lines": sum(len(path.read_text(encoding="utf-8").splitlines()) for path in names.values()),
        "code lines": sum(code_lines(path) for path in names.values()),
        "most files in a folder": max(folders.values()),
        "modules with one importer": sum(importers[name] == 1 for name in plain),
        "names borne twice": len([stem for stem, n in stems.items() if n > 1]),
        "circles of imports": len(circles(imports(root))),
    }


class Trace:
    """The package's own calls while it is entered: files, depth, changes of file, and SQL statements."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.deepest = self._depth = 0

    def __enter__(self) -> Self:
        import textsiam

        self._root = str(Path(textsiam.__file__).parent) + "/"
        sys.setprofile(self._follow)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _follow(self, frame: object, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if not path.startswith(self._root):
            return
        if event == "call":
            self._depth += 1
            self.deepest = max(self.deepest, self._depth)
            self.files.append(path.removeprefix(self._root))
        elif event == "return":
            self._depth -= 1

    def figures(self) -> dict[str, int]:
        changes = sum(one != other for one, other in pairwise(self.files))
        return {"files": len(set(self.files)), "deepest": self.deepest, "changes of file": changes}


def trace() -> None:
    """Print the figures of calls as one line of JSON."""
    print(json.dumps(trace_figures()))


def trace_figures() -> dict[str, dict[str, int]]:
    """What a call crosses; runs with the checkout first on the path."""
    import sqlite3
    import tempfile
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    from typer.testing import CliRunner

    statements: list[str] = []
    connect = sqlite3.connect

    def listening(*arguments: object, **settings: object) -> sqlite3.Connection:
        connection = connect(*arguments, **settings)
        connection.set_trace_callback(statements.append)
        return connection

    sqlite3.connect = listening
    from textsiam import Index, Siamese
    from textsiam.interfaces.cli import app

    model = Siamese.load(backend="openvino", dtype="float32", device="cpu")
    model.decide(["warm"], ["up"])
    found = {}
    with Trace() as trace:
        model.decide(["How do I pay?"], ["How can I pay?"])
    found["decide"] = trace.figures()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        index = Index.create(f"{folder}/index", model)
        index.add(["a", "b", "c"], ["How do I pay?", "Where is my order?", "Is it open?"])
        index.search(["Can I pay?"])
        for verb, call in {
            "Index.search": lambda: index.search(["How can I pay?"]),
            "Index.add": lambda: index.add(["d", "e", "f"], ["How can I pay?", "Is it closed?", "Where is my parcel?"]),
        }.items():
            statements.clear()
            with Trace() as trace:
                call()
            found[verb] = {**trace.figures(), "SQL": n_statements(statements)}
        index.close()
        runner = CliRunner()
        command = ["duplicates", "--sample", "--backend", "openvino", "--dtype", "float32", "--device", "cpu"]
        runner.invoke(app, command, catch_exceptions=False)
        with Trace() as trace:
            runner.invoke(app, command, catch_exceptions=False)
        found["textsiam duplicates"] = trace.figures()
    return found


def n_statements(executed: list[str]) -> int:
    """SQL statements besides BEGIN and COMMIT; the rows of one `executemany`, which follow each other, count as one."""
    kinds = [re.match(r"\w+(?: INTO \w+)?", line).group() for line in executed]
    counted = [kind for kind in kinds if kind not in {"BEGIN", "COMMIT"}]
    rows = sum(one == other and one.startswith("INSERT") for one, other in pairwise(counted))
    return len(counted) - rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkouts", nargs="*", type=Path, default=[Path()], help="Folders that hold the package's sources."
    )
    parser.add_argument("--record", action="store_true", help="Write results/house.json, too.")
    given = parser.parse_args()
    columns = []
    for root in map(Path.resolve, given.checkouts):
        program = (
            f"import sys; sys.path[:0] = [{str(root)!r}, {str(Path(__file__).parent)!r}]; import house; house.trace()"
        )
        traced = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
        assert traced.returncode == 0, traced.stderr
        column = static_figures(root)
        for call, figures in json.loads(traced.stdout.splitlines()[-1]).items():
            column |= {f"{call}: {figure}": value for figure, value in figures.items()}
        columns.append(column)
    for row in columns[0]:
        print(f"{row:38}" + "".join(f"{column.get(row, '-'):>10}" for column in columns))
    if given.record:
        from record import commit_of, record

        commits = [commit_of(root) for root in given.checkouts]
        record("house", __doc__.splitlines()[0], dict(zip(commits, columns, strict=True)))


if __name__ == "__main__":
    main()
