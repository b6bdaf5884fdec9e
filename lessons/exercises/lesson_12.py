"""Lesson 12, more than one."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import Dense, compose_theta_forward
from stn_scratch.layers import triplet_hinge_backward, triplet_hinge_forward
from stn_scratch.network import Shared


def _compose(theta_1, theta_2):
    return compose_theta_forward(theta_1, theta_2)[0]


def _other_order(theta_1, theta_2):
    return _compose(theta_2, theta_1)


def _translations_added(theta_1, theta_2):
    theta = _compose(theta_1, theta_2)
    theta[:, :, 2] = theta_1[:, :, 2] + theta_2[:, :, 2]
    return theta


def _first_translation_lost(theta_1, theta_2):
    return _compose(theta_1 * [1, 1, 0], theta_2)


def _entry_by_entry(theta_1, theta_2):
    return theta_1 * theta_2


def _thetas():
    return (np.array([[[0.8, -0.3, 0.2], [0.5, 1.1, -0.4]], [[1.0, 0.2, -0.1], [-0.6, 0.7, 0.3]]]),
            np.array([[[0.5, 0.1, 0.3], [0.0, 0.6, -0.2]], [[0.9, -0.4, 0.5], [0.4, 0.9, 0.1]]]))



def _shared_gradient(W, dy, x):
    """The network y = x W is the linear part of the package's Dense, shared over the second axis of x."""
    net = Shared(Dense(W.shape[1]))
    _, cache = net.forward({"W": W, "b": np.zeros(W.shape[1])}, x)
    dx, grads = net.backward(dy, cache)
    return dx, grads["W"]


def _averaged(W, dy, x):
    dx, dW = _shared_gradient(W, dy, x)
    return dx, dW / x.shape[1]


def _last_image_only(W, dy, x):
    dx, _ = _shared_gradient(W, dy, x)
    return dx, _shared_gradient(W, dy[:, -1:], x[:, -1:])[1]


def _images_added_first(W, dy, x):
    dx, _ = _shared_gradient(W, dy, x)
    return dx, _shared_gradient(W, dy.sum(axis=1, keepdims=True), x.sum(axis=1, keepdims=True))[1]


def _triplet(e_n, e_m, e_rand, alpha):
    """The terms of Eq. (8), and the gradient of their sum for e_n and e_m."""
    loss, cache = triplet_hinge_forward(e_n, e_m, e_rand, alpha=alpha)
    de_n, de_m, _ = triplet_hinge_backward(np.ones_like(loss), cache, need_de_rand=False)
    return loss, de_n, de_m


def _always_active(e_n, e_m, e_rand, alpha):
    loss, _, _ = _triplet(e_n, e_m, e_rand, alpha)
    return loss, *_triplet(e_n, e_m, e_rand, 1e9)[1:]


def _one_distance_only(e_n, e_m, e_rand, alpha):
    loss, _, de_m = _triplet(e_n, e_m, e_rand, alpha)
    return loss, -de_m, de_m


def _partner_forgotten(e_n, e_m, e_rand, alpha):
    loss, de_n, de_m = _triplet(e_n, e_m, e_rand, alpha)
    return loss, de_n, 0 * de_m


def _partner_turned_round(e_n, e_m, e_rand, alpha):
    loss, de_n, de_m = _triplet(e_n, e_m, e_rand, alpha)
    return loss, de_n, -de_m


def _not_squared(e_n, e_m, e_rand, alpha):
    near, far = e_n - e_m, e_n - e_rand
    lengths = [np.sqrt((v ** 2).sum(axis=1, keepdims=True)) for v in (near, far)]
    margin = (lengths[0] - lengths[1])[:, 0] + alpha
    active = (margin > 0)[:, None]
    return np.maximum(0, margin), (near / lengths[0] - far / lengths[1]) * active, -near / lengths[0] * active


def _factor_forgotten(e_n, e_m, e_rand, alpha):
    loss, de_n, de_m = _triplet(e_n, e_m, e_rand, alpha)
    return loss, de_n / 2, de_m / 2


def _triplets():
    rng = np.random.default_rng(12)
    return [(*rng.normal(size=(3, 6, 4)), 1.0), (*rng.normal(size=(3, 3, 2)), 0.25)]


def _shared_case():
    rng = np.random.default_rng(12)
    return [(rng.normal(size=(3, 2)), rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 5, 3)))]


EXERCISES = {
    "12.1": Exercise(_compose, lambda: [_thetas()], ("theta",), (
        Mistake(_other_order, "the order. The output of the second is filled by reading V_1 at theta_2's points; where "
                              "was V_1 itself read there? So which matrix meets (x_t, y_t, 1) first?"),
        Mistake(_translations_added, "the 2x2 parts are right. The second translation is a point in V_1: the first "
                                     "matrix turns and scales it, too."),
        Mistake(_first_translation_lost, "the first translation is lost: what does the third row (0, 0, 1) do to it?"),
        Mistake(_entry_by_entry, "that multiplies entry by entry. Is it what two maps, one after the other, do?"))),
    "12.2": Exercise(_shared_gradient, _shared_case, ("dx", "dW"), (
        Mistake(_averaged, "dW is the mean over the n images. W was used n times: what does the chain rule do with n "
                           "paths that lead to one number?"),
        Mistake(_last_image_only, "dW holds what the last image asks for alone: was each image's share added, or put "
                                  "in place of the one before?"),
        Mistake(_images_added_first, "you added the images before the product, so each image meets the others' dy. "
                                     "Which dy belongs to which x?"))),
    "12.3": Exercise(_triplet, _triplets, ("loss", "de_n", "de_m"), (
        Mistake(_always_active, "the loss is right. Where it is 0 a small step changes nothing: what is the gradient "
                                "there?"),
        Mistake(_one_distance_only, "de_n knows the distance to e_m only. In which other distance does e_n stand?"),
        Mistake(_partner_forgotten, "de_m is 0. Image m went through the localiser, too: may it not move?"),
        Mistake(_partner_turned_round, "the sign of de_m: downhill, is e_m to move towards e_n or away from it?"),
        Mistake(_not_squared, "Eq. (8) has the squared distances, yours are not squared."),
        Mistake(_factor_forgotten, "the gradients are half as large as they should be: the derivative of a "
                                   "square?"))),
}
