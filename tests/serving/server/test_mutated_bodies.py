import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.server.test_rest import ANSWERED, PREDICT

GOOD = [json.dumps(body) for body, _ in ANSWERED.values()]
PIECES = [
    "NaN",
    "-Infinity",
    "null",
    "[]",
    "{}",
    "[[",
    '{"b64": "',
    "true",
    "1e999",
    "\\u0000",
    '"',
]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 12),
        st.one_of(st.sampled_from(PIECES).map(str.encode), st.binary(max_size=3)),
    ),
    min_size=1,
    max_size=4,
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.just({"b64": "AAAA"}),
)
VALUES = st.recursive(
    SCALARS,
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(st.sampled_from(["x", "tag", "b64", "label", "factor"]), children),
    ),
    max_leaves=8,
)
QUICK = settings(
    max_examples=600,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def status_of(client, body):
    """No crash, which the client would raise, and no 5xx: an answer, or an error in its form."""
    response = client.post(PREDICT, content=body)
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        (message,) = response.json().values()
        assert message
        assert len(message) < 1000
    return response.status_code


def test_bytes_cut_out_and_put_in(client):
    statuses = set()

    @QUICK
    @given(st.sampled_from(GOOD), EDITS)
    def mutate(body, edits):
        body = body.encode()
        for place, length, inserted in edits:
            start = int(place * len(body))
            body = body[:start] + inserted + body[start + length :]
        statuses.add(status_of(client, body))

    mutate()
    assert statuses == {200, 400}  # it changed what matters, and not only that
    assert client.post(PREDICT, content=GOOD[0]).json() == {"predictions": [3.5, 4.0, 5.5]}


def test_values_of_other_kinds_and_shapes(client):
    statuses = set()

    @QUICK
    @given(
        st.sampled_from(GOOD), st.sampled_from(["instances", "inputs", "signature_name"]), VALUES
    )
    def mutate(body, key, value):
        document = json.loads(body)
        document[key] = value
        if key != "signature_name":
            document.pop({"instances": "inputs", "inputs": "instances"}[key], None)
        statuses.add(status_of(client, json.dumps(document)))

    mutate()
    assert statuses == {200, 400}
    assert client.post(PREDICT, content=GOOD[0]).json() == {"predictions": [3.5, 4.0, 5.5]}
