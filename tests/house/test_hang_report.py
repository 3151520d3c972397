import asyncio

from tests.support.hang_report import task_lines


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_hang_names_its_culprit() -> None:
    """Each task is named, with how often it was cancelled and the coroutines that it is in."""
    task = asyncio.create_task(wait_for_ever(), name="the culprit")
    await asyncio.wait({task}, timeout=0)
    lines = list(task_lines())
    at = lines.index("the culprit, cancelled 0 times:")
    assert lines[at + 1].endswith(" wait_for_ever")
    assert lines[at + 2].endswith(" wait")
    task.cancel()
    await asyncio.wait({task})
