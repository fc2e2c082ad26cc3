"""Building an image on a local engine, without a network: everything it is made of is in the context."""

from __future__ import annotations

from typing import BinaryIO

import docker
import requests
from docker.errors import APIError, DockerException

from xcore.errors import RuntimeUnavailable, WorkloadRejected

SECONDS = 600


def build_image(host: str, context: BinaryIO, tag: str) -> str:
    """Build the tar `context` and give the image's id; raises WorkloadRejected, RuntimeUnavailable. Blocks."""
    try:
        client = docker.APIClient(host, timeout=SECONDS, version="auto")
        try:
            # rm: no container of a step stays; forcerm: nor of one that failed.
            answer = client.build(
                fileobj=context,
                custom_context=True,
                tag=tag,
                rm=True,
                forcerm=True,
                network_mode="none",
                decode=True,
            )
            for event in answer:
                if "error" in event:
                    raise WorkloadRejected(f"the image cannot be built: {str(event['error'])[:200]}")
            return str(client.inspect_image(tag)["Id"])  # type: ignore[no-untyped-call]
        finally:
            client.close()
    except APIError as error:
        raise WorkloadRejected(f"the engine refused: {str(error.explanation)[:200]}") from error
    except (requests.RequestException, DockerException) as error:
        raise RuntimeUnavailable(
            f"the Docker engine at {host} does not answer; start it, or set XCORE_DOCKER_HOST"
        ) from error
