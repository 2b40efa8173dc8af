import base64
import json
import math
import re

import pytest

from tests.serving.server import asgi

PREDICT = "/v1/models/tiny:predict"
PNG = base64.b64encode(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
    )
).decode()


def post(client, body, path=PREDICT):
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(path, content=text)


def named(signature, **rest):
    return {"signature_name": signature, **rest}


ROWS = [
    {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
    {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
]
COLUMNS = {
    "tag": ["foo", "bar"],
    "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
    "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
}
DOUBLED = [[[2.0, 4.0], [6.0, 8.0]], [[8.0, 10.0], [12.0, 16.0]]]

# The cases of https://www.tensorflow.org/tfx/serving/api_rest, those first whose numbers it gives.
ANSWERED = {
    "rows of scalars": ({"instances": [1.0, 2.0, 5.0]}, {"predictions": [3.5, 4.0, 5.5]}),
    "signature by name": (
        named("serving_default", instances=[1]),
        {"predictions": [3.5]},
    ),
    "empty signature name": (named("", instances=[1]), {"predictions": [3.5]}),
    "named rows of one input": ({"instances": [{"x": 1.0}]}, {"predictions": [3.5]}),
    "column, unnamed": ({"inputs": [1.0, 2.0]}, {"outputs": [3.5, 4.0]}),
    "a column too many": ({"inputs": {"x": [1.0], "z": [1]}}, {"outputs": [3.5]}),
    "column, named": ({"inputs": {"x": [1.0, 2.0]}}, {"outputs": [3.5, 4.0]}),
    "exponents": ({"instances": [1e2, -2e-1]}, {"predictions": [53.0, 2.9]}),
    "three inputs and outputs in rows": (
        named("sensors", instances=ROWS),
        {
            "predictions": [
                {"tag": "foo", "sums": 15.0, "doubled": DOUBLED[0]},
                {"tag": "bar", "sums": 15.0, "doubled": DOUBLED[1]},
            ]
        },
    ),
    "three inputs and outputs in columns": (
        named("sensors", inputs=COLUMNS),
        {"outputs": {"tag": ["foo", "bar"], "sums": [15.0, 15.0], "doubled": DOUBLED}},
    ),
    "strings": (named("echo", instances=["foo", "bär"]), {"predictions": ["foo", "bär"]}),
    "strings in base 64": (
        named("echo", instances=[{"b64": "aW1hZ2UgYnl0ZXM="}, "x"]),
        {"predictions": ["image bytes", "x"]},
    ),
    "bytes come back in base 64": (
        named("echo_bytes", instances=[{"b64": "/wD/"}, {"data_bytes": {"b64": "AAA="}}][:1]),
        {"predictions": [{"b64": "/wD/"}]},
    ),
    "named bytes": (
        named("echo_bytes", instances=[{"data_bytes": {"b64": "/wD/"}}]),
        {"predictions": [{"b64": "/wD/"}]},
    ),
    "bytes in columns": (
        named("echo_bytes", inputs=["foo", {"b64": ""}]),
        {"outputs": [{"b64": "Zm9v"}, {"b64": ""}]},
    ),
    "a scalar input in columns": (
        named("scale", inputs={"x": [1, 2], "factor": 3}),
        {"outputs": [3.0, 6.0]},
    ),
    "a scalar output in columns": (named("total", inputs=[1, 2, 3]), {"outputs": 6.0}),
    "truth values and integers": (
        named("types", instances=[{"flag": True, "small": 255, "large": -(2**62)}]),
        {"predictions": [{"flag": True, "small": 255, "large": -(2**62)}]},
    ),
    "a picture": (named("decode", instances=[{"b64": PNG}]), {"predictions": [1]}),
}

REFUSED = {
    "no JSON": ("{", 400, "must be JSON"),
    "no JSON beside a NaN": ('{"instances": [NaN, }', 400, "must be JSON"),
    "nothing": ("", 400, "must be JSON"),
    "not UTF-8": (b'{"instances": ["\xff"]}', 400, "must be JSON"),
    "nested without end": ('{"instances": ' + "[" * 30_000, 400, "must be JSON"),
    "nested without end, NaN": ('{"a": NaN, "instances": ' + "[" * 30_000, 400, "must be JSON"),
    "no object": ([1, 2], 400, "JSON object"),
    "neither format": ({}, 400, "either 'instances' or 'inputs'"),
    "both formats": ({"instances": [1], "inputs": [1]}, 400, "not both"),
    "a number as instances": ({"instances": 5}, 400, "must be a list"),
    "no instances": ({"instances": []}, 400, "at least one"),
    "no rows": ({"inputs": []}, 400, "1 to 64 rows. Received: 0"),
    "too many rows": ({"instances": [1.0] * 65}, 400, "1 to 64 rows. Received: 65"),
    "signature of a wrong type": (named(3, instances=[1]), 400, "must be a string"),
    "unknown signature": (
        named("nonesuch", instances=[1]),
        400,
        "must be one of decode, echo, echo_bytes, pick, scale, sensors, serving_default, total, "
        "types, which. Received: signature_name='nonesuch'.",
    ),
    "wrong nesting": ({"instances": [[1.0], [2.0]]}, 400, "nested in 1 lists. Received: 2"),
    "a scalar for a list": ({"inputs": 1.0}, 400, "nested in 1 lists. Received: 0"),
    "wrong shape": (
        named("sensors", instances=[dict(ROWS[0], signal=[1, 2])]),
        400,
        "'signal' must have the shape (any, 5). Received: (1, 2)",
    ),
    "ragged": (
        named("sensors", instances=[dict(ROWS[0], sensor=[[1], [2, 3]])]),
        400,
        "lists of one length",
    ),
    "ragged rows": (
        named("sensors", instances=[ROWS[0], dict(ROWS[1], signal=[1])]),
        400,
        "lists of one length",
    ),
    "a number among lists": (
        named("sensors", instances=[dict(ROWS[0], sensor=[[1, 2], 3])]),
        400,
        "lists of one length",
    ),
    "a list among numbers": (
        named("sensors", instances=[dict(ROWS[0], signal=[1, 2, 3, 4, [5]])]),
        400,
        "must hold numbers. Received: a list",
    ),
    "unequal rows": (
        named("sensors", inputs=dict(COLUMNS, tag=["foo"])),
        400,
        "equally many rows. Received: sensor 2, signal 2, tag 1",
    ),
    "missing input": (named("sensors", inputs={"tag": ["foo"]}), 400, "Missing: sensor, signal"),
    "unknown input": ({"instances": [{"x": 1, "z": 1}]}, 400, "Unknown: z"),
    "unknown input alone": ({"inputs": {"z": [1]}}, 400, "Missing: x"),
    "a name that is no Unicode": ('{"instances": [{"\\ud800": NaN}]}', 400, "Unknown: ?"),
    "a whole number that float32 has not": ({"inputs": {"x": [16777217]}}, 400, "tell apart"),
    "unnamed of several": (named("sensors", instances=[[1]]), 400, "must be named"),
    "objects and values": ({"instances": [{"x": 1}, 2]}, 400, "item 1"),
    "values and objects": ({"instances": [2, {"x": 1}]}, 400, "item 0"),
    "rows of different names": ({"instances": [{"x": 1}, {"y": 1}]}, 400, "item 1"),
    "a scalar input in rows": (
        named("scale", instances=[{"x": 1, "factor": 3}]),
        400,
        "nested in 0 lists",
    ),
    "a scalar output in rows": (named("total", instances=[1, 2]), 400, "ask in column format"),
    "a string for a number": ({"instances": ["1.0"]}, 400, "must hold numbers. Received: a string"),
    "null": ({"instances": [None]}, 400, "Received: null"),
    "a truth value for a number": ({"instances": [1.0, True]}, 400, "Received: a truth value"),
    "a fraction for an integer": (
        named("pick", instances=[1.0]),
        400,
        "whole numbers. Received: a fraction",
    ),
    "a number for a string": (named("echo", instances=[1]), 400, "must hold strings"),
    "beyond float32": ({"instances": [1e39]}, 400, "fit float32"),
    "beyond float64": ('{"instances": [' + "9" * 400 + "]}", 400, "infinity"),
    "beyond float64, NaN": ('{"instances": [NaN, ' + "9" * 400 + "]}", 400, "fit float32"),
    "beyond Python": ('{"instances": [NaN, ' + "9" * 5000 + "]}", 400, "must be JSON"),
    "beyond int32": (named("pick", instances=[2**31]), 400, "fit int32"),
    "beyond int64": (named("pick", instances=[2**63]), 400, "fit int32"),
    "beyond uint8": (
        named("types", instances=[{"flag": True, "small": -1, "large": 0}]),
        400,
        "fit uint8",
    ),
    "no base 64": (named("echo", instances=[{"b64": "a*b"}]), 400, "proper base 64"),
    "base 64 of a wrong type": (named("echo", inputs={"text": [{"b64": 1}]}), 400, "base 64"),
    "an answer that is no text": (
        named("echo", instances=[{"b64": "/w=="}]),
        400,
        "not text in UTF-8",
    ),
    "half a character": ('{"signature_name": "echo", "instances": ["\\ud800"]}', 400, "JSON"),
    "half a character beside NaN": (
        '{"signature_name": "echo", "a": NaN, "instances": ["\\ud800"]}',
        400,
        "UTF-8",
    ),
    "refused by the model": (named("pick", instances=[7]), 400, "label must be from 0 to 3."),
    "refused by an operation": (
        named("pick", instances=[-1]),
        400,
        "indices[0] = -1 is not in [0, 4)",
    ),
    "no picture": (named("decode", instances=[{"b64": "AAAA"}]), 400, "Unknown image file format"),
}


@pytest.mark.parametrize("case", ANSWERED)
def test_documented_requests(client, case):
    body, expected = ANSWERED[case]
    response = post(client, body)
    assert (response.status_code, response.json()) == (200, expected)
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests(client, case):
    body, status, message = REFUSED[case]
    response = post(client, body)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert message in response.json()["error"]
    assert "\n" not in response.json()["error"]


def test_nan_and_infinity(client):
    response = post(client, '{"instances": [1.0, NaN, Infinity, -Infinity, 0.2]}')
    assert response.status_code == 200
    assert response.text == '{"predictions":[3.5,NaN,Infinity,-Infinity,3.1]}'
    values = response.json()["predictions"]  # Python's own JSON reads them
    assert math.isnan(values[1])
    rows = [dict(row) for row in ROWS]
    rows[1] = dict(rows[1], signal=[math.nan] * 5)
    answer = post(client, named("sensors", instances=rows)).json()["predictions"]
    assert answer[0]["sums"] == 15.0
    assert math.isnan(answer[1]["sums"])


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/models/half", 404, "no model 'half'"),
        ("GET", "/v1/models/half/metadata", 404, "no model 'half'"),
        ("POST", "/v1/models/half:predict", 404, "no model 'half'"),
        ("GET", "/v1/models/tiny/versions/7", 404, "version 7"),
        ("POST", "/v1/models/tiny/versions/7:predict", 404, "version 7"),
        ("GET", "/v1/models/tiny/versions/7/metadata", 404, "version 7"),
        ("GET", f"/v1/models/tiny/versions/{'9' * 19}", 404, "version 9"),
        ("GET", f"/v1/models/tiny/versions/{'9' * 20}", 400, "Malformed request"),
        ("POST", "/v1/models/tiny/labels/canary:predict", 400, "label 'canary'"),
        ("POST", "/v1/models/tiny/labels/old:predict", 404, "version 1"),
        ("GET", "/v1/models/tiny/labels/canary", 400, "label 'canary'"),
        ("GET", "/v1/models/tiny/versions/x", 400, "Malformed request"),
        ("GET", "/v1/models/tiny/versions/-1", 400, "Malformed request"),
        ("GET", "/v1/models/tiny/versions/3/labels/stable", 400, "Malformed request"),
        ("GET", "/v1/models/tiny:predict", 400, "Malformed request"),
        ("POST", "/v1/models/tiny", 400, "Malformed request"),
        ("POST", "/v1/models/tiny/metadata", 400, "Malformed request"),
        ("POST", "/v1/models/tiny:explode", 400, "Malformed request"),
        ("POST", "/v1/models/tiny:classify", 501, "use predict"),
        ("POST", "/v1/models/tiny:regress", 501, "use predict"),
        ("PUT", "/v1/models/tiny:predict", 405, "Method Not Allowed"),
        ("GET", "/v2/models/tiny", 404, "Not Found"),
        ("GET", "/v1/models/tiny%00", 404, "no model"),
        ("GET", "/v1/models/..%2f..%2ftiny", 400, "Malformed request"),
        ("GET", "/page/", 404, "Not Found"),
    ],
)
def test_wrong_targets(client, method, path, status, message):
    content = '{"instances": [1.0]}' if method == "POST" else None
    response = client.request(method, path, content=content)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/..",
        "/v1/models/.",
        "/v1/models/../tiny",
        "/v1/models/../../../etc/passwd",
        "/v1/models/tiny/versions/../versions/3",
        "/v1/models/tiny/versions/..",
        "/v1/models//etc/passwd",
        "/v1/models/tiny/../../tiny",
        "/page/../rest.py",
        "/page/..",
        "/page//etc/passwd",
    ],
)
def test_no_path_leads_out_of_the_models(serving, path):
    # Straight to the application: clients resolve the dots themselves.
    status, answer = asgi.call(serving.app, "GET", path)
    assert status in (400, 404)
    assert list(json.loads(answer)) == ["error"]


@pytest.mark.parametrize("part", ["", "/versions/3", "/versions/0003", "/labels/stable"])
def test_versions_and_labels(client, part):
    predicted = post(client, {"instances": [1.0]}, f"/v1/models/tiny{part}:predict")
    assert predicted.json() == {"predictions": [3.5]}
    status = {
        "version": "3",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert client.get(f"/v1/models/tiny{part}").json() == {"model_version_status": [status]}
    spec = client.get(f"/v1/models/tiny{part}/metadata").json()["model_spec"]
    assert spec == {"name": "tiny", "signature_name": "", "version": "3"}


def test_metadata_is_the_protobuf_in_json(client):
    metadata = client.get("/v1/models/tiny/metadata").json()["metadata"]
    signature = metadata["signature_def"]["signature_def"]["sensors"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["signal"]["dtype"] == "DT_FLOAT"
    shape = {
        "dim": [{"size": "-1", "name": ""}, {"size": "5", "name": ""}],
        "unknown_rank": False,
    }
    assert signature["inputs"]["signal"]["tensor_shape"] == shape
    assert signature["outputs"]["tag"]["dtype"] == "DT_STRING"


def test_names_health_and_readiness(client):
    assert client.get("/v1/models").json() == {"models": ["tiny"]}
    assert client.get("/health").json() == {"status": "ok"}
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "problems": []})


def test_the_page_and_its_files(client):
    page = client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    found = set(re.findall(r'"/?(page/[^"]+)"', page.text))
    assert found
    for path in found:
        response = client.get(f"/{path}")
        assert response.status_code == 200
        assert response.content
        assert response.headers["x-content-type-options"] == "nosniff"
