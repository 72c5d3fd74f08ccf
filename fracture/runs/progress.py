"""How far a long command is, for whoever waits: a bar on a terminal, elsewhere a line every half minute for a log."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from tqdm import tqdm

EVERY = 30.0  # seconds between two lines where there is no terminal
_INTERVAL = 1.0  # seconds between two drawings of a bar


def progress_bar(total: int, title: str = "", *, unit: str = "film", done: int = 0, shown: bool = True) -> tqdm[Any]:
    """Tells on standard error how far a work is: a context manager with ``update(count)``.

    Args:
        total: How much there is to do.
        title: What is done; named in front.
        unit: What is counted, in the singular.
        done: How much was done before.
        shown: False tells nothing.
    """
    from tqdm import tqdm

    options: dict[str, Any] = {"total": total, "desc": title or None, "unit": unit, "initial": done}
    if not shown or sys.stderr.isatty():
        return tqdm(**options, disable=not shown, file=sys.stderr, mininterval=_INTERVAL)
    many = unit[:-1] + "ies" if unit.endswith("y") else unit + "s"
    return tqdm(
        **options,
        file=cast("IO[str]", _Lines()),
        mininterval=EVERY,
        maxinterval=2 * EVERY,
        miniters=1,
        delay=EVERY,
        leave=False,
        bar_format="{desc}" + ": " * bool(title) + "{n_fmt} of {total_fmt} " + many + ", {remaining} to go{postfix}",
    )


class _Lines:
    """Standard error as it is when something is written, a line for each drawing of the bar."""

    def write(self, text: str) -> None:
        """A drawing begins with a carriage return; one that only clears the bar is left out."""
        if said := text.strip("\r\n "):
            print("fracture:", said, file=sys.stderr)  # noqa: T201 - the commands' standard error

    def flush(self) -> None:
        """At once, so that a log shows it."""
        sys.stderr.flush()
