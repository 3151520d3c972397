import ast
import re
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from bqgate.cli import COMMANDS, app
from bqgate.cli.config_file import ConfigFile
from bqgate.cli.listed import first_sentence
from bqgate.sandbox.__main__ import make_parser
from tests.house.tree import ROOT, sources
from tests.support.command_tree import commands, parameters

TREE = commands()
PAGE = (ROOT / "docs/cli.md").read_text(encoding="utf-8")

# Typer's own options, whose words are not ours to choose.
NOT_OURS = {"install_completion", "show_completion"}
# What a number counts, in the option's name or its help.
UNITS = re.compile(
    r"\b(s|ms|seconds?|minutes?|hours?|days?|bytes?|GiB|rows?|lines?|port|times?|long|usd)\b", re.IGNORECASE
)
# What a help says about leaving the option out.
LEFT_OUT = re.compile(r"\b(without|else|only|unless|instead|need(s|ed)?)\b", re.IGNORECASE)


def help_of(words: str, flag: str, columns: int = 80) -> str:
    result = CliRunner().invoke(app, [*words.split()[1:], flag], prog_name="bqgate", env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, f"{words} {flag}: {result.output}"
    return result.stdout


def in_one_line(text: str) -> str:
    """A text without the line breaks that a narrow terminal puts into it, after hyphens too."""
    return re.sub(r"-\s+", "-", " ".join(text.split()))


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("words", TREE)
def test_help_says_all_that_the_code_says(words: str, columns: int) -> None:
    """-h and --help are the same, fit the terminal, and eat nothing: each sentence, option and bracket is there."""
    text = help_of(words, "-h", columns)
    assert text == help_of(words, "--help", columns)
    assert in_one_line(text).startswith(f"Usage: {words} ")
    command = TREE[words]
    missing = [
        said
        for said in (command.help, *(each.help for each in parameters(command)))
        if in_one_line(said or "") not in in_one_line(text)
    ]
    assert not missing, f"{words} --help does not show:\n" + "\n".join(map(str, missing))
    for parameter in parameters(command):
        for name in parameter.opts if parameter.param_type_name == "option" else ():
            assert re.search(rf"(^|\s){re.escape(name)}\b", text), f"{words} --help does not show {name}"
    names = re.compile(r"  -[^ ]")  # an option's own names and choices are not broken
    too_long = [line for line in text.splitlines() if len(line) > columns and not names.match(line)]
    assert not too_long, f"{words} --help is wider than {columns} columns:\n" + "\n".join(too_long)


@pytest.mark.parametrize("words", TREE)
def test_each_command_has_its_sentence(words: str) -> None:
    """Help begins with a sentence: in the docstring of a command's function, in the help of a group."""
    sentence = first_sentence(TREE[words].help)
    assert re.fullmatch(r"[A-Z].*[^.]\.", sentence), f"{words}: begin its docstring or help with a sentence"


@pytest.mark.parametrize("words", TREE)
def test_each_option_is_a_sentence_with_unit_and_default(words: str) -> None:
    """Nobody has to read the code to know what an option takes, and what holds without it."""
    text = help_of(words, "--help")
    wrong = [
        f"{each.opts[-1]}: {fault} ({each.help})"
        for each in parameters(TREE[words])
        if each.name not in NOT_OURS
        if (fault := fault_of_help(each, text))
    ]
    assert not wrong, f"{words}: in the help of these options\n" + "\n".join(wrong)


def fault_of_help(parameter: Any, text: str) -> str | None:
    said, name = parameter.help or "", parameter.opts[-1]
    if not re.fullmatch(r"[A-Z`].*[^.]\.", said, re.DOTALL):
        return "write a sentence"
    if getattr(parameter, "is_flag", False) or parameter.required:
        return None
    if re.search(rf"{name} <(int|float)", text) and not UNITS.search(f"{said} {name.replace('-', ' ')}"):
        return "say what the number counts, in the name or here"
    if (parameter.default is None or not parameter.show_default) and not LEFT_OUT.search(said):
        return "say what holds without it, or show the default"
    return None


def test_the_settings_file_is_named_in_one_way() -> None:
    """Whoever reads settings takes --config, -c and BQGATE_CONFIG, by the one declaration."""
    declared = get_args(ConfigFile)[1]
    for words, command in TREE.items():
        for each in parameters(command):
            if each.name == "config" or "-c" in each.opts:
                assert each.help == declared.help, f"{words}: declare config as bqgate.cli.config_file.ConfigFile"


def test_the_list_says_what_the_commands_say() -> None:
    """The first screen has each command's own first sentence, on one line of 80 columns."""
    screen = help_of("bqgate", "--help")
    for listed in COMMANDS:
        sentence = first_sentence(TREE[f"bqgate {listed.name}"].help)
        assert listed.help == sentence, f'bqgate/cli/__init__.py: "{listed.name}" must be listed with "{sentence}"'
        assert re.search(rf"^  {listed.name} +{re.escape(sentence)}$", screen, re.MULTILINE), (
            f"{listed.name}: its first sentence is too long for one line of `bqgate --help`"
        )


def test_every_command_is_on_the_page() -> None:
    """docs/cli.md has a row for each command, with its first sentence, and no row for what is gone."""
    wanted = [f"| `{words}` | {first_sentence(command.help)} |" for words, command in TREE.items() if words != "bqgate"]
    rows = [line for line in PAGE.splitlines() if line.startswith("| `bqgate ")]
    missing, stale = [row for row in wanted if row not in rows], [row for row in rows if row not in wanted]
    assert not missing, "write into docs/cli.md:\n" + "\n".join(missing)
    assert not stale, "take out of docs/cli.md:\n" + "\n".join(stale)


def test_every_variable_is_on_the_page() -> None:
    """docs/cli.md names each environment variable that a command reads."""
    read = {str(each.envvar) for command in TREE.values() for each in parameters(command) if each.envvar}
    for source in sources("bqgate/cli"):
        read |= set(re.findall(r"\bBQGATE_[A-Z]+(?:_[A-Z]+)*\b(?!_)", source.text))
    missing = [name for name in sorted(read) if not re.search(rf"^\| `{name}` \|", PAGE, re.MULTILINE)]
    assert not missing, "write into docs/cli.md:\n" + "\n".join(f"| `{name}` | … |" for name in missing)


def test_both_ways_to_run_the_sandbox_have_the_same_options() -> None:
    """`bqgate sandbox` and `python -m bqgate.sandbox` take the same words, with the same defaults."""
    ours = {each.opts[0]: (each.default, each.help) for each in parameters(TREE["bqgate sandbox"])}
    theirs = {
        each.option_strings[-1]: (each.default, str(each.help).partition(" [default")[0])
        for each in make_parser()._actions
        if each.dest != "help"
    }
    assert ours == theirs


def test_nothing_that_is_printed_is_read_as_markup() -> None:
    """Rich would eat [acme-prod]: what is put together at run time is printed as text, never as markup."""
    found = [
        f"{source.name}:{call.lineno}"
        for source in sources("bqgate/cli")
        for call in ast.walk(source.tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in {"print", "add_row"}
        if any(isinstance(each, ast.JoinedStr) for each in call.args)
        and not any(each.arg == "markup" for each in call.keywords)
    ]
    assert not found, "hand rich a Text, or say markup=False:\n" + "\n".join(found)
