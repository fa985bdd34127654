"""``python -m mobo``."""

from mobo.cli.app import main

if __name__ == "__main__":
    main()
