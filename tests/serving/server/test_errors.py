import pytest
import tensorflow as tf

from keras_medgen.serving.server.errors import ServingError, from_tensorflow

# As TensorFlow writes them.
MESSAGES = {
    "in a graph": (
        "Graph execution error:\n\nDetected at node Assert/Assert defined at (most recent call "
        "last):\n<stack traces unavailable>\nassertion failed: [label must be in [0, 4).] "
        "[Condition x < y did not hold element-wise:] [x (label:0) = ] [7] \n\t "
        "[[{{node Assert/Assert}}]] [Op:__inference_signature_wrapper_417]",
        "label must be in [0, 4).",
    ),
    "of several": (
        "Graph execution error:\n\nDetected at node 'a' defined at (most recent call last):\n"
        '    File "/home/somebody/model.py", line 3, in call\n'
        "2 root error(s) found.\n  (0) INVALID_ARGUMENT: bad picture\n\t [[{{node a}}]]\n"
        "  (1) CANCELLED: gone\n0 successful operations.",
        "bad picture",
    ),
    "eager": ("{{function_node x}} indices[0] = 9 is not in [0, 4) [Op:GatherV2]", None),
    "plain": ("bad picture", "bad picture"),
    "empty": ("", "The model could not be run on this request."),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_tensorflows_message_becomes_a_sentence(case):
    message, sentence = MESSAGES[case]
    error = from_tensorflow(tf.errors.InvalidArgumentError(None, None, message))
    assert error.code == "INVALID_ARGUMENT"
    assert error.message == (sentence or "indices[0] = 9 is not in [0, 4)")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (tf.errors.CancelledError, "CANCELLED"),
        (tf.errors.DeadlineExceededError, "DEADLINE_EXCEEDED"),
        (tf.errors.NotFoundError, "NOT_FOUND"),
        (tf.errors.ResourceExhaustedError, "RESOURCE_EXHAUSTED"),
        (tf.errors.FailedPreconditionError, "FAILED_PRECONDITION"),
        (tf.errors.OutOfRangeError, "OUT_OF_RANGE"),
        (tf.errors.UnimplementedError, "UNIMPLEMENTED"),
        (tf.errors.InternalError, "INTERNAL"),
        (tf.errors.DataLossError, "DATA_LOSS"),
        (tf.errors.UnauthenticatedError, "UNAUTHENTICATED"),
    ],
)
def test_the_codes_are_tensorflows(kind, code):
    assert from_tensorflow(kind(None, None, "x")).code == code


def test_the_statuses_are_tf_servings():
    assert ServingError("FAILED_PRECONDITION", "x").http_status == 400
    assert ServingError("RESOURCE_EXHAUSTED", "x").http_status == 429
    assert ServingError("RESOURCE_EXHAUSTED", "x", http_status=413).http_status == 413
