"""``--ray`` and the options beside it: which cluster, and where what is finished is kept."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from textsiam.interfaces.shell import options

if TYPE_CHECKING:
    from textsiam.distributing.runners import Runner
    from textsiam.distributing.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """What ``--ray`` and the options beside it say; true with ``--ray``."""

    ray: options.Ray = False
    ray_address: options.RayAddress = None
    work: options.Work = None
    dry_run: options.DryRun = False

    def __bool__(self) -> bool:
        return self.ray

    def check(self, *, approximate: bool = False) -> None:
        """Refuse what means nothing without ``--ray``."""
        if not self and (self.ray_address or self.work or self.dry_run or approximate):
            raise typer.BadParameter("--ray-address, --work, --approximate and --dry-run go with --ray.")

    def refuse(self, **given: bool) -> None:
        """Refuse options that one machine alone can follow."""
        if names := [f"--{name.replace('_', '-')}" for name, is_given in given.items() if is_given]:
            raise typer.BadParameter(f"{', '.join(names)} cannot be combined with --ray. Leave it out, or --ray.")

    def sources(self, files: list[str] | None) -> list[str]:
        """The files that names and patterns stand for."""
        from textsiam.distributing.shard_sources import expanded

        return expanded(files or [])

    def workspace(self, output: Path) -> "Workspace":
        """The one that was named, else a folder beside the output."""
        from textsiam.distributing.workspace import Workspace

        return Workspace(self.work or f"{output}.work")

    def after_interrupt(self, output: Path | None) -> str:
        """What is said after Ctrl-C."""
        if output is None or self.dry_run:
            return "Nothing was written."
        return f"What was finished is kept in {self.work or f'{output}.work'}: run the same command again to go on."

    @contextmanager
    def running(self) -> "Iterator[Runner]":
        """Its workers; what Ray says of them goes to standard error, for standard output is the answer's."""
        from textsiam.distributing.runners import OnRay

        with redirect_stdout(sys.stderr):
            runner = OnRay(self.ray_address)
            try:
                yield runner
            finally:
                runner.close()
