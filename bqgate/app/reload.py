"""Apply changed settings while the gate runs, when a settings file changes or SIGHUP asks for it.

Started by root as a background task. New settings are validated whole, together with what admins changed; invalid ones
change nothing: every fault is logged and counted in settings_reloads_total, and the old settings stay in force. What
can change at run time applies from the next request on (listed in settings.changes); the rest is named in the log and
needs a restart. Environment variables override the file here, too. They cannot change while the process runs, but the
files they name (BQGATE_…_FILE) are watched like the settings file.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bqgate.app.file_versions import FileVersion, file_version
from bqgate.policies.book import PolicyBook
from bqgate.policies.faults import PolicyFaults
from bqgate.ports import Clock, Telemetry
from bqgate.settings import Settings, SettingsInvalid, load_settings, value_files
from bqgate.settings.changes import differences, is_taken_over

# How often the file is looked at. It must lie still from one look to the next, so that no half of it is taken.
WATCH_S = 2

# Takes its part of new settings; must not fail, because the others have taken theirs.
ReloadHook = Callable[[Settings], None]


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Where settings come from: the file, if there is one, below the environment."""

    path: Path | None
    environ: Mapping[str, str] = field(repr=False)

    def load(self) -> Settings:
        """Read them.

        Raises:
            SettingsInvalid: with every fault.
        """
        return load_settings(self.path, self.environ)

    def look(self) -> tuple[FileVersion, ...]:
        """What tells whether one of the files is another one."""
        files = value_files(self.environ)
        return tuple(file_version(file) for file in (files if self.path is None else (self.path, *files)))


class Reloader:
    """Reads the settings again and hands them on. `run` it in one task; `ask` wants them read now."""

    def __init__(
        self,
        source: SettingsSource,
        settings: Settings,
        *,
        book: PolicyBook,
        reload_hooks: Sequence[ReloadHook],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        """Watch a source.

        Args:
            source: is read again.
            settings: what the gate was started with.
            book: takes tiers, customers, prices and shared projects, or none of the settings are taken.
            reload_hooks: take the rest, each what it knows of.
            clock: paces the looks.
            telemetry: is told what changed and what is wrong.
        """
        self._source = source
        self._started = settings
        self._current = settings
        self._book = book
        self._reload_hooks = reload_hooks
        self._clock = clock
        self._telemetry = telemetry
        self._asked = asyncio.Event()
        self._taken_at_s = clock.monotonic_s()
        self._seen: tuple[FileVersion, ...] | None = None
        # What was taken may be older than the file is now, so that the first look reads it whatever its stamp is.
        self._is_current = False
        self._taken: tuple[FileVersion, ...] | None = None
        self._faults: tuple[str, ...] = ()

    @property
    def age_s(self) -> float:
        """How long ago the settings that hold were read."""
        return self._clock.monotonic_s() - self._taken_at_s

    def ask(self) -> None:
        """Read the settings as soon as possible, whether or not the file changed."""
        self._asked.set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._rest()
            is_asked = self._asked.is_set()
            self._asked.clear()
            await self._look(is_asked=is_asked)

    async def _rest(self) -> None:
        """Wait for the next look, or until somebody asks."""
        waits = {asyncio.ensure_future(self._clock.sleep(WATCH_S)), asyncio.ensure_future(self._asked.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _look(self, *, is_asked: bool) -> None:
        stamp = await asyncio.to_thread(self._source.look)
        lies_still = stamp == self._seen
        self._seen = stamp
        is_news = not self._is_current or stamp != self._taken
        if is_asked or (lies_still and is_news):
            await self._reload(stamp, is_asked=is_asked)

    async def _reload(self, stamp: tuple[FileVersion, ...], *, is_asked: bool) -> None:
        faults: tuple[str, ...] = ()
        new = self._current
        try:
            new = await asyncio.to_thread(self._source.load)
        except SettingsInvalid as invalid:
            faults = tuple(str(fault) for fault in invalid.faults)
        if await asyncio.to_thread(self._source.look) != stamp:
            # It was written while it was read: the next look that finds it still takes it.
            self._is_current = False
            return
        if not faults:
            try:
                self._take(new, is_asked=is_asked)
            except PolicyFaults as contradictions:
                faults = tuple(f"{fault.path}: {fault.message}" for fault in contradictions.faults)
        self._taken, self._is_current = stamp, not faults
        if faults and (is_asked or faults != self._faults):  # a bad file is tried at every look, and told of once
            self._telemetry.count("settings_reloads_total", result="refused")
            self._telemetry.log("settings_not_reloaded", error="the settings are as they were", faults=list(faults))
        self._faults = faults

    def _take(self, new: Settings, *, is_asked: bool) -> None:
        """Let new settings hold.

        Raises:
            PolicyFaults: what admins changed contradicts them; nothing has changed.
        """
        # Whose credentials go up is decided at the start, and with it whether accounts can be impersonated.
        base = replace(new.policy_base, can_impersonate=self._started.policy_base.can_impersonate)
        self._book.rebase(base)
        for follow in self._reload_hooks:
            follow(new)
        changed = differences(self._current, new)
        taken = [path for path in changed if is_taken_over(path, self._started, new)]
        is_over = bool(self._faults)
        warned = self._current.warnings
        self._current = new
        self._taken_at_s = self._clock.monotonic_s()
        if not (changed or is_asked or is_over):
            return  # the first look after the start
        self._telemetry.count("settings_reloads_total", result="taken")
        self._telemetry.log("settings_reloaded", changed=taken)
        waiting = [path for path in differences(self._started, new) if not is_taken_over(path, self._started, new)]
        if waiting:
            self._telemetry.log("settings_need_restart", keys=waiting, error="these changes wait for a restart")
        for warning in new.warnings:
            if warning not in warned:
                self._telemetry.log("settings_warning", warning=warning)
