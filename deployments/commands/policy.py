"""`acms policy`: what holds for patches here, what it says of one, and what another policy would have said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefect_acms.deployments.options import FILE, build_config, database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.dao.runs import RunRow
    from prefect_acms.dao.store import Store
    from prefect_acms.tasks.policy_checks import Checked, Decision
    from prefect_acms.tasks.policy_replays import Replayed

_CONFIG = click.option("--config", type=FILE, metavar="FILE.toml", help="Go by the guardrails of this configuration.")


@click.group(invoke_without_command=True)
@click.pass_context
def policy(context: click.Context) -> None:
    """Show the policy that is in force, and try a patch or another policy out."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@policy.command()
@click.argument("path", type=FILE, required=False)
@click.option("--base", default="HEAD", metavar="REV", help="Read the repository's policy from this commit.")
@_CONFIG
@json_option
def show(path: Path | None, base: str, config: Path | None, *, as_json: bool) -> None:
    """Show every setting of the policy in force, and where its value comes from.

    PATH is the repository, else it is the current folder. Its own policy is read from the commit, as for a run. What
    it says that would loosen the run's policy has no effect; the note says so. Each setting has the keys setting,
    value, source and note in JSON; paths that both sides name are listed once for each.
    """
    from prefect_acms.deployments.output import emit_records, emit_table
    from prefect_acms.deployments.policy_subject import commit_of
    from prefect_acms.tasks.policies import repository_policy
    from prefect_acms.tasks.repository import Repository
    from prefect_acms.tasks.tightening import explained

    settings = build_config(path, {"config": config})
    repository = Repository.open(settings.path)
    stated = repository_policy(repository, commit_of(repository, base))
    us = str(config) if config else "the run"
    found = explained(settings.guardrails, stated.policy if stated else None, us=us, them=stated.file if stated else "")
    if as_json:
        emit_records(found)
    else:
        rows = [(one.setting, one.source, one.note, _value(one.value)) for one in found]
        emit_table(("SETTING", "FROM", "NOTE", "VALUE"), rows, "There is no setting.")


@policy.command()
@click.argument("patch")
@click.option("--repository", type=FILE, metavar="PATH", help="Check it against this repository; else the current one.")
@click.option("--base", metavar="REV", help="Check it on this commit; else on HEAD, or where a stored patch was made.")
@click.option("--pattern", "pattern_id", metavar="ID", help="Check it as a patch of this pattern of the pattern index.")
@click.option("--tool", "tool_id", metavar="ID", help="Check it as made by this tool; else nobody is trusted with it.")
@_CONFIG
@database_option
@json_option
def check(patch: str, *, as_json: bool, **given: Any) -> int:
    """Explain what each rule says of a patch, by the code that a run asks.

    PATCH is a file with a diff, `-` for standard input, or a stored patch: its id, that of its ledger entry, or a
    unique part of it, with its own run's policy, base, task, pattern and tool where no option says otherwise. Gates
    are not run: those that the repository has are taken to be able to judge. The exit code is 0 if the patch would be
    accepted, 1 if it would be refused or needs a review. The JSON has the keys outcome and decisions, of which each
    has rule, outcome (passed, refused, review or not asked), where and reason.
    """
    from prefect_acms.deployments.output import emit_json, emit_table
    from prefect_acms.deployments.policy_subject import subject_of
    from prefect_acms.tasks.policy_checks import Outcome, check_patch

    checked = check_patch(**subject_of(patch, given)._asdict())
    if as_json:
        emit_json(checked.model_dump(mode="json"))
    else:
        rows = [(one.rule, one.outcome, one.where, one.reason) for one in checked.decisions]
        emit_table(("RULE", "STATE", "WHERE", "WHY"), rows, "There is no rule.")
        click.echo(_verdict(checked))
    return 0 if checked.outcome is Outcome.PASSED else 1


@policy.command("what-if")
@click.argument("file", type=FILE)
@click.option(
    "--run", "runs", multiple=True, metavar="RUN", help="Replay this run, an id or `latest`; may be repeated."
)
@click.option("--all", "show_all", is_flag=True, help="List also the patches for which nothing would change.")
@database_option
@json_option
def what_if(file: Path, runs: tuple[str, ...], database_url: str | None, *, show_all: bool, as_json: bool) -> None:
    """Replay the stored patches of past runs against another policy, and show what would change.

    FILE is a policy, TOML as in `acms.toml`; without --run, every run in the store is replayed. Only what is stored
    is asked, nothing is run and nothing is changed. The JSON has the keys patches, changed, counts (by `was -> now`)
    and changes, of which each has run_id, patch_id, entry_id, state, files, was, now and reasons.
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.output import emit_json, emit_table
    from prefect_acms.tasks.policies import read_policy
    from prefect_acms.tasks.policy_replays import replay
    from prefect_acms.tasks.reports.text import count

    other = read_policy(file)
    store = existing_store(database_url)
    found = replay(store, other, _runs(store, runs))
    changed = [one for one in found if one.changes]
    counts = Counter(f"{one.was} -> {one.now}" for one in changed)
    shown = found if show_all else changed
    if as_json:
        summary = {"patches": len(found), "changed": len(changed), "counts": dict(sorted(counts.items()))}
        emit_json({**summary, "changes": [one.model_dump(mode="json") for one in shown]})
        return
    if shown:
        emit_table(("PATCH", "STATE", "WAS", "NOW", "FILES", "WHY"), [_replayed(one) for one in shown], "")
    what = ", ".join(f"{number} {way}" for way, number in sorted(counts.items())) or "nothing would change"
    click.echo(f"{count(len(found), 'patch', 'patches')} replayed: {what}.")


def _runs(store: Store, names: Sequence[str]) -> list[RunRow]:
    from prefect_acms.deployments.lookup import EVERY, find_run

    if names:
        return list({run.id: run for run in (find_run(store, name) for name in names)}.values())
    with store.begin(read_only=True) as dao:
        return dao.runs.latest(EVERY)


def _value(value: Any) -> str:
    match value:
        case None | [] | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(str(one) for one in value)
        case _:
            return str(value)


def _verdict(checked: Checked) -> str:
    from prefect_acms.tasks.policy_checks import Outcome

    if checked.outcome is Outcome.PASSED:
        return "It would be accepted, and judged by the gates."
    against = [one for one in checked.decisions if one.outcome is checked.outcome]
    return f"{_HEAD[checked.outcome]}: {'; '.join(_sentence(one) for one in against)}."


_HEAD = {"refused": "It would be refused", "review": "It would wait for a review"}


def _sentence(decision: Decision) -> str:
    place = f" at {decision.where}" if decision.where else ""
    return f"{decision.rule}{place}: {decision.reason}"


def _replayed(one: Replayed) -> tuple[str, ...]:
    return one.patch_id, one.state, one.was, one.now, ", ".join(one.files), "; ".join(one.reasons)
