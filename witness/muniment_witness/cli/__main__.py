"""``python -m muniment_witness.cli`` is the command ``muniment-witness``."""

from muniment_witness.cli import main

if __name__ == "__main__":
    main()
