"""Tests of bqgate.settings.yaml_text."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bqgate.settings.yaml_text import _Fast, _load, _Plain, load_yaml

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("file", sorted(ROOT.glob("config/*.yaml")), ids=lambda file: file.name)
def test_both_parsers_read_the_same_in_the_files_of_the_project(file: Path) -> None:
    """And load_yaml reads it with the fast one."""
    text = file.read_text()
    assert load_yaml(text) == _load(_Fast(text)) == _load(_Plain(text))


@given(st.text(alphabet="ab1.~-:#,'\"[]{}&*|>% \n", max_size=40))
def test_what_both_parsers_take_means_the_same_to_both(text: str) -> None:
    """They differ in what few texts they refuse, and in tags, which settings have no use for."""
    try:
        fast, plain = _load(_Fast(text)), _load(_Plain(text))
    except (yaml.YAMLError, ValueError):
        return
    assert repr(fast) == repr(plain)


def test_what_is_wrong_is_told_in_the_words_of_pyyaml() -> None:
    """Whichever parser met it."""
    with pytest.raises(yaml.YAMLError, match="expected alphabetic or numeric character"):
        load_yaml("principal: *")


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000], ids=["lists", "items", "mappings"])
def test_what_is_nested_without_end_is_an_error_and_no_crash(text: str) -> None:
    """Both parsers give up."""
    with pytest.raises((yaml.YAMLError, RecursionError)):
        load_yaml(text)
