"""Running the probes, each guarded: one that fails is a finding, not the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

#: "ok": usable. "absent": not there; only what needs it is affected. "problem": there, or needed, and does not work.
STATES = ("ok", "absent", "problem")


@dataclass(frozen=True)
class Finding:
    """What a probe found.

    Attributes:
        name: what was looked at.
        state: one of :data:`STATES`.
        says: what is there, or what is wrong.
        mend: the command or step that mends it; "" where nothing is to be mended.
    """

    name: str
    state: str
    says: str
    mend: str = ""


Probe = Callable[[], Iterable[Finding]]


def examine(probes: Iterable[tuple[str, Probe]]) -> Iterator[Finding]:
    """The findings of each probe as they come."""
    for name, probe in probes:
        try:
            yield from probe()
        except Exception as error:
            yield Finding(name, "problem", f"cannot be looked at: {type(error).__name__}: {error}", "please report this")
