"""`acms evidence`: what a run did, as a signed file that a stranger can check without us."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.deployments.options import FILE, database_option, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from securesystemslib.signer import SSlibKey

    from prefect_acms.tasks.evidence_file import Damage
    from prefect_acms.tasks.evidence_model import Statement
    from prefect_acms.tasks.repository import Repository


@click.group(invoke_without_command=True)
@click.pass_context
def evidence(context: click.Context) -> None:
    """Export what a run did as a signed file, and check such a file offline."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@evidence.command()
@click.argument("run")
@click.option("--output", type=FILE, metavar="FILE", help="Write to this file instead of the standard output.")
@database_option
def export(run: str, output: Path | None, database_url: str | None) -> None:
    """Export the evidence of a run that has ended.

    RUN is its id, a unique part of it, or `latest`. The file is an in-toto statement in a DSSE envelope, signed with
    the key under $ACMS_HOME/keys, which is made on first use: `acms evidence key` prints its public part.
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.lookup import find_run
    from prefect_acms.deployments.output import emit_file
    from prefect_acms.tasks.evidence import evidence_of
    from prefect_acms.tasks.evidence_file import signed_file
    from prefect_acms.tasks.evidence_keys import signer

    store = existing_store(database_url)
    found = find_run(store, run)
    content = signed_file(evidence_of(store, found.id, _repository(Path(found.repo_root))), signer())
    emit_file(content, output)


def _repository(top: Path) -> Repository | None:
    from prefect_acms.canonical.errors import NotARepository, RepositoryUnfit
    from prefect_acms.tasks.repository import Repository

    try:
        return Repository.open(top)
    except (NotARepository, RepositoryUnfit):
        return None  # the commits are named then, and not shown


@evidence.command()
@click.argument("file", type=FILE)
@click.option("--key", type=FILE, metavar="PUB", help="Check against the public key in this PEM file, not our own.")
@click.option("--run", metavar="RUN", help="Demand that it is the evidence of the run of this id.")
@click.option("--repository", type=FILE, metavar="PATH", help="Look in this repository for the commits as well.")
@json_option
def verify(file: Path, key: Path | None, run: str | None, repository: Path | None, *, as_json: bool) -> int:
    """Check a file of evidence: its signature, every hash in it, and every link.

    It needs no store, no network and, without --repository, no repository. The exit code is 1 if anything is not as it
    was signed; each such place is named. The JSON has the keys ok, key, run, patches, commits, rows and damages (each
    with problem, pointer, offset, expected and found).
    """
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.reports.text import count

    public = _public_key(key)
    statement, damages = _checked(file, public, run, repository)
    told = _told(statement)
    if as_json:
        emit_json({"ok": not damages, "key": public.keyid, **told, "damages": [asdict(damage) for damage in damages]})
    elif damages:
        for damage in damages:
            click.echo(str(damage))
        click.echo(f"Not intact: {count(len(damages), 'damage')} in {file}.")
    else:
        amounts = [count(told["rows"], "transition"), count(told["patches"], "patch", "patches")]
        click.echo(f"Intact: run {told['run']}, {', '.join(amounts)}, {count(told['commits'], 'commit')}.")
        click.echo(f"Signed by key {public.keyid}.")
    return 1 if damages else 0


def _public_key(key: Path | None) -> SSlibKey:
    from prefect_acms.tasks.evidence_keys import key_path, read_public, signer

    if key is not None:
        return read_public(key)
    if not key_path().exists():
        raise InvalidValue(field="--key", value="", expected="a PEM file with the public key, there is none of our own")
    return signer().public_key


def _checked(
    file: Path, key: SSlibKey, run: str | None, repository: Path | None
) -> tuple[Statement | None, list[Damage]]:
    from prefect_acms.tasks.evidence_checks import read_statement
    from prefect_acms.tasks.evidence_file import Damage, open_file

    try:
        content = file.read_bytes()
    except OSError as error:
        expected = f"a file that can be read ({error.strerror})"
        raise InvalidValue(field="FILE", value=str(file), expected=expected) from error
    place = _repository_of(repository)
    opened = open_file(content, key)
    statement = read_statement(opened.payload) if opened.payload else None
    if isinstance(statement, Damage):
        # of what was not signed it is enough to know where it was changed
        return None, [*opened.damages, *([statement] if opened.holds else [])]
    damages = [*opened.damages, *(_in_statement(statement, run, place) if statement is not None else ())]
    return statement, damages


def _repository_of(path: Path | None) -> Repository | None:
    from prefect_acms.tasks.repository import Repository

    return None if path is None else Repository.open(path)


def _in_statement(statement: Statement, run: str | None, repository: Repository | None) -> Iterator[Damage]:
    from prefect_acms.tasks.evidence_checks import PREDICATE, problems
    from prefect_acms.tasks.evidence_commits import problems_in
    from prefect_acms.tasks.evidence_file import Damage

    found = statement.predicate.run.id
    if run is not None and run != found:
        yield Damage("it is the evidence of another run", f"{PREDICATE}/run/id", expected=run, found=found)
    yield from problems(statement)
    if repository is not None:
        yield from problems_in(repository, statement)


def _told(statement: Statement | None) -> dict[str, Any]:
    if statement is None:
        return {"run": None, "patches": 0, "commits": 0, "rows": 0}
    told = statement.predicate
    return {
        "run": told.run.id,
        "patches": len(told.patches),
        "commits": sum(patch.commit is not None for patch in told.patches),
        "rows": len(told.chain.rows),
    }


@evidence.command()
@json_option
def key(*, as_json: bool) -> None:
    """Print the public key that belongs to what is exported here, as PEM.

    It is made on first use. The JSON has the keys keyid, scheme and public_key.
    """
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.evidence_keys import public_pem, signer

    public = signer().public_key
    pem = public_pem(public)
    if as_json:
        emit_json({"keyid": public.keyid, "scheme": public.scheme, "public_key": pem})
    else:
        click.echo(pem, nl=False)
