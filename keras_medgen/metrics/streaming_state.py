"""What streaming metrics keep of the rows that they are given."""

import tensorflow as tf


class Moments:
    """Number, mean and centred products of rows.

    Args:
        metric: the keras.metrics.Metric whose variables hold them.
        name: of what the rows are.
        shape: of a row, (d,).
    """

    def __init__(self, metric, name, shape):
        self.name = name
        self.shape = shape
        self.count, self.mean, self.products = (
            metric.add_variable(shape, "zeros", dtype="float64", name=f"{name}_{part}")
            for part, shape in (("count", ()), ("mean", shape), ("products", 2 * shape))
        )

    def add(self, batch):
        """Takes rows in, by the merge of Chan, Golub and LeVeque (1979), which loses no digits."""
        batch = checked(batch, self.name, self.shape)
        rows = tf.cast(tf.shape(batch)[0], tf.float64)
        mean = tf.math.divide_no_nan(tf.reduce_sum(batch, axis=0), rows)
        centred = batch - mean
        count = tf.convert_to_tensor(self.count)
        share = tf.math.divide_no_nan(rows, count + rows)
        step = (mean - self.mean)[:, None]
        products = tf.matmul(centred, centred, transpose_a=True)
        products += count * share * tf.matmul(step, step, transpose_b=True)
        self.products.assign_add(products)
        self.mean.assign_add(share * step[:, 0])
        self.count.assign_add(rows)

    def values(self):
        """Number, mean and centred products: tensors float64 (), (d,), (d, d)."""
        return [tf.convert_to_tensor(x) for x in (self.count, self.mean, self.products)]


class Rows:
    """Rows as they came, up to a capacity.

    Args:
        metric: the keras.metrics.Metric whose variables hold them.
        name: of what the rows are.
        shape: of a row.
        capacity: how many there is room for, at least 2.
        dtype: that they are kept in.
    """

    def __init__(self, metric, name, shape, capacity, dtype="float64"):
        if capacity < 2:
            raise ValueError(f"capacity must be at least 2. Received: capacity={capacity}.")
        self.name = name
        self.shape = shape
        self.capacity = capacity
        self.rows = metric.add_variable((capacity, *shape), "zeros", dtype=dtype, name=name)
        self.count = metric.add_variable((), "zeros", dtype="int32", name=f"{name}_count")

    def add(self, batch):
        """Takes rows in.

        Raises:
            tf.errors.InvalidArgumentError: if they are more than there is room for.
        """
        batch = checked(batch, self.name, self.shape, self.rows.dtype)
        start = tf.convert_to_tensor(self.count)
        stop = start + tf.shape(batch)[0]
        room = tf.debugging.assert_less_equal(
            stop,
            self.capacity,
            f"{self.name} must be no more than capacity={self.capacity} rows in all; give a larger "
            "capacity, or fewer rows.",
        )
        with tf.control_dependencies([room] if room is not None else []):
            self.rows.value.scatter_nd_update(tf.range(start, stop)[:, None], batch)
            self.count.assign(stop)

    def values(self):
        """A list of one tensor: all rows that were taken in."""
        return [self.rows.value[: tf.convert_to_tensor(self.count)]]


def checked(batch, name, shape, dtype="float64"):
    """A batch of rows as a tensor (n, *shape) of that type.

    Raises:
        ValueError: for another shape, or in a step of several replicas, whose sums of such states
            would mean nothing.
    """
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        raise ValueError(
            "metrics of whole sets must be updated outside of a step of several replicas. "
            f"Received: {context.num_replicas_in_sync} replicas."
        )
    batch = tf.convert_to_tensor(batch)
    if not batch.shape.is_compatible_with((None, *shape)):
        wanted = ", ".join(["n", *map(str, shape)])
        raise ValueError(f"{name} must be of shape ({wanted}). Received: shape {batch.shape}.")
    return tf.cast(batch, dtype)
