"""Two workers, each a process of its own."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

WORKER = """
    import json

    import keras
    import numpy as np
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else runs
    from tests.models.contract import MODELS

    images = np.random.default_rng(0).random((24, 16, 16, 1), np.float32)
    data = tf.data.Dataset.from_tensor_slices({"images": images}).batch(8)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    data = data.with_options(options)
    with strategy.scope():
        model = MODELS["VAE"].make(0)
        model.compile(keras.optimizers.SGD(1e-4))
    history = model.fit(data, validation_data=data, epochs=2, verbose=0).history
    checksum = float(sum(np.abs(w).sum() for w in model.get_weights()))
    print("RESULT", json.dumps({"history": history, "checksum": checksum}))
"""


@pytest.mark.slow
def test_two_workers_train_one_model():
    ports = []
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:  # both held until both are known, so that they differ
        one.bind(("localhost", 0))
        ports.append(one.getsockname()[1])
    for one in sockets:
        one.close()
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER)],
            cwd=Path(__file__).parents[2],
            env={
                **os.environ,
                "TF_CONFIG": json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": index}}
                ),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    results = []
    for process, (out, err) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, err[-2000:]
        line = next(line for line in out.splitlines() if line.startswith("RESULT"))
        results.append(json.loads(line.removeprefix("RESULT")))
    assert results[0]["checksum"] == pytest.approx(results[1]["checksum"], rel=1e-6)
    for name, values in results[0]["history"].items():
        assert len(values) == 2
        assert results[1]["history"][name] == pytest.approx(values, rel=1e-5)
