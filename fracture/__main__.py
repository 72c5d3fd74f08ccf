"""``python -m fracture``."""

from __future__ import annotations

from fracture.cli.main import main

if __name__ == "__main__":
    main()
