"""Measure the gate beside LiteLLM's proxy, the nearest peer by job: who asks, is there budget, forward, count the cost.

    python benchmarks/litellm_proxy.py --rounds 3 --seconds 5 [--connections 32]

The proxy is installed below .venv-litellm, once, as `litellm[proxy]` from PyPI: the newest version whose parts are all
there. It runs as one worker on the gate's processor, in turns with it. Its upstream is the same stub, which answers a
chat completion as fast as a query. Its callers bring the master key, and its provider has a budget of a day, kept in
Redis; virtual keys with budgets of their own would need its PostgreSQL and Prisma's engine, and make it slower. So the
comparison flatters the peer, which asks once outside where the gate asks twice.
"""

import argparse
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that another checkout's gate can be measured

from benchmarks.gated.figures import table, with_spread
from benchmarks.gated.gates import running_gate
from benchmarks.gated.options import read_options
from benchmarks.gated.processes import end, pinned
from benchmarks.gated.rounds import Contender, Course, Round
from benchmarks.gated.stand import Stand, open_stand
from tests.support.free_ports import free_port

_REQUIREMENT = "litellm[proxy]==1.106.12"
_GATE, _PEER = "redis+postgres", "litellm"
_WARM_UP_S = 3.0
_READY_WITHIN_S = 120
_SETTINGS = """\
model_list:
  - model_name: bench
    litellm_params: {{model: openai/gpt-4o, api_base: "http://127.0.0.1:{stub_port}/v1", api_key: sk-upstream}}
general_settings: {{master_key: sk-bench}}
router_settings:
  redis_host: 127.0.0.1
  redis_port: {redis_port}
  provider_budget_config: {{openai: {{budget_limit: 100000, time_period: 1d}}}}
litellm_settings: {{set_verbose: false, telemetry: false}}
"""


def installed(venv: Path) -> Path | None:
    """The proxy's command, installed if it was not; None where it cannot be had."""
    command = venv / "bin" / "litellm"
    if not command.exists():
        print(f"installing {_REQUIREMENT} below {venv.name}; once, and it takes a minute", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", _REQUIREMENT]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"NOT MEASURED: {_REQUIREMENT} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
            return None
    return command


@contextmanager
def running_peer(command: Path, stand: Stand) -> Iterator[Contender]:
    """The proxy, ready."""
    settings, port = stand.folder / "litellm.yaml", free_port()
    settings.write_text(_SETTINGS.format(stub_port=stand.stub_port, redis_port=stand.stores.redis_port))
    arguments = ["--config", str(settings), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
    with (stand.folder / "litellm.log").open("w") as log:
        process = subprocess.Popen(
            pinned([str(command), *arguments]),
            cwd=stand.folder,
            env=os.environ | quiet,
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            _wait_until_alive(port, stand.folder / "litellm.log")
            yield Contender(_PEER, port, process.pid)
        finally:
            end(process)


def _wait_until_alive(port: int, log: Path) -> None:
    deadline_s = time.perf_counter() + _READY_WITHIN_S
    while time.perf_counter() < deadline_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)  # noqa: TID251 - a process that starts is waited for
    raise AssertionError(f"the proxy does not answer: {log.read_text()[-2000:]}")


def run(options: argparse.Namespace) -> None:
    command = installed(Path.cwd() / ".venv-litellm")
    if command is None:
        return
    with open_stand() as stand:
        gate = stand.stack.enter_context(running_gate(_GATE, stand.stores, stand.stub_port))
        peer = stand.stack.enter_context(running_peer(command, stand))
        own = Contender(_GATE, gate.port, gate.process.pid)
        courses = {
            own: Course(stand.stub_port, stand.folder),
            peer: Course(stand.stub_port, stand.folder, "--chat"),
        }
        rounds: dict[str, list[Round]] = {contender.name: [] for contender in courses}
        for contender, course in courses.items():
            course.warm(contender, connections=options.connections, seconds=_WARM_UP_S)
        for number in range(options.rounds):
            for contender, course in courses.items():
                done = course.run(contender, connections=options.connections, seconds=options.seconds)
                rounds[contender.name].append(done)
                print(f"  round {number + 1}: {contender.name} {done.rate:,.0f}/s", flush=True)
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(rounds[_GATE], rounds[_PEER], strict=True)]
    rows = [
        [
            name,
            with_spread([each.rate for each in done], 0),
            with_spread([each.p50_ms for each in done], 1),
            with_spread([each.p99_ms for each in done], 1),
            f"{median(each.cpu_ms for each in done):.2f}",
        ]
        for name, done in rounds.items()
    ]
    print(f"{options.connections} connections, {_REQUIREMENT}")
    print(table(["", "answers/s", "p50 ms", "p99 ms", "CPU ms each"], rows, markdown=options.markdown))
    print(f"the gate is {with_spread(ratios, 1)} times as fast; goal: 15")


if __name__ == "__main__":
    run(read_options(__doc__, sys.argv[1:], rounds=5, seconds=5.0, connections=32))
