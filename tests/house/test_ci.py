import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.house.tree import ROOT


class Machine:
    """A folder with the scripts of .ci, and programs of its own before those of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        (folder / "bin").mkdir()
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        self.put("make", f'echo "$@" >> {self.log}; case "$*" in *"$BREAKS"*) exit 3;; esac')

    def put(self, name: str, script: str) -> Path:
        """A program on PATH."""
        program = self.folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    def put_python(self, minor: int) -> Path:
        """A Python that says its version, and runs nothing."""
        program = self.folder / "bin" / f"python3.{minor}"
        return self.put(
            program.name, f'if [ "$1" = -V ]; then echo Python 3.{minor}.0; else echo {minor} {program}; fi'
        )

    def run(self, script: str, *, breaks: str = "nothing") -> subprocess.CompletedProcess[str]:
        environ = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(self.folder), "BREAKS": breaks}
        environ["PYENV_ROOT"] = str(self.folder / "pyenv")
        command = [self.folder / ".ci" / script]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    def made(self) -> list[str]:
        """What make was called with, for this machine's Pythons."""
        return [line for line in self.log.read_text().splitlines() if str(self.folder) in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One with Python 3.11, 3.12 and 3.18, of which this machine has the first at most."""
    machine = Machine(tmp_path)
    machine.put("pyenv", "exit 1")
    for minor in (18, 11, 12):
        machine.put_python(minor)
    return machine


def test_every_python_that_runs_is_found_once_and_oldest_first(machine: Machine) -> None:
    """A name on PATH that does not run, as pyenv leaves them, and one that is too old count for nothing."""
    machine.put("python3.17", "echo 'pyenv: python3.17: command not found' >&2; exit 127")
    machine.put("python3.16", "exit 0")
    found = machine.run("pythons").stdout.splitlines()
    assert [Path(line).name for line in found if line.startswith(str(machine.folder))] == [
        "python3.11",
        "python3.12",
        "python3.18",
    ]
    assert found[0] == str(machine.folder / "bin" / "python3.11")


def test_pyenvs_versions_are_found_without_being_selected(machine: Machine) -> None:
    """What pyenv has installed lies in its folder, whether or not its shims are on PATH."""
    folder = machine.folder / "pyenv" / "versions" / "3.17.2" / "bin"
    folder.mkdir(parents=True)
    machine.put_python(17).rename(folder / "python3")
    (folder / "python3").write_text(f"#!/bin/sh\necho 17 {folder}/python3\n")
    assert f"{folder}/python3" in machine.run("pythons").stdout.splitlines()


def test_the_suite_runs_on_the_oldest_and_the_smoke_test_on_every_newer(machine: Machine) -> None:
    """The suite comes last, so that its result is what a run ends with."""
    done = machine.run("run")
    assert done.returncode == 0, done.stderr
    at = machine.folder / "bin"
    assert machine.made() == [
        f"smoke PYTHON={at}/python3.12",
        f"smoke PYTHON={at}/python3.18",
        f"audit PYTHON={at}/python3.11",
        f"test-long PYTHON={at}/python3.11",
        f"test PYTHON={at}/python3.11",
    ]


def test_a_failing_smoke_test_fails_the_run_after_everything_ran(machine: Machine) -> None:
    """One Python's fault hides none of another's, and is named at the end."""
    done = machine.run("run", breaks="python3.12")
    assert done.returncode == 1
    assert len(machine.made()) == 5
    assert done.stderr.endswith("== the smoke test on Python 3.12.0 FAILED, see above\n")


def test_a_failing_suite_fails_the_run(machine: Machine) -> None:
    """With the status of make."""
    assert machine.run("run", breaks="test PYTHON").returncode == 3
    assert machine.run("run", breaks="test-long").returncode == 1
    assert machine.run("run", breaks="audit").returncode == 1


class Audit:
    """`.ci/audit` over two pins, with a pip-audit that answers as it is told."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.program = machine.folder / "bin" / "pip-audit"
        self.pins = machine.folder / "constraints.txt"
        self.pins.write_text("good==1.0\nbad==1.0\n")

    def run(self, *, canary: object, pins: object) -> subprocess.CompletedProcess[str]:
        """With what it says of the version that is known to be bad, and of the pins."""
        for name, answer in (("canary", canary), ("pins", pins)):
            (self.machine.folder / f"{name}.json").write_text(json.dumps({"dependencies": answer}))
        folder = self.machine.folder
        told = f'case "$*" in *known_bad*) cat {folder}/canary.json;; *) cat {folder}/pins.json; exit 1;; esac'
        self.machine.put("pip-audit", told)
        return self.look()

    def look(self) -> subprocess.CompletedProcess[str]:
        command = [self.machine.folder / ".ci" / "audit", self.program, self.pins]
        return subprocess.run(command, capture_output=True, text=True, check=False)


GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "1.0", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}]}


def test_a_package_with_a_known_vulnerability_fails_the_audit(machine: Machine) -> None:
    """Which, by which advisory, and where it is fixed."""
    done = Audit(machine).run(canary=[BAD], pins=[GOOD, BAD])
    assert done.returncode == 1
    assert done.stderr == f"{machine.folder}/constraints.txt: bad 1.0: PYSEC-1, CVE-1; fixed in 1.1\n"
    assert Audit(machine).run(canary=[BAD], pins=[GOOD]).returncode == 0


def test_an_audit_that_could_not_look_says_so_and_fails_nothing(machine: Machine) -> None:
    """Without pip-audit, without an answer, and where the answer knows nothing of what is known to be bad."""
    unknown = {"name": "good", "skip_reason": "Dependency not found on PyPI: good (1.0)"}
    audit = Audit(machine)
    for done in (audit.look(), audit.run(canary=[unknown], pins=[BAD]), audit.run(canary=None, pins=[BAD])):
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith("== AUDIT SKIPPED: ")
    done = audit.run(canary=[BAD], pins=[GOOD, unknown])
    assert (done.returncode, done.stderr.startswith("== NOT AUDITED: ")) == (0, True)
    assert done.stdout.endswith("1 packages looked up\n")
