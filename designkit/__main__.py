"""``python -m designkit``: the same program as the ``designkit`` script."""

import sys

from designkit.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
