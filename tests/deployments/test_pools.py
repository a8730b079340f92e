"""The base job templates of pools for containers, read by Prefect's own code."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.workers.base import BaseJobConfiguration
from pydantic import ConfigDict

from prefect_acms.deployments.pools import KINDS, template_of


class Populated(BaseJobConfiguration):
    """Whatever a template says, as its worker would get it."""

    model_config = ConfigDict(extra="allow")


def _populated(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    async def populate() -> dict[str, Any]:
        await Secret(value="postgresql://acms@db/acms").save("acms-database-url", overwrite=True)
        async with get_client() as client:
            made: Any = await Populated.from_template_and_values(template_of(kind), values, client=client)
        populated: dict[str, Any] = made.model_dump()
        return populated

    return asyncio.run(populate())


@pytest.mark.parametrize("kind", KINDS)
def test_every_variable_is_used_and_every_default_is_allowed(kind: str) -> None:
    """The server refuses a template whose placeholders name nothing, and the form shows what is not used."""
    template = template_of(kind)
    schema = template["variables"]
    jsonschema.Draft202012Validator.check_schema(schema)
    defaults = {name: found["default"] for name, found in schema["properties"].items() if "default" in found}
    jsonschema.validate(defaults, schema)
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == schema["properties"].keys()


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("kind", ["acms", "process"])
def test_a_process_gets_the_store_that_its_deployment_names(kind: str) -> None:
    """Resolved from the secret block when the run is started."""
    named = {"env": {"ACMS_DATABASE_URL": "{{ prefect.blocks.secret.acms-database-url }}"}}
    assert _populated(kind, named)["env"]["ACMS_DATABASE_URL"] == "postgresql://acms@db/acms"


@pytest.mark.usefixtures("prefect_server")
def test_a_container_gets_the_store_from_the_secret_block() -> None:
    """With the variables of a deployment beside it, and the folder that all runs share."""
    made = _populated("docker", {"env": {"LANG": "C.UTF-8"}})
    assert made["env"]["ACMS_DATABASE_URL"] == "postgresql://acms@db/acms"
    assert (made["env"]["ACMS_HOME"], made["env"]["LANG"]) == ("/srv/acms/home", "C.UTF-8")
    assert (made["image"], made["volumes"]) == ("prefect-acms:latest", ["/srv/acms:/srv/acms"])


@pytest.mark.usefixtures("prefect_server")
def test_a_job_gets_the_store_from_the_secret_of_the_cluster() -> None:
    """Neither Prefect nor the manifest knows the URL; secret, claim and image can be chosen by job variables."""
    made = _populated("kubernetes", {"store_secret": "store-of-team", "volume_claim": "code", "image": "ours:1"})
    pod = made["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "store-of-team"}}]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "code"}
    assert container["volumeMounts"] == [{"name": "acms", "mountPath": "/srv/acms"}]
    assert container["image"] == "ours:1"
    assert "ACMS_DATABASE_URL" not in container["env"]
    assert "{{" not in json.dumps(pod)
