"""``python -m muniment_gateway.cli`` is the command ``muniment-gateway``."""

from muniment_gateway.cli import main

if __name__ == "__main__":
    main()
