"""Ask what runs did: `python examples/query.py [RUN]`."""

import sys

from prefect_acms.deployments.client import AcmsClient


def tell(run: str) -> list[str]:
    """What was fixed by which commit, what was left and why, and whether the history is whole."""
    with AcmsClient() as client:
        lines = [f"{client.run(run).id} is {client.run(run).state}"]
        lines += [f"fixed {gap.rule_id} in {gap.commit}" for gap in client.gaps(run, state="resolved")]
        lines += [f"left {gap.rule_id}: {gap.reason}" for gap in client.gaps(run, state="deferred", limit=10)]
        lines += [f"patch {patch.id} waits for you" for patch in client.waiting(run)]
        lines += [f"tool {breaker.tool_id} is held back" for breaker in client.breakers() if breaker.state == "OPEN"]
        lines.append("the audit trail is " + ("whole" if client.verify(run).ok else "broken"))
    return lines


if __name__ == "__main__":
    print("\n".join(tell(sys.argv[1] if len(sys.argv) > 1 else "latest")))
