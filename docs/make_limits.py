"""Make ``docs/limits.md``: what the shipped weights cannot do, from their cards and from the measured results.

python docs/make_limits.py
"""

from __future__ import annotations

import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = REPOSITORY / "docs" / "limits.md"
HEAD = """\
# Limits

This is a research library and not a medical device: it was not tried on patients in care. We measured every number
here ourselves; nobody else has repeated one. Read this page before you show a result to anyone who treats people. It is
made from the cards of the weights and from what was measured, by `python docs/make_limits.py`.

## What no weights here do

- Spine fractures, chest, skull and teeth are not read. CT and MR slices, multi-frame files and color photographs are
  refused where one film is asked for, not guessed at.
- A film is judged alone, without the patient's history or prior films; a study can be joined
  ([studies](studies.md)), which gained nothing that could be proven.
- No dislocation, tumor, infection or foreign body is named; metal is not told apart from a fracture by the detector.
- A probability is one at the share of fractures among the films that it was calibrated on (19 % for `fracatlas-small`),
  not at yours: [adapt](adapt.md) sets it for your site.

## Before you trust a number

Every number of a card comes from films of the same source as the training films, from groups that were never seen; the
[model card](model_card.md) tells aims that were missed, sites, robustness and the worst misses, which are worth
[looking at](model_card/misses.md). Films of other places are judged much worse:
"""


def text() -> str:
    others = json.loads((REPOSITORY / "docs/model_card/other_hospitals.json").read_text(encoding="utf-8"))
    lines = [HEAD, others["markdown"].replace("## Other hospitals", "## Films of other hospitals"), ""]
    for path in sorted(REPOSITORY.glob("weights/*/*card.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        lines += [f"## {card['name']} {card['version']}", "", f"{card['description']}.", ""]
        lines += [f"- {limit}" for limit in card["limitations"]]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
