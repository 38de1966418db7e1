"""The command ``textsiam``, which is ``python -m textsiam`` too."""


def main() -> None:
    """Run it; an interruption while it is still being read is one like any other."""
    try:
        from textsiam.interfaces.cli import main as run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
