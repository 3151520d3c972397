import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bqgate.cli import app
from tests.house.tree import ROOT
from tests.support.bad_surroundings import FAULTS, OWN, PLAIN, Fault, key_document, taken_port

# Of this machine's environment, what programs need to start at all.
KEPT = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ} | {"PYTHONPATH": str(ROOT)}
PROCESSES_AT_ONCE = 3
ENDS_WITHIN_S = 90


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty folder, an environment with nothing of this machine's gates and clouds, and the log put back."""
    for name in os.environ:
        if name.startswith(("BQGATE_", "GOOGLE_", "CLOUDSDK_")):
            monkeypatch.delenv(name)
    for name, value in PLAIN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


def run(*arguments: str, environment: Mapping[str, str] | None = None, text: str | None = None) -> Result:
    """One command in this process."""
    result = CliRunner().invoke(app, list(arguments), env=dict(environment or {}), input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    return result


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_keeps_serve_from_serving_is_a_sentence_and_red_to_doctor(fault: Fault, tmp_path: Path) -> None:
    """Serve ends with the status and one line that names the thing and the remedy; doctor's check of it is a cross."""
    environment = fault.prepare(tmp_path)
    served = run("serve", environment=environment)
    assert served.exit_code == fault.status, served.output
    for words in fault.says:
        assert words in last_line(served.stderr)
    examined = run("doctor", environment=environment)
    assert examined.exit_code == 1
    assert f"✗ {fault.subject}" in examined.stdout, examined.stdout
    assert "7rtQz2Lw" not in served.output + examined.output


def test_a_port_in_use_is_a_sentence_and_red_to_doctor() -> None:
    """As every other fault."""
    with taken_port() as port:
        for name in ("BQGATE_SERVER__PORT", "BQGATE_SERVER__CONTROL_PORT"):
            served = run("serve", environment={name: str(port)})
            assert served.exit_code == 1
            assert f"127.0.0.1:{port}: Address already in use. End the program" in last_line(served.stderr)
            examined = run("doctor", environment={name: str(port)})
            assert f"✗ {'control port' if 'CONTROL' in name else 'port'}" in examined.stdout


@contextmanager
def answering(status: int, body: bytes, *, length: int | None = None) -> Iterator[str]:
    """A server that gives one answer to everything; its URL. `length`: what it announces, if that is not true."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        do_POST = do_PATCH = do_GET  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"<html>broken</html>"),
        (200, b"<html>hello</html>"),
        (200, b"{}"),
        (400, b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'),
    ],
)
def test_a_token_endpoint_that_gives_none_is_red(status: int, body: bytes, tmp_path: Path) -> None:
    """Doctor says what came instead and what to do; nothing of the key is shown."""
    with answering(status, body) as url:
        (tmp_path / "key.json").write_text(key_document(token_uri=f"{url}/token"))
        environment = {**OWN, "BQGATE_UPSTREAM__SERVICE_ACCOUNT_FILE": str(tmp_path / "key.json")}
        examined = run("doctor", environment=environment)
    assert "✗ credentials  gate@gate-project.iam.gserviceaccount.com: no token came: " in examined.stdout
    assert ("Invalid JWT Signature" in examined.stdout) is (status == 400)
    assert "PRIVATE KEY" not in examined.output


LEDGER_COMMANDS = (
    ("migrate",),
    ("ledger", "verify"),
    ("ledger", "audit"),
    ("keys", "list", "--local"),
    ("keys", "create", "--role", "admin", "--local"),
    ("keys", "rotate", "0123456789abcdef", "--local"),
    ("keys", "revoke", "0123456789abcdef", "--local"),
)


@pytest.mark.parametrize("arguments", LEDGER_COMMANDS, ids=" ".join)
@pytest.mark.parametrize("fault", [each for each in FAULTS if each.subject == "ledger"], ids=lambda fault: fault.name)
def test_a_ledger_that_does_not_open_is_a_sentence_everywhere(
    arguments: tuple[str, ...], fault: Fault, tmp_path: Path
) -> None:
    """Every command that opens the ledger ends with status 1 and the same words; no file is left behind."""
    ended = run(*arguments, environment=fault.prepare(tmp_path))
    assert ended.exit_code == 1, ended.output
    for words in fault.says[:2]:
        assert words in last_line(ended.stderr)
    assert not list(tmp_path.glob("bqgate-*.json"))


CONTROL_COMMANDS = (
    ("tiers", "list"),
    ("tiers", "set", "standard", "daily_usd=5"),
    ("customers", "show", "acme"),
    ("budgets", "list"),
    ("budgets", "raise", "acme", "--until", "2030-01-01T00:00:00Z", "--reason", "year's end", "--daily-usd", "5"),
    ("keys", "list"),
    ("keys", "create", "--role", "admin"),
    ("keys", "token", "--role", "admin"),
    ("keys", "rotate", "0123456789abcdef"),
)
STRANGERS = {
    "HTML": (200, b"<html>hello</html>", None, "not as a control plane of bqgate does"),
    "a proxy's 502": (502, b"<html>Bad Gateway</html>", None, "not as a control plane of bqgate does"),
    "an empty object": (200, b"{}", None, "not as a control plane of bqgate does"),
    "another object": (200, b'{"keys": 1, "tiers": {}, "budgets": [1]}', None, ""),
    "half an answer": (200, b'{"keys": [', 100, "broke off in the middle"),
}


@pytest.mark.parametrize("arguments", CONTROL_COMMANDS, ids=lambda arguments: " ".join(arguments[:2]))
@pytest.mark.parametrize("stranger", STRANGERS)
def test_an_answer_that_is_no_gates_is_a_sentence(arguments: tuple[str, ...], stranger: str, tmp_path: Path) -> None:
    """Status 1 and the address; a key file that was made ready is gone again."""
    status, body, length, says = STRANGERS[stranger]
    if stranger == "another object" and arguments[:2] in {("customers", "show"), ("budgets", "raise")}:
        pytest.skip("these show whatever document the address holds")
    with answering(status, body, length=length) as url:
        ended = run(*arguments, environment={"BQGATE_URL": url})
    assert ended.exit_code == 1, ended.output
    assert url in last_line(ended.stderr)
    assert says in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({"BQGATE_URL": "http://127.0.0.1:9"}, 1),
        ({"BQGATE_URL": "nonsense"}, 2),
        ({"BQGATE_URL": "http://a..b"}, 1),
        ({"BQGATE_URL": f"http://{'x' * 70}.example"}, 1),
        ({"BQGATE_URL": "https://127.0.0.1:9", "REQUESTS_CA_BUNDLE": "/nonexistent"}, 1),
        ({"BQGATE_URL": "http://gate.example", "http_proxy": "http://127.0.0.1:9"}, 1),
        ({"BQGATE_KEY_FILE": "/nonexistent"}, 2),
        ({"BQGATE_KEY_FILE": "/"}, 2),
        ({"BQGATE_TOKEN": "two words"}, 2),
    ],
    ids=str,
)
def test_an_environment_of_nonsense_is_a_sentence(environment: dict[str, str], status: int) -> None:
    """What cannot be used is the caller's mistake (2), who does not answer is not (1)."""
    assert run("tiers", "list", environment=environment).exit_code == status


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"token_uri": "http://[::1/x"}', '{"token_uri": "http://h/x"}'])
def test_a_key_file_of_nonsense_is_a_sentence(content: str, tmp_path: Path) -> None:
    """Whatever the file holds."""
    (tmp_path / "key.json").write_text(content)
    assert run("keys", "list", "--key-file", str(tmp_path / "key.json")).exit_code in {1, 2}


def test_a_file_to_write_that_is_there_or_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """Status 2; nothing is overwritten."""
    (tmp_path / "key.json").write_text("mine")
    for out in (tmp_path / "key.json", tmp_path / "nowhere" / "key.json", tmp_path):
        assert run("keys", "create", "--role", "admin", "--local", "--out", str(out)).exit_code == 2
    assert (tmp_path / "key.json").read_text() == "mine"


@dataclass(frozen=True)
class Case:
    """A command in a process of its own. `script` is the shell's, with $BQGATE for the program."""

    name: str
    script: str
    status: int
    says: str = ""
    environment: Mapping[str, str] | None = None


CASES = (
    Case("output full", "$BQGATE check-config > /dev/full", 1, "standard output cannot be written: No space left"),
    Case("help, output full", "$BQGATE sandbox --help > /dev/full", 1, "standard output cannot be written"),
    Case("output read by nobody", "set -o pipefail; $BQGATE check-config | true", 1),
    Case("output closed", "$BQGATE check-config >&- 2>&-", 0),
    Case("input closed", "$BQGATE tiers list --token-stdin <&-", 2, "standard input holds no token"),
    Case("errors full", "$BQGATE check-config /nonexistent 2> /dev/full", 1),
    Case("argument of bytes", "$BQGATE tiers show $'\\xff'", 2, "argument 3 is not text in UTF-8"),
    Case("old encoding", "$BQGATE doctor --config /nonexistent", 1, "", {"PYTHONIOENCODING": "latin-1"}),
    Case("no locale, no home", "unset HOME; $BQGATE check-config > out", 0, "", {"LC_ALL": "xx_YY", "LANG": "C"}),
    Case("folder gone: migrate", "mkdir x; cd x; rmdir ../x; $BQGATE migrate", 1, "No such file or directory"),
    Case("folder gone: doctor", "mkdir x; cd x; rmdir ../x; $BQGATE doctor", 1),
    Case("sandbox: port", "$BQGATE sandbox --port $TAKEN", 1, "Address already in use. Choose another port"),
    Case("sandbox: port of six digits", "$BQGATE sandbox --port 123456", 2, "Invalid value for '--port'"),
    Case(
        "sandbox: data",
        "mkdir -p d/shop; echo nonsense > d/shop/a.parquet; $BQGATE sandbox --port 0 --data d",
        1,
        "a.parquet",
    ),
    Case("demo: port", "$BQGATE demo --once --port $TAKEN", 1, "--port: cannot listen at 127.0.0.1:"),
    Case(
        "workers: credentials",
        "$BQGATE serve",
        1,
        "is not JSON. Name a file",
        {
            **OWN,
            "BQGATE_SERVER__WORKERS": "2",
            "BQGATE_SERVER__PORT": "18099",
            "BQGATE_BUDGETS__URL": "redis://127.0.0.1:9",
            "GOOGLE_APPLICATION_CREDENTIALS": "/dev/null",
        },
    ),
)


async def run_case(case: Case, folder: Path, port: int) -> tuple[int, str]:
    """Status and what was said, by both outputs."""
    environment = {
        **KEPT,
        **PLAIN,
        **(case.environment or {}),
        "HOME": str(folder),
        "BQGATE": f"{sys.executable} -m bqgate",
        "TAKEN": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", case.script, cwd=folder, env=environment, stdout=-1, stderr=-1, start_new_session=True
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), ENDS_WITHIN_S)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (out + errors).decode()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="fills its output by /dev/full")
async def test_a_process_in_bad_surroundings_ends_with_its_status_and_a_line(tmp_path: Path) -> None:
    """No traceback, no word of the interpreter's, the status that is documented, and one line that names the thing."""
    turns = asyncio.Semaphore(PROCESSES_AT_ONCE)

    async def one(number: int, case: Case, port: int) -> str:
        async with turns:
            status, said = await run_case(case, folders[number], port)
        wrong = [word for word in ("Traceback", "Exception ignored", "most recent call") if word in said]
        if status != case.status:
            wrong.append(f"status {status}")
        if sum(case.says in line for line in said.splitlines()) != 1 and case.says:
            wrong.append(f"not once: {case.says}")
        return f"{case.name}: {', '.join(wrong)}\n{said}" if wrong else ""

    folders = [tmp_path / str(number) for number in range(len(CASES))]
    for folder in folders:
        folder.mkdir()
    with taken_port() as port:
        found = await asyncio.gather(*(one(number, case, port) for number, case in enumerate(CASES)))
    assert not any(found), "\n".join(found)


# Python names each module when it has imported it; the last one is what waits for the token.
STAGES = ("typer.models", "bqgate.settings", "bqgate.cli", "bqgate.cli.control_plane")


@pytest.mark.slow
async def test_an_interrupt_at_any_moment_is_quiet(tmp_path: Path) -> None:
    """Ctrl-C while a command starts or waits ends it without a word: by the signal itself, or with status 130."""

    async def interrupted(stage: str) -> tuple[int, str]:
        environment = {**KEPT, **PLAIN}
        arguments = (sys.executable, "-X", "importtime", "-m", "bqgate", "keys", "list", "--token-stdin")
        process = await asyncio.create_subprocess_exec(
            *arguments, cwd=tmp_path, env=environment, stdin=-1, stdout=-1, stderr=-1
        )
        assert process.stderr is not None
        line = b"-"
        while line and line.decode().rpartition("|")[2].strip() != stage:
            line = await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), ENDS_WITHIN_S)
        assert process.returncode is not None
        said = [line for line in errors.decode().splitlines() if not line.startswith("import time:")]
        return process.returncode, "\n".join(said)

    ended = await asyncio.gather(*(interrupted(stage) for stage in STAGES))
    assert [said for _, said in ended] == [""] * len(STAGES)
    assert {status for status, _ in ended} <= {-signal.SIGINT, 130}
