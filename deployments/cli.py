"""The command `acms`: its list of commands, and the one place where errors become a sentence and an exit code."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple, NoReturn

import click

from prefect_acms.deployments.failures import BROKEN_PIPE, CANCELLED, failure_of
from prefect_acms.deployments.surroundings import prepare_surroundings

PROGRAM = "acms"
COMPLETION = "_ACMS_COMPLETE"
"""Set by a shell that wants words to be completed; then click answers and exits."""


class Entry(NamedTuple):
    """Where a command lives, and its line in the list; the module is imported only when the command is called."""

    module: str
    function: str
    line: str


COMMANDS = {
    "demo": Entry("demo", "demo", "Make a small sample repository and improve it before your eyes."),
    "up": Entry("up", "up", "Start all that runs on a Prefect server need: server, work pool, deployments, worker."),
    "server": Entry("up", "server", "Start a Prefect server with the settings that suit runs."),
    "worker": Entry("up", "worker", "Start a worker that carries out the runs of a work pool."),
    "deploy": Entry("deploy", "deploy", "Make or update the deployments on a Prefect server."),
    "serve": Entry("deploy", "serve", "Serve the deployments from this process, without a work pool."),
    "run": Entry("work", "run", "Improve a git repository and leave the result on a branch of its own."),
    "analyze": Entry("work", "analyze", "Find the gaps of a git repository and change nothing."),
    "plan": Entry("work", "plan", "Find gaps and compile the plan that would fix them."),
    "execute": Entry("work", "execute", "Execute a plan file, or the stored plan of an earlier run."),
    "resume": Entry("recovery", "resume", "Go on with a run that was cut off, from where it was."),
    "cancel": Entry("recovery", "cancel", "Cancel a run, whoever drives it."),
    "reconcile": Entry(
        "reconcile", "reconcile", "Compare runs with Prefect, git and their files, and repair what differs."
    ),
    "runs": Entry("runs", "runs", "List the runs in the store, the latest first."),
    "show": Entry("runs", "show", "Show what a run found, fixed and deferred."),
    "patches": Entry("patches", "patches", "List the patches of a run and what became of them."),
    "diff": Entry("patches", "diff", "Print the diff of a patch."),
    "review": Entry("review", "review", "List, show and answer the patches that wait for a review."),
    "quarantine": Entry("quarantine", "quarantine", "List and show quarantined patches, try them again, or drop them."),
    "top": Entry("top", "top", "Watch runs, tasks, patches, workers, breakers and events as they change."),
    "gaps": Entry("gaps", "gaps", "List the gaps of a run, with the reasons of the deferred ones."),
    "tools": Entry("tools", "tools", "List the tools that may work on gaps, and check whether they are installed."),
    "route": Entry("route", "route", "Explain which tool works on which task."),
    "baseline": Entry("baseline", "baseline", "Write and show the gaps that are known, for runs to hold back."),
    "promote": Entry(
        "promote", "promote", "Make what AI tools have fixed the same way again and again a deterministic codemod."
    ),
    "policy": Entry("policy", "policy", "Show the policy that is in force, and try a patch or another policy out."),
    "stuck": Entry("stuck", "stuck", "List what goes on no more by itself, with the commands that help."),
    "workers": Entry("workers", "workers", "List the workers that are not shut down, or all of a run."),
    "breakers": Entry("workers", "breakers", "List the circuit breakers of tools."),
    "override": Entry(
        "override", "override", "Change a state by hand, along the same edges and past the same guards as always."
    ),
    "rollback": Entry("rollback", "rollback", "Take committed patches back, with all that builds on them."),
    "regress": Entry("regress", "regress", "Find by bisection which patch of a run broke a test."),
    "watch": Entry("watch", "watch", "Look at branches that runs were merged into, and propose what to roll back."),
    "publish": Entry("publish", "publish", "Push what a run has made, and open or bring up its pull request."),
    "sweep": Entry("stuck", "sweep", "Move silent workers to where their silence puts them, and end their claims."),
    "metrics": Entry("metrics", "metrics", "Serve the state of the store to Prometheus."),
    "notify": Entry("notify", "notify", "Try a channel of notifications, and list what could not be told."),
    "audit": Entry("audit", "audit", "Verify or export the audit trail."),
    "sarif": Entry("sarif", "sarif", "Export the gaps of a run as SARIF 2.1.0, and check SARIF files."),
    "evidence": Entry("evidence", "evidence", "Export what a run did as a signed file, and check such a file offline."),
    "automations": Entry("automations", "automations", "Let a Prefect server notify, resume and run by itself."),
    "machines": Entry("machines", "machines", "Show the lifecycles that every state change must obey."),
    "db": Entry("db", "db", "Migrate the canonical database, or tell its version."),
    "doctor": Entry("doctor", "doctor", "Check that everything a run needs is in place."),
}


class LazyCommands(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Name the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Import one command, or None if there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"prefect_acms.deployments.commands.{entry.module}")
        command: click.Command = getattr(module, entry.function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """Write the list from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  click's signature
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"acms {version('prefect-acms')}")
    except PackageNotFoundError:
        click.echo("acms (not installed as a distribution)")
    context.exit()


@click.group(cls=LazyCommands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print the version."
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Point acms at a git repository and get a branch in which gaps are fixed.

    Each fix is a patch that was tested and recorded. Your own branch and working tree are never touched.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; bad input ends in one sentence on stderr."""
    prepare_surroundings()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a file name that is no text, or a terminal without Unicode, is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    # what a library could not log is no part of what a command has to say
    logging.raiseExceptions = False
    _leave(exit_code(arguments))


def _leave(code: int) -> NoReturn:
    """Exit; while a Prefect server is away not the usual way, on which Prefect's workers would wait for it."""
    server = sys.modules.get("prefect_acms.tasks.prefect_server")
    with suppress(KeyboardInterrupt):
        if server is None or server.hand_over():
            sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_code(arguments: Sequence[str] | None = None) -> int:
    """Call a command; what is wrong is told on stderr, and the exit code says of what kind it is."""
    try:
        code = _call(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        click.echo("acms: cancelled", err=True)
        return CANCELLED
    except BrokenPipeError:
        # nobody reads any more; what Python still wants to flush at exit must not fail a second time
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        from prefect_acms.dao.error_redaction import clean_error
        from prefect_acms.dao.redaction import environment_redactor

        redact = environment_redactor()
        failure = failure_of(error)
        if failure is None:
            clean_error(error)
            raise
        click.echo(f"acms: {redact(failure.sentence)}", err=True)
        return failure.exit_code
    return code


def _call(arguments: list[str]) -> int:
    """Invoke the command without click's own main, which has other ideas of closed pipes and of Ctrl-C."""
    if COMPLETION in os.environ:
        cli.main(prog_name=PROGRAM)
    try:
        with cli.make_context(PROGRAM, arguments) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as left:
        return left.exit_code
    return code if isinstance(code, int) else 0
