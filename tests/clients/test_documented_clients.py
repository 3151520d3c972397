"""What users copy out of docs/clients.md, run as it stands against the gate and the stand-in.

Only the gate's address is put in. Every client gets 120,000 rows, and asks nobody but the gate for them.
"""

import csv
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bqgate.sandbox import SandboxSettings
from tests.clients.conftest import NODE_FOLDER
from tests.support.absent_tools import require_tool
from tests.support.client_scene import wait_until
from tests.support.departures import Departures, watched_departures
from tests.support.doc_blocks import block, blocks
from tests.support.gate_stack import running_stack

DOCUMENT = "docs/clients.md"
STORAGE_READ_API = "bigquerystorage.googleapis.com:443"
PYTHON_BLOCKS = [
    "docs/clients.md#the-storage-read-api-goes-round-the-gate.1",
    "docs/clients.md#python.1",
    "docs/clients.md#pandas-gbq.1",
    "docs/clients.md#sqlalchemy.1",
    "docs/clients.md#ibis.1",
]
NOTEBOOK_BLOCKS = [f"docs/clients.md#notebooks.{number}" for number in (1, 2, 3)]
DBT_BLOCKS = [f"docs/clients.md#dbt.{number}" for number in (1, 2, 3)]
OTHERS = ["docs/clients.md#node.1", "docs/clients.md#bq.1", "docs/clients.md#go.1", "docs/clients.md#curl.1"]
# Those that no test of this module runs, each with the reason.
ELSEWHERE = {
    "docs/clients.md#java.1": "the client's packages are not to be had; the page says so",
}
# Where Debian's package golang-google-cloud-dev puts the client's sources.
DEBIAN_GO_PATH = Path("/usr/share/gocode")
# Runs each cell as a notebook would, and fails as the first failing cell does.
CELLS_RUNNER = """
import sys, pathlib
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for name in sys.argv[1:]:
    shell.run_cell(pathlib.Path(name).read_text()).raise_error()
"""

# A fixture may have to install a client first.
pytestmark = [pytest.mark.long, pytest.mark.timeout(700)]


@dataclass
class Bench:
    """Where a snippet runs: a folder of its own, an environment with nothing of Google's in it, and the gate."""

    gate_url: str
    folder: Path
    departures: Departures

    def run(self, command: list[str], *, folder: Path | None = None, **variables: str) -> str:
        """What the command prints, once it has ended well."""
        done = subprocess.run(
            command,
            cwd=folder or self.folder,
            env=self.environment(variables),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        assert [] == self.departures.hosts
        return done.stdout

    def write(self, name: str, block_name: str) -> Path:
        """A file with a block of the documents."""
        file = self.folder / name
        file.write_text(block(block_name).at(self.gate_url))
        return file

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        unwanted = ("GOOGLE_", "BIGQUERY_", "PYTHONPATH", "CLOUDSDK_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        return {**inherited, **self.departures.environment, "HOME": str(self.folder), **variables}


@pytest.fixture(scope="module")
def gate_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The stand-in and a gate with its own defaults: ten dollars a day pay for all that the documents ask."""
    document = {"upstream": {"credentials": "anonymous"}}
    # Pages far smaller than the results: a client that has most of a result with its first page looks nowhere else.
    sandbox = SandboxSettings(page_rows=20_000)
    with running_stack(tmp_path_factory.mktemp("documented"), document, sandbox=sandbox) as stack:
        yield stack.url


@pytest.fixture
def bench(gate_url: str, tmp_path: Path) -> Iterator[Bench]:
    with watched_departures() as departures:
        yield Bench(gate_url, tmp_path, departures)


def test_every_snippet_is_run_or_said_not_to_be() -> None:
    """A block that nobody runs would rot."""
    known = {*PYTHON_BLOCKS, *NOTEBOOK_BLOCKS, *DBT_BLOCKS, *OTHERS, *ELSEWHERE}
    assert known == {each.name for each in blocks(DOCUMENT)}


@pytest.mark.parametrize("name", PYTHON_BLOCKS)
def test_python_snippets_print_all_rows(name: str, bench: Bench, storage_python: str) -> None:
    """With google-cloud-bigquery-storage beside it, each of them stays on the gate."""
    printed = bench.run([storage_python, str(bench.write("snippet.py", name))])
    assert "120000 rows" in printed


def test_a_notebook_prints_all_rows(bench: Bench, storage_python: str) -> None:
    """Its cells in order, the magic's own among them."""
    cells = [str(bench.write(f"cell-{number}.txt", name)) for number, name in enumerate(NOTEBOOK_BLOCKS)]
    printed = bench.run([storage_python, "-c", CELLS_RUNNER, *cells])
    assert "120000 rows" in printed


@pytest.mark.parametrize(
    ("name", "switch"),
    [
        ("docs/clients.md#python.1", "create_bqstorage_client=False"),
        ("docs/clients.md#sqlalchemy.1", ', "prefer_bqstorage_client": False'),
        ("docs/clients.md#ibis.1", 'sys.modules["google.cloud.bigquery_storage"] = None'),
        ("docs/clients.md#pandas-gbq.1", "use_bqstorage_api=False"),
    ],
)
def test_without_its_switch_a_client_leaves_the_gate(name: str, switch: str, bench: Bench, storage_python: str) -> None:
    """The same snippet without what the table names asks Google's Storage Read API for the rows."""
    snippet = bench.write("snippet.py", name)
    text = snippet.read_text()
    assert switch in text
    cured = "use_bqstorage_api=True" if "use_bqstorage_api" in switch else ""
    snippet.write_text(text.replace(switch, cured))
    assert STORAGE_READ_API == first_departure(bench, [storage_python, str(snippet)])


def test_pandas_gbq_with_a_client_alone_asks_google(bench: Bench, storage_python: str) -> None:
    """Handed a client that knows the gate, it makes another for large results, which does not: hence the variable."""
    snippet = bench.write("snippet.py", "docs/clients.md#pandas-gbq.1")
    text = snippet.read_text()
    variable = f'os.environ["BIGQUERY_EMULATOR_HOST"] = "{bench.gate_url}"'
    client = (
        f'bigquery.Client("acme-prod", AnonymousCredentials(), client_options={{"api_endpoint": "{bench.gate_url}"}})'
    )
    text = text.replace(variable, "from google.cloud import bigquery")
    snippet.write_text(text.replace("use_bqstorage_api=False", f"bigquery_client={client}"))
    assert "bigquery.googleapis.com:443" == first_departure(bench, [storage_python, str(snippet)])


def first_departure(bench: Bench, command: list[str]) -> str:
    """Whom the command asks beside the gate; it may go on asking for minutes, so it is ended then."""
    with subprocess.Popen(
        command,
        cwd=bench.folder,
        env=bench.environment({}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(
                lambda: bool(bench.departures.hosts) or process.poll() is not None, "it asks somebody", timeout_s=60
            )
        finally:
            process.kill()
    assert bench.departures.hosts, "it ended, and asked nobody but the gate"
    return bench.departures.hosts[0]


def test_node_prints_all_rows(bench: Bench, node: str) -> None:
    """With a client that asks Google for no credentials."""
    (bench.folder / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
    assert "120000 rows" in bench.run([node, str(bench.write("snippet.mjs", "docs/clients.md#node.1"))])


def test_bq_prints_all_rows(bench: Bench) -> None:
    """As CSV: a heading and the rows."""
    require_tool("bq", "install the Google Cloud CLI")
    printed = bench.run(["sh", str(bench.write("snippet.sh", "docs/clients.md#bq.1"))])
    rows = [row for row in csv.reader(printed.splitlines()) if row]
    assert 120_000 == sum(row[0].isdigit() for row in rows)


def test_dbt_prints_all_rows(bench: Bench, dbt: str) -> None:
    """With the two files of the page beside it."""
    for number, name in enumerate(("profiles.yml", "dbt_project.yml", "show.sh"), 1):
        bench.write(name, f"docs/clients.md#dbt.{number}")
    path = f"{Path(dbt).parent}{os.pathsep}{os.environ['PATH']}"
    printed = bench.run(["sh", "show.sh"], PATH=path, DBT_SEND_ANONYMOUS_USAGE_STATS="false", DBT_LOG_LEVEL_FILE="none")
    assert 120_000 == printed.count('"flight"')


def test_go_prints_all_rows(bench: Bench) -> None:
    """With Debian's packages, where they are."""
    go = require_tool("go", "apt install golang-go golang-google-cloud-dev")
    if not (DEBIAN_GO_PATH / "src/cloud.google.com/go/bigquery").exists():
        pytest.skip("Google's client for Go is not there, so its test is SKIPPED: apt install golang-google-cloud-dev")
    bench.write("snippet.go", "docs/clients.md#go.1")
    cache = os.environ.get("GOCACHE") or str(Path.home() / ".cache/go-build")
    printed = bench.run([go, "run", "snippet.go"], GO111MODULE="off", GOPATH=str(DEBIAN_GO_PATH), GOCACHE=cache)
    assert "120000 rows" in printed


def test_curl_shows_a_refusal(bench: Bench) -> None:
    """Status, the reason as a header, and BigQuery's error."""
    require_tool("curl", "install curl")
    printed = bench.run(["sh", str(bench.write("snippet.sh", "docs/clients.md#curl.1"))]).replace("\r\n", "\n")
    head, _, body = printed.partition("\n\n")
    assert head.startswith("HTTP/1.1 400 ")
    assert "X-Bqgate-Reason: query_too_big" in head
    assert "bytesBilledLimitExceeded" == json.loads(body)["error"]["errors"][0]["reason"]
