from pathlib import Path

from benchmarks.gated.profiles import top_functions


def test_samples_are_added_up_by_function_and_waiting_is_left_out(tmp_path: Path) -> None:
    """Self is the innermost frame; total counts a function once for a stack in which it calls itself."""
    main = "thread (1): MainThread"
    stacks = (
        f"{main};serve (bqgate/a.py:1);walk (bqgate/b.py:2);walk (bqgate/b.py:3) 30\n"
        f"{main};serve (bqgate/a.py:1) 10\n"
        f"{main};_worker (concurrent/futures/thread.py:81) 500\n"
    )
    file = tmp_path / "profile.raw"
    file.write_text(stacks)
    shown = top_functions(file)
    assert shown.startswith("40 samples")
    own, total = shown.split("\nself\n")[1].split("\ntotal\n")
    assert [line.split() for line in own.splitlines() if line] == [
        ["75.0%", "walk", "(bqgate/b.py)"],
        ["25.0%", "serve", "(bqgate/a.py)"],
    ]
    assert ["75.0%", "walk", "(bqgate/b.py)"] in [line.split() for line in total.splitlines()]
    assert "_worker" not in shown
