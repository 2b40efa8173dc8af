"""Export a model, serve it in the background, and call it over REST, gRPC and plain HTTP.

A small VAE is trained (or a model of yours is taken: `--model runs/pneumonia/model.keras`), written
as a SavedModel, and served by the built-in server, which speaks as TensorFlow Serving does: the
same calls work there. Answers are compared with the model's own, and timed.

Data: PneumoniaMNIST (MedMNIST v2, https://medmnist.com, CC BY 4.0), downloaded by its name; or what
else `kmg.data.load` takes. Needs the extra `serve`: pip install '.[serve]'.

    python examples/serve_and_call.py --out runs/serve_and_call
"""

import argparse
import base64
import json
import time
from pathlib import Path

import keras
import numpy as np
import requests

import keras_medgen as kmg
from keras_medgen.serving.server.run import Server

EPOCHS = 5
IMAGE_SIZE = None  # pixels a side, where images differ in it; None leaves them as they are
NUM = 16  # images in a call
REPEATS = 20  # of each call that is timed
MODEL = "vae"  # the name that it is served under
HOST = "127.0.0.1"  # this machine alone can call; "0.0.0.0" would let every other one

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", help="what kmg.data.load takes; default pneumoniamnist")
parser.add_argument("--model", type=Path, help="a .keras file, in place of training one")
parser.add_argument("--out", type=Path, default=Path("runs/serve_and_call"))
parser.add_argument("--fast", action="store_true", help="a few steps, on built-in images")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
source = options.data or ("histology_patches" if options.fast else "pneumoniamnist")
repeats, limit, size = (2, 128, 16) if options.fast else (REPEATS, None, IMAGE_SIZE)
channels = 1 if options.fast else None
model = None if options.model is None else keras.saving.load_model(options.model)
if model is not None:  # the images are to be like those that it knows
    _, size, channels = model.image_shape
data = kmg.data.load(source, size, channels=channels, deduplicate="drop", seed=options.seed)
if model is not None and model.num_classes != data.num_classes and model.num_classes is not None:
    parser.error(f"--data must have the {model.num_classes} classes of --model")
started = time.monotonic()
if model is None:
    model = kmg.models.VAE(data.image_shape, latent_dim=32, seed=options.seed)
    model.compile()
    keras.utils.set_random_seed(options.seed)  # of the order of the images
    images, epochs = data.arrays("train", limit)["images"], 1 if options.fast else EPOCHS
    model.fit(images, epochs=epochs, batch_size=64, verbose=2)
training_seconds = time.monotonic() - started

# The folder of models, and in each its versions: the layout of TensorFlow Serving.
said = {name: data.provenance[name] for name in ("source", "licence") if name in data.provenance}
kmg.serving.export(model, options.out / "models" / MODEL, provenance=said)

test, labels, classes = data.arrays("test", NUM), None, None
if model.num_classes is not None:  # it is told what it restores, and what it is to make
    labels, classes = test["labels"], np.arange(NUM) % model.num_classes
test, each = test["images"], [None] * NUM if classes is None else classes[:, None]
own = {"generate": np.concatenate([model.generate(1, each[i], seed=i) for i in range(NUM)])}
if hasattr(model, "encoder"):
    own["reconstruct"] = model.reconstruct(test, labels)
    own["detect"] = kmg.anomaly.detect(model, test, labels=labels)["maps"]


def timed(call):
    """What a call returns, and the median of its seconds after a first one."""
    answer, seconds = call(), []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return answer, float(np.median(seconds))


figures, answers = {}, {}
with Server(options.out / "models", host=HOST) as server:  # in threads, until the block ends
    rest, grpc = (f"{HOST}:{port}" for port in (server.rest_port, server.grpc_port))
    for url in (f"http://{rest}", f"grpc://{grpc}"):
        kind = "REST" if url.startswith("http") else "gRPC"
        with kmg.serving.Client(url, model=MODEL) as client:
            calls = {
                "generate": lambda client=client: client.generate(NUM, classes, seed=0),
                "reconstruct": lambda client=client: client.reconstruct(test, labels),
                "detect": lambda client=client: client.detect(test, labels)["maps"],
            }
            for name, expected in own.items():
                answers[name], seconds = timed(calls[name])
                gap = float(np.abs(answers[name] - expected).max())
                figures[f"{kind} {name}"] = {"seconds": seconds, "largest_difference": gap}
                print(f"{kind} {name}: {NUM} images in {1000 * seconds:.1f} ms, {gap:.1g} off")

    # What any program can do, in any language: a POST of JSON, here for PNG files.
    inputs = {"seed": list(range(NUM))} | ({} if classes is None else {"label": classes.tolist()})
    body = {"signature_name": "generate_png", "inputs": inputs}
    predict = f"http://{rest}/v1/models/{MODEL}:predict"
    answer, seconds = timed(lambda: requests.post(predict, json=body, timeout=30))
    answer.raise_for_status()
    files = [base64.b64decode(one["b64"]) for one in answer.json()["outputs"]]
    figures["requests generate_png"] = {"seconds": seconds, "bytes": sum(map(len, files))}
    wrong = requests.post(predict, json={"inputs": {"seed": "x"}}, timeout=30)
    ready = requests.get(f"http://{rest}/ready", timeout=30).json()["status"]
    print(f"The server is {ready}; to a wrong call it says {wrong.status_code}: {wrong.text}")

kmg.pictures.save_grid(options.out / "generated.png", answers["generate"], 8, synthetic=True)
if "reconstruct" in answers:
    made = answers["reconstruct"]
    kmg.pictures.save_reconstructions(options.out / "reconstructions.png", test, made)
(options.out / "by_requests.png").write_bytes(files[0])
report = {"data": data.provenance, "seed": options.seed, "images": NUM, "calls": figures}
report |= {"training_seconds": training_seconds, "ready": ready, "wrong_call": wrong.status_code}
(options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
print(f"Pictures, report.json: {options.out}; `keras-medgen serve {options.out}/models` serves on")
