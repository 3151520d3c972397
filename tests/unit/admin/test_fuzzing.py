"""The control plane against whatever schemathesis makes of its OpenAPI document."""

import asyncio
import os
import sysconfig
from pathlib import Path

import pytest

from tests.support.control_stand import control_stand

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,ignored_auth"
)


# So that questions about somebody are looked up, and the deployment has numbers.
BUDGETS = (
    *(
        {"name": f"each-{kind}", "customer": "acme", kind: "*", "daily_usd": "5"}
        for kind in ("principal", "project", "workload")
    ),
    {"name": "everybody", "deployment": True, "monthly_usd": "500"},
)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("caller", "phases"), [("admin", "coverage,fuzzing"), ("analyst", "fuzzing")])
async def test_no_request_breaks_it_or_gets_an_undocumented_answer(tmp_path: Path, caller: str, phases: str) -> None:
    """No 5xx, no status, type, header or body that is not in the document, and no way around the credential."""
    async with control_stand(tmp_path) as control:
        await control.stand.place(control.gate, control.stand.make_hold(usd=2))
        for budget in BUDGETS:
            assert (await control.call("POST", "/admin/v1/budgets", json=budget)).status == 201
        process = await asyncio.create_subprocess_exec(
            Path(sysconfig.get_path("scripts"), "schemathesis"),
            "run",
            str(control.client.make_url("/openapi.json")),
            *("--header", f"Authorization: Bearer {caller}", "--checks", CHECKS, "--phases", phases),
            *("--max-examples", "5", "--seed", "1", "--no-color"),
            cwd=tmp_path,
            env=os.environ | {"NO_PROXY": "127.0.0.1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()[-8_000:]
        reached = {operation_id for operation_id, _status in control.conformance.seen}
        assert reached == {operation.id for operation in control.operations}
