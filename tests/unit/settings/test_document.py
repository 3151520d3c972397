from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.settings.document import Document, parse_yaml, read_document


def given_file(tmp_path: Path, text: str, environ: dict[str, str]) -> Document:
    """A document of a YAML text below an environment."""
    file = tmp_path / "bqgate.yaml"
    file.write_text(text, encoding="utf-8")
    return read_document(file, environ)


def test_off_is_a_word() -> None:
    """`mode: off` is the mode off, where YAML 1.1 reads false."""
    tree, faults = parse_yaml("mode: off\nyes: no\ntime: 1:30\nday: 2026-11-24\nreal: true\nnothing:\noctal: 010\n")
    assert not faults
    assert tree == {
        "mode": "off",
        "yes": "no",
        "time": "1:30",
        "day": "2026-11-24",
        "real": True,
        "nothing": None,
        "octal": "010",
    }


def test_numbers_are_whole_or_binary() -> None:
    """A whole number is exact; anything with a point or an exponent is a float, to be refused where it is money."""
    tree, _ = parse_yaml("a: 10\nb: -1\nc: 10.0\nd: 1e3\ne: .5\nf: '10.0'\n")
    assert [type(tree[key]) for key in "abcdef"] == [int, int, float, float, float, str]


def test_a_key_written_twice_is_a_fault_with_its_line() -> None:
    """Nobody finds out by the bill that the second of two limits counted."""
    _, faults = parse_yaml('tiers:\n  standard:\n    daily_usd: "1"\n    daily_usd: "1000"\n')
    assert [str(fault) for fault in faults] == ["line 4: key 'daily_usd' is written twice; the first would be lost"]


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: !!python/name:os.system",
        "\ta: 1",
        "a: &x [*x",
        "- 1",
        "5",
        "\x00",
        "? [1]\n: 2",
        "a: " + "9" * 5000,
        "[" * 5000,
    ],
)
def test_what_is_not_a_mapping_of_names_is_a_fault(text: str) -> None:
    """Broken YAML, foreign tags and other shapes are faults, never an exception and never an empty file."""
    _, faults = parse_yaml(text)
    assert faults


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever stands in the file, a tree and faults come back."""
    tree, faults = parse_yaml(text)
    assert isinstance(tree, dict)
    assert all(fault.message for fault in faults)


def test_an_empty_file_is_no_settings() -> None:
    """Everything commented out means the built-in settings."""
    assert parse_yaml("# nothing\n") == ({}, [])


def test_a_variable_sets_a_key_of_a_section(tmp_path: Path) -> None:
    """BQGATE_SERVER__PORT beats server.port, and is remembered as the source."""
    document = given_file(tmp_path, "server: {port: 1, host: h}", {"BQGATE_SERVER__PORT": "2", "PATH": "/bin"})
    assert document.tree["server"] == {"port": "2", "host": "h"}
    assert document.sources == {"server.port": "BQGATE_SERVER__PORT"}


def test_a_variable_sets_a_key_of_a_listed_customer(tmp_path: Path) -> None:
    """Letters that a variable cannot have are written as an underscore."""
    document = given_file(tmp_path, "customers: {acme-prod.eu: {}}", {"BQGATE_CUSTOMERS__ACME_PROD_EU__MODE": "off"})
    assert document.tree["customers"] == {"acme-prod.eu": {"mode": "off"}}


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("BQGATE_CUSTOMERS__GLOBEX__MODE", "sets a key of 0 of the customers"),
        ("BQGATE_CUSTOMERS__ACME_EU__MODE", "sets a key of 2 of the customers"),
        ("BQGATE_CUSTOMERS__ACME", "must be written BQGATE_CUSTOMERS__<NAME>__<KEY>"),
        ("BQGATE_SERVER__PORT__X", "must be written BQGATE_SERVER__<KEY>"),
        ("BQGATE_SEVER__PORT", "did you mean server?"),
    ],
)
def test_a_variable_that_sets_nothing_is_a_fault(tmp_path: Path, variable: str, message: str) -> None:
    """A misspelt variable does not pass in silence, and no customer is made by one."""
    document = given_file(tmp_path, "customers: {acme-eu: {}, acme.eu: {}}", {variable: "x"})
    [fault] = document.faults
    assert fault.path == variable
    assert message in fault.message


def test_what_kubernetes_sets_is_not_ours(tmp_path: Path) -> None:
    """Variables of a service that is named bqgate have single underscores and are left alone."""
    environ = {
        "BQGATE_PORT": "tcp://10.0.0.1:80",
        "BQGATE_SERVICE_HOST": "10.0.0.1",
        "BQGATE_CONFIG": "/etc/bqgate.yaml",
    }
    document = given_file(tmp_path, "", environ)
    assert (document.sources, document.faults) == ({}, [])


@pytest.mark.parametrize("text", ["server: 5", "customers: [a]", "tiers: 5", "tiers: {standard: 5}"])
def test_a_variable_below_a_faulty_section_does_no_harm(tmp_path: Path, text: str) -> None:
    """The file's fault is reported for the file; the variable finds nothing to set."""
    environ = {"BQGATE_SERVER__PORT": "1", "BQGATE_TIERS__STANDARD__DAILY_USD": "1", "BQGATE_CUSTOMERS__A__MODE": "off"}
    given_file(tmp_path, text, environ)
