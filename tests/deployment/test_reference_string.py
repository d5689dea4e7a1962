"""Ramp-shared multi-Krum as it is deployed: a SuperLink and SuperNodes, processes with homes of their own.

    pytest tests/deployment/test_reference_string.py -m experiment    # three minutes

The server has imported a ceremony's file; the nodes have nothing but the digest in their own configuration.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from deployed import Deployment

from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.crypto.srs_cache import kept_digests

NUM_NODES = 5  # the fewest with which a mean of two updates can be formed

PROJECT = """
[project]
name = "deployed-ramp-krum"
version = "1.0.0"
dependencies = []

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "deployed_app.app:server"
clientapp = "deployed_app.app:client"

[tool.flwr.app.config]
reference-digest = ""
out = ""
"""

APP = """
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from flower_coded.clients.ramp_krum import ramp_krum_mod

client = ClientApp(mods=[ramp_krum_mod])


@client.train()
def train(message, context):
    node = int(context.node_config["partition-id"])
    arrays = {
        name: Array(array.numpy() + np.float32(0.25 + 0.001 * node))
        for name, array in message.content["arrays"].items()
    }
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)


server = ServerApp()


@server.main()
def main(grid, context):
    from flower_coded.strategies import RampSharedMultiKrum

    strategy = RampSharedMultiKrum(
        num_users=5, num_byzantine=0, num_dropouts=0, num_selected=2, chunk_size=32,
        fraction_evaluate=0.0, reference=context.run_config["reference-digest"],
    )
    initial = ArrayRecord({"weights": Array(np.zeros(50, dtype=np.float32))})
    out = Path(context.run_config["out"])
    try:
        result = strategy.start(grid=grid, initial_arrays=initial, num_rounds=1)
    except Exception as error:
        reasons = [each.reason for record in strategy.history for each in record.rejected]
        out.write_text("; ".join([str(error), *reasons]))
        raise
    out.write_text(str(result.arrays["weights"].numpy().mean()))
"""


def trusted_setup(reference: ReferenceString) -> str:
    """Write a string as c-kzg does; the Lagrange basis, which is not read, is left to other points."""
    backend = reference.backend
    points = [backend.compress(point).hex() for point in reference.powers]
    points_g2 = [backend.compress_g2(point).hex() for point in reference.powers_g2]
    return "\n".join([str(len(points)), str(len(points_g2)), *points, *points_g2, *points, ""])


def run(deployment: Deployment, directory: Path, digest: str) -> tuple[str, str]:
    """Run the app to its end; its status and what it wrote."""
    app, out = directory / "app", directory / "out.txt"
    (app / "deployed_app").mkdir(parents=True, exist_ok=True)
    (app / "pyproject.toml").write_text(PROJECT)
    (app / "deployed_app" / "__init__.py").write_text("")
    (app / "deployed_app" / "app.py").write_text(APP)
    status = deployment.end_of(deployment.submit(app, {"reference-digest": digest, "out": str(out)}))
    return status, out.read_text() if out.exists() else ""


@pytest.mark.experiment
def test_a_ceremonys_file_serves_nodes_with_homes_of_their_own_and_a_forged_one_does_not(
    tmp_path: Path,
) -> None:
    reference = generate_reference_string(64, size_g2=3, draw_below=lambda bound: 1234567)
    forged = generate_reference_string(64, size_g2=3)
    caches = [tmp_path / f"node{node}" / ".cache" / "flower-coded" for node in range(NUM_NODES)]
    with Deployment(tmp_path) as deployment:
        for node in range(NUM_NODES):
            deployment.start_node(node, f'num-partitions={NUM_NODES} reference-digest="{reference.digest}"')
        for name, string in (("trusted_setup.txt", reference), ("forged.txt", forged)):
            (tmp_path / name).write_text(trusted_setup(string))
            output = deployment.printed(
                "superlink", "flower-coded", "reference", "import", str(tmp_path / name)
            )
            assert string.digest in output

        status, reasons = run(deployment, tmp_path, forged.digest)
        assert status == "finished:failed"
        assert f"this node's reference-digest is {reference.digest}" in reasons
        assert all(kept_digests(cache) == () for cache in caches)

        status, mean = run(deployment, tmp_path, reference.digest)
        assert status == "finished:completed", mean
        assert abs(float(mean) - 0.25) < 0.01
        for node, cache in enumerate(caches):
            assert kept_digests(cache) == (reference.digest,)
            # Once: the later phases of the round found it kept.
            assert deployment.log(f"node{node}").count("checked and kept") == 1
