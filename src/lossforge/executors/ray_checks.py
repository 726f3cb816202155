"""What `lossforge doctor` asks of every machine of a Ray cluster. Takes the ray module; imports none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lossforge.executors.ray_session import alive, first_line
from lossforge.executors.ray_worker import RayWorker, driver_settings

if TYPE_CHECKING:
    from lossforge.spaces.schema import ExecutionSection

_ANSWER_SECONDS = 180.0
"""How long a machine may take: a worker has to be placed, to import torch and to train a little."""


def examine_nodes(
    ray: Any, section: ExecutionSection, device: str, text: str, data: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and facts of each machine of the cluster (see `RayWorker.examine`); ``fault`` says what keeps it from work.

    ``text`` is a request that a worker there trains, ``data`` the task whose data it loads.
    """
    asked = []
    for node in alive(ray.nodes()):
        gpus = section.gpus_per_worker if device == "cuda" and node["Resources"].get("GPU", 0) else 0
        cpus = section.cpus_per_worker
        if node["Resources"].get("CPU", 0) < cpus or (device == "cuda" and not gpus):
            yield _name(node), {"idle": "has no room for a worker; nothing is trained here"}
            continue
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        actor = (
            ray.remote(RayWorker)
            .options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, scheduling_strategy=strategy)
            .remote(driver_settings(device, gpus))
        )
        asked.append((node, actor, actor.examine.remote(text, dict(data))))
    for node, actor, reference in asked:
        yield _name(node), _answer(ray, reference)
        ray.kill(actor, no_restart=True)


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _answer(ray: Any, reference: Any) -> dict[str, Any]:
    try:
        return dict(ray.get(reference, timeout=_ANSWER_SECONDS))
    except ray.exceptions.GetTimeoutError:
        return {"fault": f"no worker answered within {_ANSWER_SECONDS:.0f} s; is all of the machine taken?"}
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return {"fault": f"a worker could not be started: {lines[-1] if lines else first_line(error)}"}
