from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import googleapiclient
import pytest
from googleapiclient import discovery
from googleapiclient.http import build_http

from bqgate.sandbox.discovery import document
from bqgate.sandbox.methods import METHODS, canonical_path, find
from bqgate.sandbox.server import Sandbox

GOOGLES = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "bigquery.v2.json"


def flattened(resources: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {method["id"]: method for resource in resources.values() for method in resource.get("methods", {}).values()}


def test_document_says_what_googles_says() -> None:
    """Verb, path, parameters and their places are those of the document that Google's package ships."""
    ours, theirs = flattened(document("http://x")["resources"]), flattened(json.loads(GOOGLES.read_text())["resources"])
    assert set(ours) == set(theirs)
    for name, method in theirs.items():
        assert (ours[name]["httpMethod"], ours[name]["path"]) == (method["httpMethod"], method["path"]), name
        places = {key: (each["location"], each["type"]) for key, each in method["parameters"].items()}
        assert {k: (v["location"], v["type"]) for k, v in ours[name]["parameters"].items()} == places, name
        assert ours[name].get("parameterOrder") == method["parameterOrder"], name
        assert ours[name].get("request", {}).get("$ref") == method.get("request", {}).get("$ref"), name


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.id)
def test_every_method_is_found_by_its_path(method: Any) -> None:
    """A filled-in path leads back to its method, with the parameters decoded."""
    path = "/" + re.sub(r"\{(\w+)\}", "a%20b", method.path)
    found = find(method.verb, canonical_path(f"/bigquery/v2{path}"))
    assert found is not None
    assert found[0] is method
    assert set(found[1].values()) <= {"a b"}


def test_google_api_client_builds_itself_from_it(threaded: Sandbox) -> None:
    """`build` with our document can query, list and load media metadata."""
    with discovery.build(
        "bigquery",
        "v2",
        http=build_http(),
        discoveryServiceUrl=f"{threaded.url}/discovery/v1/apis/bigquery/v2/rest",
        static_discovery=False,
    ) as service:
        body = {"query": "SELECT 1 AS one", "useLegacySql": False}
        assert service.jobs().query(projectId="p", body=body).execute()["rows"] == [{"f": [{"v": "1"}]}]
        jobs = (
            service.jobs().list(projectId="p", stateFilter=["done", "running"], allUsers=True, maxResults=1).execute()
        )
        assert len(jobs["jobs"]) == 1


def bq(sandbox: Sandbox, home: Path, *arguments: str) -> str:
    command = [
        "bq",
        f"--api={sandbox.url}",
        "--project_id=bqtest",
        "--oauth_access_token=x",
        "--format=json",
        *arguments,
    ]
    environment = {**os.environ, "HOME": str(home), "CLOUDSDK_CONFIG": str(home), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bq") is None, reason="bq is not on PATH")
def test_bq_works(threaded: Sandbox, tmp_path: Path) -> None:
    """The command line tool dry-runs, queries, makes datasets, loads a file and shows a table."""
    sql = "SELECT carrier, COUNT(*) AS n FROM nycflights13.flights GROUP BY carrier ORDER BY n DESC LIMIT 1"
    rows = json.loads(bq(threaded, tmp_path, "query", "--nouse_legacy_sql", sql).splitlines()[-1])
    assert rows == [{"carrier": "UA", "n": "58665"}]
    assert "totalBytesProcessed" in bq(threaded, tmp_path, "query", "--nouse_legacy_sql", "--dry_run", sql)
    bq(threaded, tmp_path, "mk", "d")
    file = tmp_path / "t.csv"
    file.write_text("1,a\n2,b\n")
    bq(threaded, tmp_path, "load", "d.t", str(file), "x:INTEGER,s:STRING")
    assert json.loads(bq(threaded, tmp_path, "show", "d.t"))["numRows"] == "2"
    assert json.loads(bq(threaded, tmp_path, "head", "d.t").splitlines()[-1])[0] == {"x": "1", "s": "a"}
