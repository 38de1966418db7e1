"""``--ray`` and the options that go with it: which cluster, and where finished work is kept."""

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
    """``--ray`` and the options that go with it; true with ``--ray``."""

    ray: options.Ray = False
    ray_address: options.RayAddress = None
    work: options.Work = None

    def __bool__(self) -> bool:
        return self.ray

    def check(self, *, approximate: bool = False) -> None:
        """Refuse options that mean nothing without ``--ray``."""
        if not self and (self.ray_address or self.work or approximate):
            raise typer.BadParameter(
                "--ray-address, --work and --approximate go with --ray. Add --ray, or leave them out."
            )

    def refuse(self, **given: bool) -> None:
        """Refuse options that only work without ``--ray``."""
        if names := [f"--{name.replace('_', '-')}" for name, is_given in given.items() if is_given]:
            raise typer.BadParameter(f"{', '.join(names)} cannot be combined with --ray. Leave one of the two out.")

    def sources(self, files: list[str] | None) -> list[str]:
        """The files that these names and patterns match."""
        from textsiam.distributing.shard_sources import expanded

        return expanded(files or [])

    def workspace(self, output: Path) -> "Workspace":
        """The workspace: the one that was named, else a folder beside the output."""
        from textsiam.distributing.workspace import Workspace

        return Workspace(self.work or f"{output}.work")

    def after_interrupt(self, output: Path | None) -> str:
        """What to say after Ctrl-C."""
        if output is None:
            return "Nothing was written."
        return f"Finished work is kept in {self.work or f'{output}.work'}: run the same command again to go on."

    @contextmanager
    def running(self) -> "Iterator[Runner]":
        """The cluster's workers. What Ray prints goes to standard error, because standard output holds the answer."""
        from textsiam.distributing.runners import OnRay

        with redirect_stdout(sys.stderr):
            runner = OnRay(self.ray_address)
            try:
                yield runner
            finally:
                runner.close()
