"""``fracture adapt-studies``: how the films of a study are fused, learned from studies of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fracture.data.files import Problems, load_json_lines
from fracture.data.records import AnnotatedSet
from fracture.errors import DataError
from fracture.evaluation.tables import match_names
from fracture.limb.attention import Attention, fit_attention
from fracture.wing.lines import suspicion_of


def adapt_studies(results: str | Path, annotated: AnnotatedSet, *, target: float = 0.925) -> Attention:
    """Fit a learned rule to what the weights said of studies.

    Args:
        results: JSON lines of ``fracture predict --by-study``; those of studies that failed have no part.
        annotated: The films' labels. A study is fractured if one of its films is.
        target: Share of the fractured studies that is to be called so, in (0, 1].

    Raises:
        DataError: Lines of something else, of several weights, films without a label, or too few studies.
    """
    lines = [line for line in _lines(Path(results)) if line.get("error") is None]
    judged = [[film for film in line["films"] if film.get("error") is None] for line in lines]
    problems = Problems(str(results))
    names = [str(film["source"]) for films in judged for film in films]
    place = match_names(names, [film.source for film in annotated], None, None, problems)
    problems.raise_if_any()
    if lacking := [name for name, found in zip(names, place, strict=True) if found < 0]:
        raise DataError(f"{results}: {annotated.name} says nothing of {len(lacking)} films", got=", ".join(lacking[:3]))
    known = {name: bool(annotated[int(found)].fractured) for name, found in zip(names, place, strict=True)}
    checksums = sorted({str(film.get("weights_checksum") or "") for films in judged for film in films})
    if len(checksums) != 1:
        raise DataError(f"{results}: films judged by several weights", got=len(checksums), allowed=1)
    return fit_attention(
        [[float(suspicion_of(film) or 0.0) for film in films] for films in judged],
        [any(known[str(film["source"])] for film in films) for films in judged],
        target=target,
        weights_checksum=checksums[0],
    )


def _lines(path: Path) -> Sequence[Mapping[str, Any]]:
    lines = []
    for where, line in load_json_lines(path):
        if not (line.get("error") or isinstance(line.get("films"), list)):
            raise DataError(
                f"{path}, {where} is not the result of a study", hint="give those of fracture predict --by-study"
            )
        lines.append(line)
    return lines
