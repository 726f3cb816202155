"""``python -m lossforge``."""

from lossforge.cli import main

main()
