from pathlib import Path

import pytest

from bqgate.settings import Listening, SettingsInvalid, read_listening


def listening(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Listening:
    """Where a gate with that file and environment listens."""
    file = tmp_path / "bqgate.yaml"
    file.write_text(text, encoding="utf-8")
    return read_listening(file, environ or {})


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("", {}, Listening("127.0.0.1", 8080, has_tls=False, is_sure=True)),
        ("server: {host: 0.0.0.0, port: 9000}", {}, Listening("127.0.0.1", 9000, has_tls=False, is_sure=True)),
        ('server: {host: "::"}', {}, Listening("::1", 8080, has_tls=False, is_sure=True)),
        ("server: {host: 10.1.2.3}", {}, Listening("10.1.2.3", 8080, has_tls=False, is_sure=True)),
        ("server: {control_port: 9090}", {}, Listening("127.0.0.1", 9090, has_tls=False, is_sure=True)),
        ("server: {port: 1}", {"BQGATE_SERVER__PORT": "2"}, Listening("127.0.0.1", 2, has_tls=False, is_sure=True)),
        ("server: {tls_cert_file: c, tls_key_file: k}", {}, Listening("127.0.0.1", 8080, has_tls=True, is_sure=True)),
        ("tiers: {gold: 5}\nledger: {url: x}", {}, Listening("127.0.0.1", 8080, has_tls=False, is_sure=True)),
        ("server: [", {"BQGATE_SERVER__PORT": "2"}, Listening("127.0.0.1", 2, has_tls=False, is_sure=False)),
        ("server: {port: http}", {}, Listening("127.0.0.1", 8080, has_tls=False, is_sure=False)),
    ],
)
def test_where_a_gate_listens(tmp_path: Path, text: str, environ: dict[str, str], expected: Listening) -> None:
    """The control plane's port on this machine, by file and environment; other sections' faults do not matter."""
    assert listening(tmp_path, text, environ) == expected


def test_a_file_that_is_gone_leaves_the_environment(tmp_path: Path) -> None:
    """A gate that runs has taken what was in it."""
    found = read_listening(tmp_path / "gone.yaml", {"BQGATE_SERVER__CONTROL_PORT": "9090"})
    assert found == Listening("127.0.0.1", 9090, has_tls=False, is_sure=False)


@pytest.mark.parametrize(
    ("environ", "message"), [({"BQGATE_SERVER__PORT": "http"}, "check-config"), ({"BQGATE_SERVER__PORT": "0"}, "free")]
)
def test_a_port_that_cannot_be_known_is_a_fault(environ: dict[str, str], message: str) -> None:
    """No guess is made at where to ask."""
    with pytest.raises(SettingsInvalid, match=message):
        read_listening(None, environ)
