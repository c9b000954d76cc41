"""`python -m postroad.cli` is the `postroad` command."""

from . import main

main()
