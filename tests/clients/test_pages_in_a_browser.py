"""The pages of the gate in Chromium: they fit a telephone, fingers hit their links, and their policy breaks nothing."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bqgate.app import open_gate
from tests.support.browser import Browser, open_browser
from tests.support.gate_stack import settings_for

WIDTH = "document.documentElement.scrollWidth"
SMALL_LINKS = """[...document.querySelectorAll("nav a, summary")]
    .filter(e => e.getBoundingClientRect().height < 44).length"""
WIDE = """[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => e.outerHTML.slice(0, 80))"""
COLOURS = "[getComputedStyle(document.querySelector('nav a')).color, getComputedStyle(document.body).color].join()"
LARGE_TYPE = "getComputedStyle(document.body).fontSize"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


async def test_pages_fit_a_telephone_and_a_screen(tmp_path: Path, browser: Browser) -> None:
    """At 390 pixels nothing is to be scrolled sideways and every link of the lists is 44 high; at 1280 it fits, too."""
    async with open_gate(settings_for(tmp_path, "http://127.0.0.1:9", {}), log_stream=io.StringIO()) as gate:
        for path in ("/", "/openapi"):
            told = await browser.look(gate.url + path, WIDTH, WIDE, SMALL_LINKS, LARGE_TYPE, width=390, height=844)
            assert told == [390, [], 0, "16px"], path
            assert await browser.look(gate.url + path, WIDTH, WIDE, width=1280, height=800) == [1280, []], path
            light, dark = [
                await browser.look(gate.url + path, COLOURS, width=390, height=844, scheme=scheme)
                for scheme in ("light", "dark")
            ]
            assert light == ["rgb(23, 93, 156),rgb(0, 0, 0)"]
            assert dark == ["rgb(131, 189, 242),rgb(255, 255, 255)"]
