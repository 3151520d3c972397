import ast
import re
from collections.abc import Iterator

from tests.house.tree import ROOT, Source, files, sources, texts

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60

# Words that fit anything. Only these: a longer list makes people invent private words for what everybody knows.
BANNED_MODULES = {"common", "helper", "helpers", "misc", "util", "utils", "utilities"}
BANNED_CLASS_WORDS = re.compile(r"(Common|Helper|Helpers|Misc|Util|Utils|Utilities)(?![a-z])")
BANNED_VERSION_SUFFIX = re.compile(r"_v\d+$")

# The edges at which a bug may be caught: requests, and tasks that nobody waits for.
BROAD_EXCEPT_FILES = {"bqgate/gate/http/middleware.py", "bqgate/app/background.py"}

# Written in halves, so that this file passes its own test.
LEFT_FOR_LATER = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
MACHINE_PATHS = re.compile("|".join([r"(?<![\w.])/wo" + r"rk/", r"\.\./sha" + "red", r"(?<![\w.])/ro" + r"ot/"]))


def all_sources() -> Iterator[Source]:
    """The product and its tests."""
    yield from sources("bqgate")
    yield from sources("tests")


def complain(found: list[str], remedy: str) -> str:
    """The message of a house rule: each place, and what to do instead."""
    return "\n".join([f"{remedy}:", *(f"  {place}" for place in found)])


def test_files_fit_in_the_head() -> None:
    """No file of the product is longer than 300 lines."""
    found = [
        f"{source.name}: {lines} lines"
        for source in sources("bqgate")
        if (lines := len(source.text.splitlines())) > FILE_LINES_MAX
    ]
    assert not found, complain(found, "over 300 lines; find the second noun in it and give it a file of its own")


def test_functions_fit_on_a_screen() -> None:
    """No function of product or tests is longer than 60 lines."""
    found = [
        f"{source.name}:{function.lineno} {function.name}: {lines} lines"
        for source in all_sources()
        for function in source.functions
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not found, complain(found, "over 60 lines; keep the control flow, move steps into functions")


def test_modules_say_what_they_are_for() -> None:
    """Each module of the product begins with a docstring."""
    found = [source.name for source in sources("bqgate") if not (ast.get_docstring(source.tree) or "").strip()]
    assert not found, complain(found, "no module docstring; say what it is for, who calls it, what leaves it")


def test_modules_are_named_for_their_subject() -> None:
    """No module has a name that fits anything."""
    found = [
        source.name
        for source in all_sources()
        for part in source.name.removesuffix(".py").split("/")
        if part in BANNED_MODULES or BANNED_VERSION_SUFFIX.search(part)
    ]
    assert not found, complain(found, "a name that fits anything; name the module for its one subject")


def test_classes_are_named_for_what_they_are() -> None:
    """No class is called a helper, utility or the like."""
    found = [
        f"{source.name}:{each.lineno} {each.name}"
        for source in sources("bqgate")
        for each in source.classes
        if BANNED_CLASS_WORDS.search(each.name)
    ]
    assert not found, complain(found, "a name that fits anything; adapters are product + port, like RedisBudgetStore")


def test_no_float_comes_near_money() -> None:
    """The domain has no float, neither as a literal nor as a type."""
    found = [
        f"{source.name}:{node.lineno}"
        for source in sources("bqgate/domain")
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id == "float")
    ]
    assert not found, complain(found, "a float in the domain; use whole nano-dollars, bytes, milliseconds or ppm")


def test_every_test_says_what_it_shows() -> None:
    """Each test function has a docstring that states the behaviour as a sentence."""
    found = [
        f"{source.name}:{function.lineno} {function.name}"
        for source in sources("tests")
        for function in source.functions
        if function.name.startswith("test") and not (ast.get_docstring(function) or "").rstrip().endswith((".", "…"))
    ]
    assert not found, complain(found, "no sentence; write what is true when the test passes, ending in a full stop")


def test_bugs_are_caught_at_the_edges_only() -> None:
    """A broad except stands in the middleware and in the supervisor of background tasks, nowhere else."""
    found = [
        f"{source.name}:{node.lineno}"
        for source in sources("bqgate")
        if source.name not in BROAD_EXCEPT_FILES and not source.name.startswith("bqgate/sandbox/")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _ends_in_raise(node)
    ]
    assert not found, complain(found, "a broad except hides bugs; name the errors that the port lists")


def _is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (
        isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}
    )


def _ends_in_raise(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_every_exception_to_a_tool_has_its_reason() -> None:
    """A noqa or type: ignore names its code and says why, on the same line."""
    fine = re.compile(r"# (noqa: [A-Z]+\d+(, ?[A-Z]+\d+)* - \S|type: ignore\[[a-z-]+(, ?[a-z-]+)*\]  # \S)")
    found = [
        f"{source.name}:{number}"
        for source in (*all_sources(), *sources("benchmarks"))
        for number, line in enumerate(source.text.splitlines(), 1)
        if re.search(r"# (noqa|type: ignore)", line)
        and not fine.search(line)
        and source.name != "tests/house/test_house.py"
    ]
    assert not found, complain(found, "write `# noqa: X123 - reason` or `# type: ignore[code]  # reason`")


def test_nothing_is_left_for_later() -> None:
    """No file holds a note to do something another time."""
    found = [
        f"{name}:{number}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if LEFT_FOR_LATER.search(line)
    ]
    assert not found, complain(found, "do it, or write in the docs that it cannot be done")


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """No file names a path of somebody's machine, or something outside the project."""
    found = [
        f"{name}:{number}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert not found, complain(found, "a path of one machine; make it relative, or a setting")


def test_links_between_documents_lead_somewhere() -> None:
    """Each relative link in the README and the docs names a file that is there."""
    pages = [(name, text) for name, text in texts() if name.endswith(".md")]
    found = [
        f"{name}: {target}"
        for name, text in pages
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
        if not (ROOT / name).parent.joinpath(target).exists()
    ]
    assert not found, complain(found, "a link to nowhere; name a file that is there")


def test_the_map_of_the_request_path_is_true() -> None:
    """Each file that the docstring of bqgate/gate names exists, by its path from bqgate."""
    named = re.findall(
        r"(?<![\w./])([a-z_]+(?:/[a-z_]+)+\.(?:py|lua))\b",
        (ROOT / "bqgate/gate/__init__.py").read_text(encoding="utf-8"),
    )
    assert named, "the map of the request path is gone from bqgate/gate/__init__.py"
    missing = [name for name in named if f"bqgate/{name}" not in files()]
    assert not missing, complain(missing, "named in the map of bqgate/gate/__init__.py; there is no such file")
