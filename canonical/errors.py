"""Every error of the product, under one root.

The class writes the sentence, the raise site passes the facts::

    raise DirtyTree(path=repository, files=3)

    AcmsError
    ├── BadInput                      exit 2: the caller can mend it, nothing was changed
    │   ├── GitMissing                no usable git program
    │   ├── NotARepository            not a git work tree
    │   ├── RepositoryUnfit           bare, detached, without a commit …
    │   ├── DirtyTree                 uncommitted changes
    │   ├── RepositoryBusy            another run holds the repository
    │   ├── RunDriven                 a living process drives the run
    │   ├── RunEnded                  the run has ended already
    │   ├── ReviewClosed              the patch waits for no review
    │   ├── RegressionUnfit           nothing to bisect: no good start, no bad end, or no answer
    │   ├── NotPublishable            nothing of the run can be published
    │   ├── NotPromotable             no codemod can be learned from accepted patches, or it fails its cases
    │   ├── CredentialsMissing        there is no token for the forge
    │   ├── ExtraMissing              an optional library is not installed
    │   ├── UnknownName               a mode, source, state, tool … that does not exist
    │   ├── InvalidDocument           a report, plan, TOML or configuration file that is wrong
    │   │   └── CyclicPlan            with the path of the cycle
    │   ├── InvalidValue              one field with a value that is not allowed
    │   ├── NotFound                  no row of that id
    │   ├── RowRefused                a CHECK, a key or a type of the database said no
    │   ├── StoreUnavailable          database locked, corrupt, unreachable or of another version
    │   ├── ServerUnavailable         the Prefect server does not answer
    │   ├── ServerUnnamed             no Prefect server is named
    │   ├── AddressUnfit              a server can't listen there
    │   ├── PoolUnfit                 the work pool is not there, or of another type
    │   └── AutomationUnfit           an automation that does not fit the Prefect server
    ├── TransitionError               a state change that was refused; nothing was changed
    │   ├── InvalidTransition         the machine has no such edge
    │   ├── GuardRefused              the edge exists, its guard said no
    │   ├── MissingColumn             the edge sets a column that was not given
    │   ├── OperatorRequired          the edge needs a named person or policy
    │   ├── LostRace                  somebody else changed the row first
    │   ├── Superseded                a newer driver of the run took over
    │   ├── RunEnding                 its driver is ending the run
    │   │   └── RunSuspended          it waits for a person, and for nothing else
    │   ├── RollbackRefused           the compensation plan of a patch can't be carried out
    │   ├── ReviewVoid                the diff or its base is not what was to be reviewed
    │   ├── RetryRefused              a quarantined patch can't be tried again
    │   └── StateAssignmentRefused    a write to `state` round the service
    ├── InvalidMachine                a lifecycle table that is wrong
    ├── ChainBroken                   the audit chain does not verify
    ├── SourceFailed                  one gap source could not do its work
    │   └── EverySourceFailed
    ├── ServerFailed                  the Prefect server that we started did not start, or ended
    ├── WorkerFailed                  a worker of ours could not go on
    ├── ToolFailed                    a tool could not be run
    │   ├── ToolUnavailable           not installed, or no capable tool
    │   ├── ToolTimedOut              killed after its time was over
    │   └── BreakerOpen               its circuit breaker is open
    ├── ChannelFailed                 a channel of notifications could not be told
    ├── GuardrailViolation            refused by the pattern index or by a limit
    ├── BudgetExceeded                a call that a budget has no room for; nothing was spent
    ├── RunUnsafe                     nothing that its tools say can be believed; the run is quarantined
    ├── PlanningLoop                  plans that lead to nothing, again and again
    ├── PatchRefused                  the patch did not validate
    ├── ForgeFailed                   GitHub, GitLab or Gitea did not do what it was asked for
    └── GitFailed                     a git command failed
        ├── PatchDoesNotApply
        ├── MergeConflict
        ├── RevertConflict            what came later is on the same lines
        ├── PushRefused               the remote did not take a branch
        └── RefMoved                  compare-and-swap on a ref lost
"""

from __future__ import annotations

from typing import Any, ClassVar


class AcmsError(Exception):
    """An error of this product; `str()` is one sentence, `facts` are the values in it."""

    sentence: ClassVar[str] = "{message}"
    exit_code: ClassVar[int] = 1

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        super().__init__(self.sentence.format_map(facts))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.facts)


def _rebuild(kind: type[AcmsError], facts: dict[str, Any]) -> AcmsError:
    return kind(**facts)


class BadInput(AcmsError):
    """What the caller gave is wrong; nothing was changed."""

    exit_code = 2


class GitMissing(BadInput):
    """git is not installed or too old."""

    sentence = "git {needed} or newer is needed on PATH, found {found}"


class NotARepository(BadInput):
    """The path is not the work tree of a git repository."""

    sentence = "{path} is not a git repository: {problem}"


class RepositoryUnfit(BadInput):
    """The repository is in a condition that a run can't start from."""

    sentence = "{path} can't be worked on: {problem}"


class DirtyTree(BadInput):
    """The working tree has uncommitted changes."""

    sentence = (
        "{path} has {files} uncommitted change(s), first {first!r}: commit or stash them, "
        "or allow a dirty tree to work from HEAD"
    )


class RepositoryBusy(BadInput):
    """Another run drives the same repository."""

    sentence = "{path} is being worked on by another run ({owner}): wait for it or cancel it"


class RunDriven(BadInput):
    """A living process drives the run."""

    sentence = "run {run_id} is driven by process {pid} on {host}: wait for it, or cancel it"


class RunEnded(BadInput):
    """The run has ended already."""

    sentence = "run {run_id} has ended already: it is {state}"


class ReviewClosed(BadInput):
    """The patch waits for no review, or no longer."""

    sentence = "patch {patch_id} waits for no review: it is {state}"


class RegressionUnfit(BadInput):
    """The commits of a run can't be bisected by that test."""

    sentence = "run {run_id} can't be bisected by {test!r}: {problem}"


class NotPublishable(BadInput):
    """Nothing of the run can be published as things are."""

    sentence = "run {run_id} can't be published: {problem}"


class NotPromotable(BadInput):
    """No codemod can be had for a rule, or not this one."""

    sentence = "no codemod for {rule}: {problem}"


class CredentialsMissing(BadInput):
    """There is no token for the forge; one for another forge is not sent there."""

    sentence = (
        "there are no credentials for {url}: name a saved ACMS Forge Credentials block of that address in "
        "publish.credentials, or set {variables}"
    )


class ExtraMissing(BadInput):
    """A library is not installed that only some need."""

    sentence = "{what} needs {library}, which is not installed: pip install 'prefect-acms[{choice}]'"


class UnknownName(BadInput):
    """A name that is not among the known ones."""

    sentence = "unknown {kind} {name!r}: expected one of {known}"


class InvalidDocument(BadInput):
    """A file whose content is not what it should be."""

    sentence = "{path}: {where}: {problem}"


class CyclicPlan(InvalidDocument):
    """The plan has a cycle."""

    sentence = "{path}: the plan is not a DAG, its tasks wait for each other: {cycle}"


class InvalidValue(BadInput):
    """One value that is not allowed."""

    sentence = "{field} is {value!r}: expected {expected}"


class NotFound(BadInput):
    """There is no row of that id."""

    sentence = "there is no {entity} {id!r}"


class RowRefused(BadInput):
    """A CHECK, a foreign key or a type of the database said no; nothing was changed."""

    sentence = "the database refused {entity} {id}: {problem}"


class StoreUnavailable(BadInput):
    """The canonical database can't be used."""

    sentence = "the canonical store {url} can't be used: {problem}"


class AutomationUnfit(BadInput):
    """An automation that does not fit the Prefect server."""

    sentence = "{name} is not installed: {problem}"


class ServerUnavailable(BadInput):
    """The Prefect server does not answer, so nothing was begun."""

    sentence = "the Prefect server {url} (PREFECT_API_URL) can't be used: {problem}"


class ServerUnnamed(BadInput):
    """A Prefect server is needed, and none is named."""

    sentence = "PREFECT_API_URL names no Prefect server, which {what} needs: `acms up` or `acms server` starts one"


class AddressUnfit(BadInput):
    """A server can't listen at that address."""

    sentence = "a Prefect server can't listen on {host} port {port}: {problem}"


class PoolUnfit(BadInput):
    """The work pool is not there, or not one that the caller can work with."""

    sentence = "work pool {pool!r} can't be used: {problem}"


class TransitionError(AcmsError):
    """A state change that was refused; nothing was changed."""


class InvalidTransition(TransitionError):
    """The machine has no such edge."""

    sentence = "{entity} {id} is {state}: it can't {wanted}, legal from here: {legal}"


class GuardRefused(TransitionError):
    """The edge exists, but its guard said no."""

    sentence = "{entity} {id} may not go from {state} to {target}: needed is that {guard}"


class MissingColumn(TransitionError):
    """The edge sets a column whose value was not given."""

    sentence = "{entity} {id} may not go from {state} to {target} without a value for {column}"


class OperatorRequired(TransitionError):
    """The edge may be taken only by a named person or an approved policy."""

    sentence = "{entity} {id} may go from {state} to {target} only by a named operator"


class LostRace(TransitionError):
    """Somebody else changed the row between the read and the write."""

    sentence = "{entity} {id} was changed meanwhile: version {seen} was read, {found} was found"


class Superseded(TransitionError):
    """The caller no longer drives this run."""

    sentence = "run {run_id} has a newer driver: epoch {held} is held, the run is at {current}"


class RunEnding(TransitionError):
    """The run is being ended: whoever still works for it may write nothing more."""

    sentence = "run {run_id} is being ended: nothing more is started or stored for it"


class RunSuspended(RunEnding):
    """The run waits for a person, and for nothing else: its process ends, and another goes on after the answer."""

    sentence = "run {run_id} is suspended: it waits for a person, and goes on after the answer"


class RollbackRefused(TransitionError):
    """The compensation plan of a committed patch can't be carried out; nothing was changed."""

    sentence = "{what} can't be rolled back: {problem}"


class ReviewVoid(TransitionError):
    """The diff or its base is not the one that was to be reviewed, so that nothing can be approved."""

    sentence = "the review of patch {patch_id} is void: {problem}"


class RetryRefused(TransitionError):
    """A quarantined patch can't be tried again as things are; nothing was changed."""

    sentence = "patch {patch_id} can't be tried again: {problem}"


class StateAssignmentRefused(TransitionError):
    """Only the transition service writes a `state` column."""

    sentence = "{entity}.state is written by the transition service only: {attempt} was refused"


class InvalidMachine(AcmsError):
    """A lifecycle table that contradicts itself."""

    sentence = "the {entity} machine is wrong: {problem}"


class ChainBroken(AcmsError):
    """The audit chain does not verify; names the first bad row."""

    sentence = "audit chain {chain} is broken at position {seq} (row {transition_id}): {problem}"


class GuardrailViolation(AcmsError):
    """A guardrail refused; no switch turns it off inside a run."""

    sentence = "guardrail {rule}: {problem}"


class BudgetExceeded(AcmsError):
    """A budget has no room for one more call, so it was not made."""

    sentence = "the {scope}'s budget of {limit} has no room for {tool}, which asks for {asked}"


class RunUnsafe(AcmsError):
    """What the run does can't be trusted, so it ends, quarantined."""

    sentence = "{reason}"
    exit_code = 3


class PlanningLoop(AcmsError):
    """Plans were made and carried out again and again, and no patch came of any."""

    sentence = (
        "{code}: {plans} plan(s) of this commit and configuration led to no patch, the last one cut down to its most "
        "severe gaps: change the code, the tools or the settings first"
    )


class PatchRefused(AcmsError):
    """The patch did not validate; names the rule and the place."""

    sentence = "patch refused by {rule} at {where}: {problem}"
