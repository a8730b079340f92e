"""`acms promote`: from what AI tools have fixed again and again to a deterministic tool, by a person's leave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from prefect_acms.deployments.options import FILE, answer_options, database_option, json_option

if TYPE_CHECKING:
    from prefect_acms.tasks.codemods.previews import Preview
    from prefect_acms.tasks.codemods.proposals import Proposal

HEAD = ("RULE", "PATCHES", "CODEMOD", "STATE", "BY")


@click.group(invoke_without_command=True)
@click.pass_context
def promote(context: click.Context) -> None:
    """Make what AI tools have fixed the same way again and again a deterministic codemod."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@promote.command("list")
@database_option
@json_option
def list_rules(database_url: str | None, *, as_json: bool) -> None:
    """List the rules that AI tools have fixed in accepted patches, and what has become of their codemods.

    Three patches are needed for a codemod. Each has the keys rule, patches, codemod, status, operator and taken_back
    (the patches that a codemod was learned from and that were rolled back since) in JSON.
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.output import emit_json, emit_table
    from prefect_acms.tasks.codemods.cases import accepted_fixes, by_rule
    from prefect_acms.tasks.codemods.promoting import taken_back
    from prefect_acms.tasks.codemods.proposals import proposals

    store = existing_store(database_url)
    counts = {str(rule): len(fixes) for rule, fixes in by_rule(accepted_fixes(store)).items()}
    known = {str(one.rule): one for one in proposals()}
    found = []
    for rule in [*counts, *(rule for rule in known if rule not in counts)]:
        one = known.get(rule)
        found.append(
            {
                "rule": rule,
                "patches": counts.get(rule, 0),
                "codemod": one.name if one else None,
                "status": one.status.value if one else None,
                "operator": one.decisions[-1].operator if one and one.decisions else None,
                "taken_back": taken_back(store, one) if one else [],
            }
        )
    if as_json:
        emit_json(found)
        return
    keys = "rule", "patches", "codemod", "status", "operator"
    rows = [tuple(str(entry[key] or "-") for key in keys) for entry in found]
    emit_table(HEAD, rows, "No accepted patch of an AI tool has fixed anything yet.")
    for entry in found:
        if entry["taken_back"]:
            click.echo(f"{entry['codemod']}: patches that it was learned from were rolled back: {entry['taken_back']}")


@promote.command()
@click.argument("rule", required=False)
@database_option
@json_option
def propose(rule: str | None, database_url: str | None, *, as_json: bool) -> int:
    """Learn a codemod from accepted patches, and keep it as a proposal.

    RULE is `source:rule`, or the rule alone where one source has it; without it, every rule that was fixed in three
    accepted patches and has no accepted codemod is tried. Nothing is used before somebody accepts it. The exit code is
    1 if nothing could be proposed. The JSON has the keys proposed (each as in `show`) and refused (rule, reason).
    """
    from prefect_acms.canonical.errors import NotPromotable
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.codemods.promoting import promotable, propose, the_rule

    store = existing_store(database_url)
    rules = [the_rule(store, rule)] if rule else promotable(store)
    proposed, refused = [], []
    for one in rules:
        try:
            proposed.append(propose(store, one))
        except NotPromotable as problem:
            refused.append({"rule": str(one), "reason": str(problem)})
    if as_json:
        emit_json({"proposed": [one.model_dump(mode="json") for one in proposed], "refused": refused})
        return 0 if proposed else 1
    for made in proposed:
        click.echo(f"{made.name}: {made.rule}, from {len(made.patches)} patches. See `acms promote show {made.name}`.")
    for entry in refused:
        click.echo(entry["reason"])
    if not rules:
        click.echo("No rule was fixed in three accepted patches of AI tools yet, or each has its codemod.")
    return 0 if proposed else 1


@promote.command()
@click.argument("codemod")
@click.option(
    "--repository",
    type=FILE,
    metavar="PATH",
    help="Show what it would change in this repository; else in those that its cases are from.",
)
@database_option
@json_option
def show(codemod: str, repository: Path | None, database_url: str | None, *, as_json: bool) -> None:
    """Show a codemod with its evidence, and what it would change in the repository as it is now.

    CODEMOD is its name, or its rule. The JSON has the keys name, source, rule_id, category, codemod, rules, cases
    (patch_id, entry_id, run_id, tool_id, repository, base_commit, commit, path, diff, sha256), left_out (patch_id,
    reason), proposed_at, status, decisions (status, operator, reason, at), taken_back, and elsewhere (repository, path,
    diff).
    """
    from prefect_acms.deployments.existing import existing_store
    from prefect_acms.deployments.output import emit_json
    from prefect_acms.tasks.codemods.promoting import taken_back
    from prefect_acms.tasks.codemods.proposals import get_proposal

    proposal = get_proposal(codemod)
    back = taken_back(existing_store(database_url), proposal)
    places = [repository] if repository else [Path(one) for one in dict.fromkeys(c.repository for c in proposal.cases)]
    elsewhere = [(str(place), preview) for place in places for preview in _previews(proposal, place)]
    if as_json:
        more = [{"repository": place, **preview._asdict()} for place, preview in elsewhere]
        emit_json({**proposal.model_dump(mode="json"), "taken_back": back, "elsewhere": more})
    else:
        _tell(proposal, back, elsewhere)


def _previews(proposal: Proposal, place: Path) -> list[Preview]:
    from prefect_acms.tasks.codemods.previews import previews
    from prefect_acms.tasks.repository import Repository

    repository = Repository.open(place)
    return list(previews(proposal.codemod, repository, repository.head()))


def _tell(proposal: Proposal, back: list[str], elsewhere: list[tuple[str, Preview]]) -> None:
    from prefect_acms.deployments.output import show_diff
    from prefect_acms.tasks.reports.text import count, printable

    click.echo(f"{proposal.name} for {proposal.rule} ({proposal.codemod.language}): {proposal.status}")
    for decision in proposal.decisions:
        click.echo(printable(f"{decision.status} by {decision.operator} at {decision.at}: {decision.reason}"))
    click.echo(f"\nIts rules, as ast-grep reads them:\n\n{printable(proposal.rules)}")
    for what, names in (("adds the imports", proposal.codemod.adds), ("drops, where unused,", proposal.codemod.drops)):
        if names:
            click.echo(f"It {what} {', '.join(map(str, names))}.")
    files, patches = count(len(proposal.cases), "file"), count(len(proposal.patches), "patch", "patches")
    click.echo(f"\nIt gives these {files} of {patches} byte for byte, and nothing else in the files of any:")
    for case in proposal.cases:
        gone = ", ROLLED BACK SINCE" if case.patch_id in back else ""
        click.echo(printable(f"\n{case.patch_id} by {case.tool_id}, commit {case.commit[:12]}{gone}"))
        show_diff(case.diff)
    if proposal.left_out:
        click.echo("Other accepted patches for the rule:")
        for left in proposal.left_out:
            click.echo(printable(f"- {left.patch_id}: {left.reason}"))
    click.echo(f"\nIn the repository as it is now it would change {count(len(elsewhere), 'file')}.")
    for place, preview in elsewhere:
        click.echo(printable(f"\n{place}"))
        show_diff(preview.diff)


def _decision(name: str, said: str) -> None:
    """Add the command by which a person decides about a codemod in that way."""

    @promote.command(name, help=said)
    @click.argument("codemod")
    @answer_options
    @database_option
    @json_option
    def decide(codemod: str, operator: str, reason: str, database_url: str | None, *, as_json: bool) -> None:
        from prefect_acms.deployments.existing import existing_store
        from prefect_acms.deployments.output import emit_json
        from prefect_acms.tasks.codemods.promoting import accept, reject, revoke
        from prefect_acms.tasks.reports.text import printable

        verb = {"accept": accept, "reject": reject, "revoke": revoke}[name]
        decided = verb(existing_store(database_url), codemod, operator=operator, reason=reason)
        if as_json:
            emit_json(decided.model_dump(mode="json"))
        else:
            click.echo(printable(f"{decided.name} is {decided.status} by {operator}."))


_decision(
    "accept",
    """Accept a codemod: runs that start from now on use it first for the gaps of its rule.

    It is learned and tried once more before; if accepted patches lead to another one by now, it is refused. What it
    does in a run is judged by gates and proof like every patch. The JSON is as of `show`, without taken_back and
    elsewhere.
    """,
)
_decision(
    "reject",
    """Reject a proposed codemod; `propose` takes it up again.

    The JSON is as of `accept`.
    """,
)
_decision(
    "revoke",
    """Take an accepted codemod out of use; gaps of its rule go where they went before.

    The JSON is as of `accept`.
    """,
)
