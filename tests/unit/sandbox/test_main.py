from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from bqgate.sandbox.__main__ import settings_of

COMMAND = [sys.executable, "-m", "bqgate.sandbox", "--port", "0", "--time-scale", "0"]


def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    """One line says where it is; a folder of files is served; SIGTERM ends it well."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.csv").write_text("id,item\n1,tea\n2,cake\n")
    with subprocess.Popen([*COMMAND, "--data", str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split()[3]
        assert f"BIGQUERY_EMULATOR_HOST={url}" in line
        body = json.dumps({"query": "SELECT COUNT(*) AS n FROM shop.orders", "useLegacySql": False}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{url}/projects/p/queries", data=body)) as answer:
            assert json.load(answer)["rows"] == [{"f": [{"v": "2"}]}]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    "argv", [["--data", "/no/such/folder"], ["--time-scale", "-1"], ["--port", "x"], ["--port", "70000"], ["--what"]]
)
def test_wrong_arguments_end_with_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument is named on the standard error stream."""
    with pytest.raises(SystemExit) as ended:
        settings_of(argv)
    assert ended.value.code == 2
    assert argv[0] in capsys.readouterr().err


def test_arguments_become_settings(tmp_path: Path) -> None:
    """Every option has its setting."""
    settings = settings_of(
        ["--host", "::1", "--port", "1", "--data", str(tmp_path), "--time-scale", "0.5", "--no-cache"]
    )
    assert (settings.host, settings.port, settings.data) == ("::1", 1, tmp_path)
    assert (settings.time_scale, settings.query_cache) == (0.5, False)
