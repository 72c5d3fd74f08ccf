"""Several annotated sets as one, and the parts of a split that was made for one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fracture.data.records import AnnotatedSet, Film
from fracture.data.splits import Split
from fracture.errors import DataError

_FURTHER = "further"  # in ``extra`` of films that are trained on only


def merge_sets(sets: Sequence[AnnotatedSet]) -> AnnotatedSet:
    """One set as it is, several as one; groups get their set's name in front. A name that comes again gets a number.

    Raises:
        DataError: No set, or one film in two sets.
    """
    if len(sets) == 1:
        return sets[0]
    seen: Counter[str] = Counter()
    named = []
    for part in sets:
        seen[part.name] += 1
        again = seen[part.name] > 1
        named.append(replace(part, name=f"{part.name}-{seen[part.name]}") if again else part)
    return AnnotatedSet.merge(named, name="+".join(part.name for part in named))


def with_further(annotated: AnnotatedSet, more: Sequence[AnnotatedSet]) -> AnnotatedSet:
    """A set with further ones that are only trained on, whole, while the films of the first are divided into parts.

    Raises:
        DataError: One film in two sets.
    """
    if not more:
        return annotated
    marked = [
        replace(one, name=f"further {n}", films=tuple(replace(f, extra={**f.extra, _FURTHER: True}) for f in one))
        for n, one in enumerate(more, 1)
    ]
    return AnnotatedSet.merge([annotated, *marked], name=annotated.name)


def is_further(film: Film) -> bool:
    """Whether it is one of the further films of :func:`with_further`."""
    return _FURTHER in film.extra


def part_of_split(annotated: AnnotatedSet, split: Split, part: str) -> AnnotatedSet:
    """The films of one part of a split that was made for this set alone or merged with others.

    A merged set's films carry more of their path in front, so a film belongs to a part that lists its name, or one
    that ends with it.

    Raises:
        DataError: No such part, a film that several parts could mean, or a part without any film of the set.
    """
    if part not in split.parts:
        raise DataError(f"the split of {split.name} has no such part", got=part, allowed=split.parts)
    listed = split.part_of()
    kept = []
    for film in annotated:
        tail = f"/{film.source}"
        parts = {place for source, place in listed.items() if source == film.source or source.endswith(tail)}
        if len(parts) > 1:
            raise DataError(f"{film.source}: several parts of the split could mean this film", got=sorted(parts))
        if parts == {part}:
            kept.append(film.source)
    if not kept:
        raise DataError(f"the part {part} of the split holds no film of {annotated.name}")
    return annotated.subset(kept, name=f"{annotated.name}/{part}")
