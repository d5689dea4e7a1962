"""``flower-coded reference``: make, import and show the public parameters that commitments rest on.

Whoever knows the secret behind a reference string can open commitments to anything. In a deployment it comes
from a public ceremony (``import``), or from one machine that everybody trusts (``make``). Its digest goes
into every SuperNode's own configuration, which then takes no other string from any server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flower_coded.cli.exit_codes import EXIT_STATUS_HELP, refusals_as_status
from flower_coded.errors import SetupError

__all__ = ["reference_app"]

reference_app = typer.Typer(
    no_args_is_help=True, help="Make, import and show reference strings, which commitments rest on."
)


@reference_app.command(epilog=EXIT_STATUS_HELP)
def make(
    size: Annotated[
        int, typer.Argument(min=2, max=1 << 20, help="Powers in G1; 4096 serves chunks of 4096.")
    ],
    size_g2: Annotated[int, typer.Option(min=2, max=1 << 10, help="Powers in G2.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Write the string to this file too, for others.")] = None,
) -> None:
    """Draw a secret, compute its powers, forget it, and keep them: this machine is trusted from now on."""
    with refusals_as_status():
        from flower_coded.crypto.srs import generate_reference_string
        from flower_coded.crypto.srs_cache import store_reference_string

        reference = generate_reference_string(size, size_g2=size_g2)
        path = store_reference_string(reference)
        if out is not None:
            try:
                out.write_bytes(reference.to_bytes())
            except OSError as error:
                raise SetupError(str(out), f"it cannot be written: {error.strerror}") from error
        _tell(reference.size, len(reference.powers_g2), reference.digest, path)


@reference_app.command("import", epilog=EXIT_STATUS_HELP)
def import_(
    file: Annotated[
        Path, typer.Argument(help="c-kzg's trusted_setup.txt, JSON of a ceremony, or a file of `make --out`.")
    ],
    size: Annotated[
        int,
        typer.Option(min=0, help="Of a file with several strings, the shortest with so many; 0: longest."),
    ] = 0,
) -> None:
    """Read a ceremony's powers, check every point and the pairings, and keep them."""
    with refusals_as_status():
        from flower_coded.crypto.ceremony import read_ceremony
        from flower_coded.crypto.srs_cache import store_reference_string

        reference = read_ceremony(file, size=size or None)
        path = store_reference_string(reference)
        _tell(reference.size, len(reference.powers_g2), reference.digest, path)


@reference_app.command(epilog=EXIT_STATUS_HELP)
def show(
    digest: Annotated[str, typer.Argument(help="Of which string; all that are kept if none is named.")] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Check every point and the pairings again, not the hash alone.")
    ] = False,
) -> None:
    """Show the strings that this machine keeps: powers in G1 and G2, digest, file."""
    with refusals_as_status():
        from flower_coded.crypto.srs import ReferenceString
        from flower_coded.crypto.srs_cache import cache_directory, kept_digests, load_reference_string

        digests = (digest,) if digest else kept_digests()
        if not digests:
            typer.echo(f"no reference string is kept in {cache_directory()}")
        for name in digests:
            reference = load_reference_string(name)
            if check:
                ReferenceString.from_bytes(reference.to_bytes())
            path = cache_directory() / f"reference-{name}.bin"
            _tell(reference.size, len(reference.powers_g2), name, path, is_long=bool(digest))


def _tell(size: int, size_g2: int, digest: str, path: Path, *, is_long: bool = True) -> None:
    typer.echo(f"{size} powers in G1, {size_g2} in G2  {digest}\n  {path}")
    if is_long:
        typer.echo(
            f'server:     RampSharedMultiKrum(reference="{digest}", ...)\n'
            f"SuperNodes: --node-config 'reference-digest=\"{digest}\"'"
        )
