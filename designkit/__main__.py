"""``python -m designkit``: the same program as the ``designkit`` script."""

from designkit.cli.app import main

if __name__ == "__main__":
    main()
