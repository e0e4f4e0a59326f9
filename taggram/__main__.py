"""`python -m taggram`: the command line."""

from __future__ import annotations

from taggram.apps.cli import main

if __name__ == "__main__":
    main()
