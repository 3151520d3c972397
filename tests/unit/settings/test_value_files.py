import os
from pathlib import Path

import pytest

from bqgate.settings import SettingsInvalid, load_settings, value_files
from bqgate.settings.document import read_document
from bqgate.settings.sections import NAMED_SECTIONS, SECTIONS

SECRET = "9fR2kUe7QmZs4XcV1bN8yTgHj3LwPa6D"


def faults_of(environ: dict[str, str], path: Path | None = None) -> list[str]:
    """The faults of an environment, as they are shown."""
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(path, environ)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize("written", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n", f"\ufeff{SECRET}\n"])
def test_a_secret_stands_in_a_file(tmp_path: Path, written: str) -> None:
    """What Docker or Kubernetes mount is taken as it was meant, without the line's end that an editor added."""
    file = tmp_path / "token_secret"
    file.write_text(written, encoding="utf-8", newline="")
    settings = load_settings(None, {"BQGATE_IDENTITY__TOKEN_SECRET_FILE": str(file)})
    assert settings.identity.token_secret is not None
    assert settings.identity.token_secret.reveal() == SECRET


def test_any_key_can_stand_in_a_file_and_beats_the_settings_file(tmp_path: Path) -> None:
    """URLs with their password, numbers, and a key of a listed tier: the same rules as for variables."""
    config, ledger, daily = tmp_path / "bqgate.yaml", tmp_path / "ledger", tmp_path / "daily"
    config.write_text(
        "ledger: {url: 'sqlite:///x.db'}\ntiers: {gold-eu: {daily_usd: 1, monthly_usd: 99, emergency_usd: 99}}"
    )
    ledger.write_text("postgresql://gate:Hv5rW2nq@db/bqgate\n")
    daily.write_text("7\n")
    environ = {"BQGATE_LEDGER__URL_FILE": str(ledger), "BQGATE_TIERS__GOLD_EU__DAILY_USD_FILE": str(daily)}
    settings = load_settings(config, environ)
    assert settings.ledger.url.reveal() == "postgresql://gate:Hv5rW2nq@db/bqgate"
    assert settings.effective["tiers"]["gold-eu"]["daily_usd"] == "7.00"
    assert set(value_files(environ)) == {ledger, daily}


def test_a_key_that_is_a_file_itself_is_taken_by_its_name(tmp_path: Path) -> None:
    """BQGATE_SERVER__TLS_CERT_FILE names the certificate, as it always did; its own path may stand in a file."""
    environ = {"BQGATE_SERVER__TLS_CERT_FILE": "/etc/tls.crt"}
    assert read_document(None, environ).tree["server"] == {"tls_cert_file": "/etc/tls.crt"}
    assert value_files(environ) == ()
    where = tmp_path / "where"
    where.write_text("/etc/tls.crt\n")
    environ = {"BQGATE_SERVER__TLS_CERT_FILE_FILE": str(where)}
    assert read_document(None, environ).tree["server"] == {"tls_cert_file": "/etc/tls.crt"}


def test_no_key_is_named_like_the_file_of_another() -> None:
    """Where both `x` and `x_file` were keys, BQGATE_…__X_FILE would mean two things."""
    models = {**SECTIONS, **NAMED_SECTIONS}
    assert not [
        f"{name}.{key}"
        for name, model in models.items()
        for key in model.model_fields
        if key.removesuffix("_file") != key and key.removesuffix("_file") in model.model_fields
    ]


def test_a_file_that_cannot_be_used_is_a_fault_that_names_it(tmp_path: Path) -> None:
    """Absent, a folder, empty, or no text: each is said with the variable and the file, and nothing that it holds."""
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"hunter2\xff")
    said = {
        tmp_path / "gone": "cannot be read: No such file or directory",
        tmp_path: "cannot be read: Is a directory",
        empty: "is empty; write the value into it",
        binary: "is not text in UTF-8",
    }
    for file, message in said.items():
        assert faults_of({"BQGATE_LEDGER__URL_FILE": str(file)}) == [f"BQGATE_LEDGER__URL_FILE: {file} {message}"]


def test_a_value_that_is_wrong_names_the_variable_and_never_the_secret(tmp_path: Path) -> None:
    """What check-config says of a variable it says of its file."""
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    [fault] = faults_of({"BQGATE_IDENTITY__TOKEN_SECRET_FILE": str(file)})
    assert fault.startswith("identity.token_secret: is shorter than 32 characters")
    assert fault.endswith("(from BQGATE_IDENTITY__TOKEN_SECRET_FILE)")
    assert "hunter2" not in fault


def test_a_variable_and_a_file_for_one_key_is_a_fault(tmp_path: Path) -> None:
    """Which of them was meant is not guessed."""
    file = tmp_path / "port"
    file.write_text("9000")
    assert faults_of({"BQGATE_SERVER__PORT": "9001", "BQGATE_SERVER__PORT_FILE": str(file)}) == [
        "BQGATE_SERVER__PORT_FILE: and BQGATE_SERVER__PORT set the same key; leave one of them out"
    ]


def test_an_unknown_key_stays_unknown_with_the_suffix(tmp_path: Path) -> None:
    """A misspelt variable is a fault, whatever it ends in."""
    [fault] = faults_of({"BQGATE_SERVER__PROT_FILE": str(tmp_path)})
    assert fault.startswith("server.prot_file: ")


def test_what_is_no_plain_file_is_refused_unread(tmp_path: Path) -> None:
    """Of a pipe nobody knows when its text comes, a device never ends; a second look would find another text."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        assert faults_of({"BQGATE_IDENTITY__TOKEN_SECRET_FILE": str(path)}) == [
            f"BQGATE_IDENTITY__TOKEN_SECRET_FILE: {path} is no plain file; write the value into one"
        ]


def test_a_file_too_long_for_a_value_is_refused_unread(tmp_path: Path) -> None:
    """A database named by mistake is not read into memory at each look."""
    file = tmp_path / "dump"
    with file.open("wb") as dump:
        dump.truncate(1 << 40)
    assert faults_of({"BQGATE_LEDGER__URL_FILE": str(file)}) == [
        f"BQGATE_LEDGER__URL_FILE: {file} is longer than 65536 bytes; it cannot be a value"
    ]


@pytest.mark.parametrize(
    "key", ["UPSTREAM__CREDENTIALS", "SERVER__PORT", "OBSERVE__LOG_LEVEL", "SERVER__TRUSTED_PROXIES"]
)
def test_what_a_file_holds_is_never_repeated(tmp_path: Path, key: str) -> None:
    """Where the wrong file is mounted, its text is a secret that must not come into a log."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    faults = faults_of({f"BQGATE_{key}_FILE": str(file)})
    assert faults
    assert not [fault for fault in faults if SECRET[:8] in fault]
