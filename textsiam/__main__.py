"""``python -m textsiam`` is the command ``textsiam``."""

from textsiam.interfaces.cli import main

if __name__ == "__main__":
    main()
