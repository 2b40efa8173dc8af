"""Requests per second of the built-in server beside direct calls of the same signature.

    pip install '.[serve]'
    python benchmarks/serving.py --out serving.json

A request asks for 8 images by their seeds and gets 8 PNG files of 64x64 pixels (`generate_png`)
from an untrained decoder: the default one of `kmg.models.VAEGAN`, and the larger one of Larsen et
al. 2015. The floor is the same in one process with no server: the request's JSON read, the
signature called, its answer written as base64 in JSON, one after another. Server and load
generator are processes of their own that share the machine's cores; what the generator costs is
stated. Floor and server take turns, several times over; what counts is the median ratio to the
floor of the same round.

Then 10,000 requests, of which a tenth are malformed, go to a server of a small model: each good
answer is compared with the model's own, each bad one must be refused with its status, and the
server's memory is read along the way.
"""

import argparse
import base64
import concurrent.futures
import io
import json
import os
import platform
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

DECODERS, IMAGES, CLIENTS = ("default", "larsen"), 8, (1, 8, 64)
SIDE, LATENT_DIM = 64, 128
WARM_UP, SECONDS, ROUNDS = 3, 10, 3
REQUESTS, BAD_EVERY, AT_A_TIME = 10_000, 10, 8
SMALL_SIDE, SMALL_LATENT_DIM = 16, 8
START = "from keras_medgen.cli import main; main()"
PATH = "/v1/models/{}:predict"


def export(folder):
    """The models. Noise on their weights gives the images of an untrained one some texture."""
    import keras_medgen as kmg

    shape, networks = (SIDE, SIDE, 1), kmg.networks
    models = {
        "default": (kmg.models.VAEGAN(shape), 0.05),
        "larsen": (
            kmg.models.VAEGAN(
                shape,
                latent_dim=LATENT_DIM,
                encoder=networks.larsen_encoder(shape, LATENT_DIM),
                decoder=networks.larsen_decoder(shape, LATENT_DIM, output_activation="tanh"),
                discriminator=networks.larsen_discriminator(shape),
            ),
            0.02,
        ),
        "small": (kmg.models.VAE((SMALL_SIDE, SMALL_SIDE, 1), latent_dim=SMALL_LATENT_DIM), 0.1),
    }
    random = np.random.default_rng(0)
    for name, (model, scale) in models.items():
        for variable in model.decoder.trainable_variables:
            variable.assign(variable + scale * random.standard_normal(variable.shape))
        kmg.serving.export(model, Path(folder) / name)


def body(seeds, signature="generate_png"):
    return json.dumps({"signature_name": signature, "inputs": {"seed": seeds}}).encode()


def seeds_of(number):
    return list(range(IMAGES * number, IMAGES * (number + 1)))


def floor(folder, decoder):
    """Direct calls, as many as there is time for."""
    import orjson
    import tensorflow as tf

    loaded = tf.saved_model.load(str(Path(folder) / decoder / "1"))
    generate_png = loaded.signatures["generate_png"]

    def answer(request):
        seeds = np.array(orjson.loads(request)["inputs"]["seed"], np.int32)
        files = generate_png(seed=tf.constant(seeds))["image_bytes"].numpy()
        return orjson.dumps({"outputs": [{"b64": base64.b64encode(one).decode()} for one in files]})

    for phase in (WARM_UP, SECONDS):
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < phase:
            answered = answer(body(seeds_of(count)))
            count += 1
    return {"requests_per_second": count / (time.perf_counter() - start), "bytes": len(answered)}


class Connection:
    """One client: a socket, so that the load generator itself costs little."""

    def __init__(self, port):
        self._address = ("127.0.0.1", port)
        self._socket = None

    def post(self, path, content, method="POST"):
        """Status and body."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=120)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        self._socket.sendall(head.encode() + content)
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        head, received = bytes(received[:end]).lower(), received[end + 4 :]
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(received) < length:
            received += self._receive()
        if b"connection: close" in head:
            self._socket.close()
            self._socket = None
        return int(head.split()[1]), bytes(received)

    def _receive(self):
        part = self._socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server hung up")
        return part


def load(port, decoder, clients):
    """What so many clients get, each sending its next request when it has its answer."""
    numbers, times = iter(range(10**9)), []
    lock, warm, over = threading.Lock(), threading.Event(), threading.Event()

    def client():
        connection = Connection(port)
        while not over.is_set():
            with lock:
                number = next(numbers)
            start = time.perf_counter()
            status, content = connection.post(PATH.format(decoder), body(seeds_of(number)))
            end = time.perf_counter()
            assert status == 200, content
            assert content.count(b'"b64"') == IMAGES
            if warm.is_set():
                times.append((end, end - start))

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client) for _ in range(clients)]
        time.sleep(WARM_UP)
        warm.set()
        begins, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(SECONDS)
        ends, used_then = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        over.set()
        for one in running:
            one.result()
    taken = [seconds for end, seconds in times if end <= ends]
    cpu = sum(getattr(used_then, key) - getattr(used, key) for key in ("ru_utime", "ru_stime"))
    return {
        "requests_per_second": len(taken) / (ends - begins),
        "p50_ms": 1e3 * float(np.quantile(taken, 0.5)),
        "p99_ms": 1e3 * float(np.quantile(taken, 0.99)),
        "generator_cpu_ms_per_request": 1e3 * cpu / len(taken),
        "generator_cores": cpu / (ends - begins),
    }


# What may be wrong with a request: method, path, body, and the status it must get.
PREDICT = PATH.format("small")
BAD = {
    "body cut short": ("POST", PREDICT, body([1])[:-3], 400),
    "no JSON": ("POST", PREDICT, b"\x89PNG", 400),
    "no object": ("POST", PREDICT, b"[1, 2]", 400),
    "neither inputs nor instances": ("POST", PREDICT, b'{"signature_name": "generate"}', 400),
    "no instances": ("POST", PREDICT, b'{"signature_name": "generate", "instances": []}', 400),
    "another input": ("POST", PREDICT, body([1]).replace(b'"seed"', b'"seeds"'), 400),
    "text for numbers": ("POST", PREDICT, body(["one"]), 400),
    "a number too large": ("POST", PREDICT, body([2**40]), 400),
    "NaN for an integer": ("POST", PREDICT, body([1]).replace(b"[1]", b"[NaN]"), 400),
    "ragged": ("POST", PREDICT, body([1, [2]]), 400),
    "another shape": ("POST", PREDICT, body([[[1, 2]]]), 400),
    "an unknown signature": ("POST", PREDICT, body([1], "train"), 400),
    "too many rows": ("POST", PREDICT, body(list(range(10_000))), 400),
    "an unknown model": ("POST", PATH.format("none"), body([1]), 404),
    "an unknown version": ("POST", "/v1/models/small/versions/7:predict", body([1]), 404),
    "a path for a name": ("POST", PATH.format("..%2F..%2Fetc"), body([1]), 400),
    "no such page": ("GET", "/etc/passwd", b"", 404),
    "another method": ("PUT", PREDICT, body([1]), 405),
    "a GET of predict": ("GET", PREDICT, b"", 400),
    "a picture that is none": (
        "POST",
        PREDICT,
        json.dumps(
            {"signature_name": "encode_bytes", "inputs": {"image_bytes": [{"b64": "AAAA"}]}}
        ).encode(),
        400,
    ),
}


def mixed(folder, port, process):
    """Good and bad requests among each other."""
    import tensorflow as tf
    from PIL import Image

    loaded = tf.saved_model.load(str(Path(folder) / "small" / "1"))
    generate = loaded.signatures["generate"]
    expected = np.concatenate(
        [
            generate(seed=tf.range(start, start + 500))["images"].numpy()
            for start in range(0, REQUESTS, 500)
        ]
    )
    connections, wrong, memory = threading.local(), [], {}
    kinds = list(BAD.items())

    def ask(number):
        if not hasattr(connections, "own"):
            connections.own = Connection(port)
        if number % (REQUESTS // 10) == 0:
            memory[number] = resident_mib(process)
        if number % BAD_EVERY == 0:
            kind, (method, path, content, status) = kinds[number // BAD_EVERY % len(kinds)]
            got, answer = connections.own.post(path, content, method)
            if got != status or "error" not in json.loads(answer):
                wrong.append((number, kind, got, answer[:200].decode(errors="replace")))
            return
        signature = "generate" if number % 2 else "generate_png"
        got, answer = connections.own.post(PREDICT, body([number], signature))
        if got != 200 or not right(number, json.loads(answer)["outputs"][0]):
            wrong.append((number, signature, got, answer[:200].decode(errors="replace")))

    def right(number, output):
        if number % 2:
            return np.abs(np.float32(output) - expected[number]).max() < 1e-4
        grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(output["b64"]))), np.float32)
        return np.abs(grey - 255 * expected[number][..., 0]).max() <= 1

    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        for _ in pool.map(ask, range(REQUESTS)):
            pass
    return {
        "requests": REQUESTS,
        "malformed": REQUESTS // BAD_EVERY,
        "kinds_of_malformed": len(BAD),
        "wrong": wrong[:20],
        "wrong_count": len(wrong),
        "seconds": time.perf_counter() - start,
        "resident_mib": [*(memory[number] for number in sorted(memory)), resident_mib(process)],
    }


def resident_mib(process):
    """The memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_seconds(process):
    """What a process has used so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    """The command, in a process of its own."""

    def __init__(self, folder):
        command = [sys.executable, "-c", START, "serve", str(folder), "--builtin"]
        self._process = subprocess.Popen(
            [*command, "--rest-port", "0", "--grpc-port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.id = self._process.pid
        for line in self._process.stderr:
            if line.startswith("{") and json.loads(line)["event"] == "serving":
                self.port = json.loads(line)["rest_port"]
                break
        # Its log has to be read, or it would stop when the pipe is full.
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


def in_a_process(*arguments):
    """What a part of this file returns."""
    command = [sys.executable, __file__, "--part", *map(str, arguments)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    finished = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return json.loads(finished.stdout.splitlines()[-1])


def side_by_side(folder, decoder):
    """Rounds of the floor and of the server at each number of clients."""
    rounds = []
    for _ in range(ROUNDS):
        one = {"floor": in_a_process("floor", folder, decoder)}
        with Server(folder) as server:
            for clients in CLIENTS:
                used, start = cpu_seconds(server.id), time.perf_counter()
                found = in_a_process("load", server.port, decoder, clients)
                cores = (cpu_seconds(server.id) - used) / (time.perf_counter() - start)
                found["server_cores"] = cores
                found["ratio"] = found["requests_per_second"] / one["floor"]["requests_per_second"]
                one[str(clients)] = found
        rounds.append(one)
        print(decoder, json.dumps(one), file=sys.stderr)
    return rounds


def medians(rounds):
    return {
        side: {key: statistics.median(one[side][key] for one in rounds) for key in rounds[0][side]}
        for side in rounds[0]
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--decoders", nargs="+", choices=DECODERS, default=DECODERS)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, *rest = arguments.part
        found = {
            "export": export,
            "floor": floor,
            "load": lambda port, decoder, clients: load(int(port), decoder, int(clients)),
            "mixed": lambda folder, port, process: mixed(folder, int(port), int(process)),
        }[name](*rest)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        in_a_process("export", folder)
        rounds = {decoder: side_by_side(folder, decoder) for decoder in arguments.decoders}
        with Server(folder) as server:
            found = in_a_process("mixed", folder, server.port, server.id)
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    results = {
        "machine": machine,
        "images_per_request": IMAGES,
        "rounds": rounds,
        "medians": {decoder: medians(found) for decoder, found in rounds.items()},
        "mixed": found,
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    for decoder, sides in results["medians"].items():
        for side, one in sides.items():
            told = "  ".join(f"{key} {value:.2f}" for key, value in one.items())
            print(f"{decoder:>8} {side:>6} {told}")
    memory = found["resident_mib"]
    print(
        f"{found['requests']} requests, {found['malformed']} of them malformed: "
        f"{found['wrong_count']} answered wrongly; {found['seconds']:.0f} s; "
        f"memory {memory[0]:.0f} MiB at first, {memory[1]:.0f} after a tenth, "
        f"{memory[-1]:.0f} at the end"
    )


if __name__ == "__main__":
    main()
