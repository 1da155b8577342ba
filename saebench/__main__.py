"""`python -m saebench`."""

from __future__ import annotations

from saebench.cli import main

main()
