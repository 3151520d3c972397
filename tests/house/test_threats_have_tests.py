import ast
import re

from tests.house.tree import ROOT

_REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_ROW = re.compile(r"^\| [A-Z]\d+ \|", re.MULTILINE)


def test_every_threat_names_tests_that_exist() -> None:
    """Each row of the threat model points at one test or more, by file and name, and every one of them is there."""
    text = (ROOT / "docs" / "threat_model.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if _ROW.match(line)]
    assert len(rows) >= 20
    missing = [row[:60] for row in rows if not _REFERENCE.search(row)]
    assert not missing, "threats without a test:\n" + "\n".join(missing)
    for path, name in _REFERENCE.findall(text):
        file = ROOT / path
        assert file.is_file(), f"{path} is not there"
        functions = {
            node.name
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in functions, f"{path} has no {name}"
