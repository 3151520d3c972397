from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from bqgate.cli import app
from bqgate.policies.models import NESTED, TierPolicy
from bqgate.settings.sections import NAMED_SECTIONS, SECTIONS
from tests.house.tree import ROOT

EXAMPLE = ROOT / "config/bqgate.example.yaml"
BAD = sorted((ROOT / "config/bad").glob("*.yaml"))


def test_the_example_has_every_key() -> None:
    """A newcomer sees each key that there is, in a file that runs."""
    given = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for name, section in SECTIONS.items():
        assert set(given[name]) == set(section.model_fields), f"{EXAMPLE.name}: section {name} has other keys than code"
    for name, section in NAMED_SECTIONS.items():
        said = {key for entry in given[name].values() for key in entry}
        assert said == set(section.model_fields), f"{EXAMPLE.name}: section {name} has other keys than code"


def test_the_example_comments_every_key() -> None:
    """No key of the example stands without a word why one would change it."""
    bare = [
        line
        for line in EXAMPLE.read_text(encoding="utf-8").splitlines()
        if line.startswith("  ") and ": " in line and "#" not in line and "{" not in line
    ]
    assert bare == ["  mode: enforce"], "comment these keys"  # explained above it, at customers


def test_the_example_runs_as_it_is() -> None:
    """check-config takes it without a fault or a warning."""
    result = CliRunner().invoke(app, ["check-config", str(EXAMPLE)])
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_budgets_of_the_page_about_them_run(tmp_path: Path) -> None:
    """Whoever copies the example of docs/budgets.md has budgets, with a customer of the default tier."""
    page = (ROOT / "docs/budgets.md").read_text(encoding="utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    file = tmp_path / "bqgate.yaml"
    file.write_text(f"customers: {{acme: {{}}}}\n{example}", encoding="utf-8")
    result = CliRunner().invoke(app, ["check-config", str(file)])
    assert (result.exit_code, result.stderr) == (0, "")


def test_every_key_is_explained() -> None:
    """docs/settings.md has a row for each key, with its default and the meaning that the code gives it."""
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    sections = {**SECTIONS, **{f"{name}.<name>": section for name, section in NAMED_SECTIONS.items()}}
    sections |= {f"tiers.<name>.{key}": model for key, model in NESTED.items() if key in TierPolicy.model_fields}
    sections |= {f"scoped_budgets.<name>.{key}": model for key, model in NESTED.items() if key == "raises"}
    missing = [
        f"| `{name}.{key}` | … | {described.description} |"
        for name, section in sections.items()
        for key, described in section.model_fields.items()
        if not any(
            row.startswith(f"| `{name}.{key}` | ") and row.endswith(f" | {described.description} |")
            for row in page.splitlines()
        )
    ]
    assert not missing, "write into docs/settings.md:\n" + "\n".join(missing)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file_fails_naming_its_fault(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """check-config ends with status 2 and says the words in the file's first line, and nothing else."""
    monkeypatch.chdir(ROOT)
    first, _, _ = file.read_text(encoding="utf-8").partition("\n")
    assert first.startswith("# fault: "), "say in line 1 what the error must say: # fault: …"
    result = CliRunner().invoke(app, ["check-config", str(file)])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    heading, *faults = result.stderr.splitlines()
    assert heading.endswith(": 1 fault")
    assert len(faults) == 1
    assert faults[0].strip().startswith(first.removeprefix("# fault: "))
    assert "hunter2" not in result.output


def test_there_are_bad_files() -> None:
    """The list above is not empty by mistake."""
    assert len(BAD) >= 25
