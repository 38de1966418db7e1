"""The command ``textsiam``, also ``python -m textsiam``."""


def main() -> None:
    """Run the command line. An interruption during its import exits like any other interruption."""
    try:
        from textsiam.interfaces.cli import main as run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
