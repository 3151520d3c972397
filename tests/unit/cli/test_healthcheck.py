import asyncio
import io
import json
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from bqgate.app import open_gate
from bqgate.cli import app
from bqgate.settings import load_settings
from tests.house.tree import ROOT
from tests.support.certificates import make_pair, write_pair
from tests.support.free_ports import free_port


def write(file: Path, document: Mapping[str, Any]) -> None:
    """A settings file."""
    file.write_text(yaml.safe_dump(dict(document)), encoding="utf-8")


@asynccontextmanager
async def gate(file: Path, server: Mapping[str, Any]) -> AsyncIterator[int]:
    """A gate with these keys of `server`, by a file; its port."""
    port = free_port()
    document = {
        "server": {"port": port, **server},
        "upstream": {"url": "http://127.0.0.1:9", "credentials": "anonymous"},
        "ledger": {"url": f"sqlite:///{file.parent}/ledger.db"},
    }
    write(file, document)
    async with open_gate(load_settings(file, {}), log_stream=io.StringIO()):
        yield port


async def check(**variables: str) -> Result:
    """The Dockerfile's command for it, in an environment."""
    [line] = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("HEALTHCHECK ")]
    program, *arguments = json.loads(line.partition(" CMD ")[2])
    assert program == "bqgate"
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=variables)


def tls(folder: Path) -> dict[str, str]:
    """Keys for a certificate that nobody knows."""
    cert_file, key_file = folder / "tls.crt", folder / "tls.key"
    write_pair(make_pair("bq.example.com"), cert_file, key_file)
    return {"tls_cert_file": str(cert_file), "tls_key_file": str(key_file)}


@pytest.mark.parametrize("has_tls", [False, True])
@pytest.mark.parametrize("has_control_port", [False, True])
async def test_a_gate_that_lives_is_healthy(tmp_path: Path, has_tls: bool, has_control_port: bool) -> None:
    """With TLS and a control plane of its own, set in a file or in the environment: status 0, and 1 once it is gone."""
    file, control_port = tmp_path / "bqgate.yaml", free_port()
    server: dict[str, Any] = tls(tmp_path) if has_tls else {}
    if has_control_port:
        server["control_port"] = control_port
    async with gate(file, server) as port:
        variables = {f"BQGATE_SERVER__{key.upper()}": str(value) for key, value in {"port": port, **server}.items()}
        proxy = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
        for environ in ({"BQGATE_CONFIG": str(file)}, variables, {**variables, **proxy}):
            result = await check(**environ)
            assert (result.exit_code, result.output) == (0, "alive\n")
    result = await check(BQGATE_CONFIG=str(file))
    assert result.exit_code == 1
    assert "no answer at http" in result.stderr


async def test_a_file_that_broke_meanwhile_does_not_make_a_gate_unhealthy(tmp_path: Path) -> None:
    """A running gate goes on with its old settings, and so does the check, by what the environment says."""
    file, certificate = tmp_path / "bqgate.yaml", tls(tmp_path)
    async with gate(file, {**certificate, "host": "127.0.0.1"}) as port:
        for text in ("server: [", "server: {port: http}", f"server: {{port: {port}}}\ntiers: {{standard: 5}}"):
            file.write_text(text, encoding="utf-8")
            result = await check(BQGATE_CONFIG=str(file), BQGATE_SERVER__PORT=str(port))
            assert (result.exit_code, result.output) == (0, "alive\n"), text


async def test_somebody_elses_port_is_not_a_gate(tmp_path: Path) -> None:
    """The data plane has no /healthz where the control plane has a port of its own."""
    file, control_port = tmp_path / "bqgate.yaml", free_port()
    async with gate(file, {"control_port": control_port}) as port:
        write(file, {"server": {"port": port}})
        result = await check(BQGATE_CONFIG=str(file))
    assert result.exit_code == 1
    assert f"http://127.0.0.1:{port}/healthz answered " in result.stderr


async def test_a_server_that_says_nothing_is_unhealthy_in_time() -> None:
    """Who takes connections and never answers is dead, and the check does not wait with it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        result = await asyncio.to_thread(
            CliRunner().invoke, app, ["healthcheck", "--timeout-s", "0.1"], env={"BQGATE_SERVER__PORT": port}
        )
    assert result.exit_code == 1
    assert "timed out" in result.stderr


async def test_a_server_that_dribbles_is_unhealthy_in_time() -> None:
    """The time is for the whole answer: a byte now and then does not keep the check waiting."""
    given = threading.Event()

    def dribble(listener: socket.socket) -> None:
        with listener.accept()[0] as caller, suppress(OSError):
            caller.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not given.wait(0.05):
                caller.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        dribbling = threading.Thread(target=dribble, args=(listener,))
        dribbling.start()
        environ = {"BQGATE_SERVER__PORT": str(listener.getsockname()[1])}
        asking = asyncio.to_thread(CliRunner().invoke, app, ["healthcheck", "--timeout-s", "0.5"], env=environ)
        try:
            result = await asyncio.wait_for(asking, 10)
        finally:
            given.set()
            await asyncio.to_thread(dribbling.join)
    assert (result.exit_code, "timed out" in result.stderr) == (1, True)


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e300", "0"])
async def test_a_time_that_no_clock_counts_is_refused(seconds: str) -> None:
    """As a mistake of the caller, by name."""
    result = await asyncio.to_thread(CliRunner().invoke, app, ["healthcheck", "--timeout-s", seconds])
    assert (result.exit_code, "--timeout-s" in result.stderr) == (2, True)


async def test_settings_that_do_not_say_where_are_a_mistake_of_the_caller() -> None:
    """Status 2, as for every command, and no guess."""
    result = await check(BQGATE_SERVER__PORT="0")
    assert result.exit_code == 2
    assert "server.port: 0 takes a free one" in result.stderr
