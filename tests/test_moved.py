"""The task "moved": each pixel against Eq. (5), and its batches."""

import numpy as np

from stn_scratch import paper
from stn_scratch.backend import to_host
from stn_scratch.data import load_digits
from stn_scratch.data.moved import draw_moved
from stn_scratch.data.tasks import TASKS
from stn_scratch.training import batches


def drawn(xp, seed=0, count=64):
    digits = load_digits(source="embedded")
    x, labels = draw_moved(np.random.default_rng(seed), xp.asarray(digits.train_images[:count, None]),
                           xp.asarray(digits.train_labels[:count, None]))
    return to_host(x), to_host(labels), digits


def test_where_each_pixel_is_read(xp):
    """Eq. (5), pixel by pixel, at the place that undoes scale and move."""
    x, labels, digits = drawn(xp, count=12)
    np.testing.assert_array_equal(labels, digits.train_labels[:12])
    # the draws again, in their order
    rng = np.random.default_rng(0)
    (at_x, at_y), scale = 13.5 + rng.uniform(-5, 5, (2, 12)), rng.uniform(0.5, 1.3, 12)
    rows, columns = np.broadcast_to(np.mgrid[:28, :28][:, None], (2, 12, 28, 28))
    x_p, y_p = ((k - at[:, None, None]) / scale[:, None, None] + 13.5 for k, at in ((columns, at_x), (rows, at_y)))
    expected = paper.sample(digits.train_images[:12].astype("float64"), x_p, y_p)
    assert x.dtype == np.float32 and x.max() > 0.9
    np.testing.assert_allclose(x, expected, atol=1e-5)


def test_a_seed_gives_the_same_images(xp):
    np.testing.assert_allclose(drawn(xp)[0], drawn(np)[0], atol=1e-6)
    assert (drawn(np, seed=1)[0] != drawn(np)[0]).any(axis=(1, 2, 3)).all()


def test_batches_of_the_task():
    digits = load_digits(source="embedded")
    split = batches.splits(digits, "moved", validation=0.1, device="cpu")[batches.VALIDATION]
    x, labels = batches.fixed_set(split, "moved", seed=0, purpose=batches.VALIDATION)
    assert x.shape == (400, *TASKS["moved"].in_shape)
    np.testing.assert_array_equal(labels, digits.train_labels[-400:])
