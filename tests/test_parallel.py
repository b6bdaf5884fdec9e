"""Shards add up to the batch, threads change nothing, and memory is bounded. Processes: see test_ranks.py."""

import threading
import tracemalloc
from contextlib import nullcontext

import numpy
import pytest
from test_step import NETWORK, start

from stn_scratch.backend import to_host
from stn_scratch.network import Dense, Flatten, ReLU, Sequential
from stn_scratch.parameters import leaves
from stn_scratch.training import parallel
from stn_scratch.training.parallel import shard_size, sharded
from stn_scratch.training.step import gradient


@pytest.mark.parametrize("size", [1, 2, 4, 10, 11, 64, None])
@pytest.mark.parametrize("threads", [1, 3])
def test_shards_add_up(xp, threads, size):
    params, x, labels = start(xp)
    plain = gradient(NETWORK, params, x, labels)
    with sharded(threads=threads, size=size) as in_shards:
        result, part = in_shards(NETWORK, params, x, labels), in_shards(NETWORK, params, x, labels, share=0.25)
    for found, share in ((result, 1), (part, 0.25)):
        numpy.testing.assert_allclose(float(found.loss), share * float(plain.loss), rtol=1e-12)
        assert int(found.errors) == int(plain.errors)
        numpy.testing.assert_allclose(to_host(found.grads.flat), share * to_host(plain.grads.flat), rtol=1e-12,
                                      atol=1e-12)
    paths = [[(path, a.shape) for path, a in leaves(tree)] for tree in (params, plain.grads, result.grads)]
    assert paths[0] == paths[1] == paths[2]


def test_a_narrow_integer_is_a_number_of_threads():
    """The images of a round do not fit into it."""
    params, x, labels = start(numpy)
    with sharded(threads=numpy.uint8(4)) as in_shards, sharded(threads=4) as plain:
        assert in_shards(NETWORK, params, x, labels).loss == plain(NETWORK, params, x, labels).loss


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_threads_change_no_bit(xp, dtype, size):
    params, x, labels = start(xp, dtype=dtype)
    results = []
    for threads in (1, 3):
        with sharded(threads=threads, size=size) as in_shards:
            results.append(in_shards(NETWORK, params, x, labels))
    one, three = results
    assert one.grads.flat.dtype == dtype and float(one.loss) == float(three.loss)
    numpy.testing.assert_array_equal(to_host(one.grads.flat), to_host(three.grads.flat))


@pytest.mark.parametrize(("batch", "threads", "size"), [
    (256, 1, 128), (256, 2, 128),  # the same cut, and so the same bits
    (256, 4, 64), (256, 16, 16), (256, 3, 86), (200, 2, 100), (4096, 2, 128), (10, 4, 3), (3, 8, 1), (1, 1, 1)])
def test_shard_size_keeps_all_threads_busy(batch, threads, size):
    assert shard_size(batch, threads) == size
    shards = -(-batch // size)
    # all threads work in every round but for a batch too small for that, and no shard is too large
    assert shards % threads == 0 or shards < threads
    assert size <= parallel.LARGEST_SHARD


def test_all_cores_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 5, 7}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    seen = []
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", lambda threads: seen.append(threads) or nullcontext())
    with sharded(), sharded(threads=2):
        pass
    monkeypatch.delattr("os.sched_getaffinity")
    with sharded():
        pass
    assert seen == [3, 2, 5]


@pytest.mark.parametrize("name, value", [("threads", 0), ("threads", -1), ("threads", 1.5), ("size", 0), ("size", -3)])
def test_bad_threads_and_size(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a positive whole number, not {value}$"):
        with sharded(**{name: value}):
            pass


class Breaks:
    """A network that fails on the shard that holds a marked image."""

    def forward(self, params, x):
        if float(x.max()) > 100:
            raise RuntimeError("this shard breaks")
        return NETWORK.forward(params, x)

    backward = staticmethod(NETWORK.backward)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("image", [0, 5, 10])
def test_an_exception_in_a_shard_reaches_the_caller(xp, threads, image):
    params, x, labels = start(xp)
    marked = x.copy()
    marked[image] = 1000
    with sharded(threads=threads, size=3) as in_shards:
        with pytest.raises(RuntimeError, match="^this shard breaks$"):
            in_shards(Breaks(), params, marked, labels)
        in_shards(Breaks(), params, x, labels)  # and the threads live on


@pytest.mark.parametrize("images, labels, sentence", [
    (0, 0, "logits must have at least one row"), (8, 11, "labels must have shape"), (11, 8, "labels must have shape"),
])
def test_the_same_batches_are_refused_with_and_without_shards(images, labels, sentence):
    params, x, classes = start(numpy)
    with sharded(threads=2, size=4) as in_shards:
        for one in (in_shards, gradient):
            with pytest.raises(ValueError, match=sentence):
                one(NETWORK, params, x[:images], classes[:labels])


class Counts:
    """A network that knows the most shards that were ever inside it at once."""

    def __init__(self):
        self.inside, self.most, self.lock = 0, 0, threading.Lock()

    def forward(self, params, x):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        return NETWORK.forward(params, x)

    def backward(self, dy, cache, **options):
        grads = NETWORK.backward(dy, cache, **options)
        with self.lock:
            self.inside -= 1
        return grads


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_shards_at_once_than_threads(threads):
    params, x, labels = start(numpy)
    network = Counts()
    with sharded(threads=threads, size=1) as in_shards:
        in_shards(network, params, x, labels)
    assert 1 <= network.most <= threads and network.inside == 0


def peak_bytes(network, params, batch, **options):
    """The most that one gradient of so many images allocates beside the batch, in bytes."""
    x, labels = numpy.ones((batch, 8, 8, 1)), numpy.zeros(batch, int)
    with sharded(**options) as in_shards:
        in_shards(network, params, x[:1], labels[:1])
        tracemalloc.start()
        try:
            in_shards(network, params, x, labels)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("units", [4, 512])
def test_memory_grows_with_shards_and_threads_not_with_the_batch(units):
    """A batch of 4096 takes what one of 512 does, where activations are most of it and where gradients are."""
    network = Sequential(Flatten(), Dense(units), ReLU(), Dense(4))
    params, _ = network.init(numpy.random.default_rng(0), (8, 8, 1))
    small, large = (peak_bytes(network, params, batch, threads=1, size=32) for batch in (512, 4096))
    # up to two more gradients, as the threads happen to meet
    assert large < small + 2 * params.flat.nbytes + 20_000
    # the allocations are seen: of one large shard's activations there is `units` numbers an image at least
    assert peak_bytes(network, params, 4096, threads=1, size=4096) > 4096 * units * 8 + 10 * large
