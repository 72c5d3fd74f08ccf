"""Write golden.json anew: ``python tests/models/make_golden.py``, after a deliberate change of a model's function."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> None:
    from tests.models import test_models_contract
    from tests.models.model_contract import GOLDEN, ModelContract, fingerprint

    classes = [
        c
        for _, c in inspect.getmembers(test_models_contract, inspect.isclass)
        if issubclass(c, ModelContract) and c is not ModelContract
    ]
    golden = {c.__name__: {"spec": c.spec.to_dict(), "values": fingerprint(c.spec)} for c in classes}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
