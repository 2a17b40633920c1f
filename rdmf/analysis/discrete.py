"""The map that the network runs: its Jacobian, its multipliers, and how large a step may be.

One step multiplies a small wave mu around a homogeneous state by the eigenvalues of a 2 x 2 matrix: the state attracts
that wave iff both are inside the unit circle. With J the system's Jacobian and d = eta diag(D_a, D_s):

- `euler`: 1 + eta J - mu d, of eigenvalues 1 + eta lambda. The step is too large where |1 + eta lambda| > 1 although
  Re lambda < 0: beyond eta = -2 Re lambda / |lambda|^2.
- `split` diffuses, then reacts: M (1 - mu d) with M the Jacobian of its reaction,
      a+ = a + s (1 - w) - eta c a,   s+ = s w + eta F (1 - s),   w = 1 / (1 + eta a^2),   c = F + k.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdmf.analysis.matrices import stack
from rdmf.analysis.stability import jacobian

Floats = NDArray[np.float64]


def implicit(step: float, integrator: str) -> float:
    """What `rdmf.analysis.equilibria` needs to find the states at which the map rests."""
    return step if integrator == "split" else 0.0


def step_jacobian(
    a: ArrayLike, s: ArrayLike, feed: ArrayLike, kill: ArrayLike, *, step: float, integrator: str
) -> Floats:
    """d(a+, s+) / d(a, s) of one step of the reaction at any (a, s), (..., 2, 2)."""
    x, y, f, k = (np.asarray(v, dtype=np.float64) for v in (a, s, feed, kill))
    if integrator == "euler":
        return np.eye(2) + step * jacobian(x, y, f, k)
    w = 1 / (1 + step * x**2)
    made = 2 * step * x * y * w**2  # what more substrate is consumed for more activator
    return stack(1 - step * (f + k) + made, step * x**2 * w, -made, w - step * f)


def mode_map(reaction: Floats, alpha: ArrayLike, sigma: ArrayLike, integrator: str) -> Floats:
    """The matrix by which a step multiplies a wave, from `step_jacobian`, alpha = mu eta D_a and sigma = mu eta D_s."""
    x, y = np.asarray(alpha, dtype=np.float64), np.asarray(sigma, dtype=np.float64)
    if integrator == "euler":
        return reaction - stack(x, np.zeros_like(x), np.zeros_like(y), y)
    return reaction * np.stack((1 - x, 1 - y), -1)[..., None, :]


def euler_step_limit(eigenvalues: NDArray[np.complex128]) -> Floats:
    """The largest eta with |1 + eta lambda| <= 1 for all eigenvalues (..., n) of J - mu D: (...).

    0 where some eigenvalue does not decay, for then no step makes it.
    """
    decay = -eigenvalues.real
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.where(decay > 0, 2 * decay / np.abs(eigenvalues) ** 2, 0.0)
    return np.asarray(np.where(np.isnan(eigenvalues.real), np.nan, limit).min(-1))


def positive_step_limit(
    feed: ArrayLike, kill: ArrayLike, activator: ArrayLike, substrate: ArrayLike, peak: ArrayLike = 1.0
) -> Floats:
    """The largest eta for which one Euler step keeps a >= 0 and s in [0, 1] from *any* a in [0, peak], s in [0, 1].

    min(1 / (2 D_a + F + k), 1 / (2 D_s + max(peak^2, F))), D per unit of time. Beyond it a clip that is full between
    empty neighbours is overdrawn. (Between two clips, or in a video of one, less diffuses and the limit is wider.)
    """
    f, k, d_a, d_s = (np.asarray(v, dtype=np.float64) for v in (feed, kill, activator, substrate))
    return np.minimum(1 / (2 * d_a + f + k), 1 / (2 * d_s + np.maximum(np.asarray(peak) ** 2, f)))


def certain_step(
    feed: ArrayLike, kill: ArrayLike, activator: ArrayLike, substrate: ArrayLike, *, steps: int
) -> tuple[Floats, Floats]:
    """The largest eta for which `steps` Euler steps from fields in [0, 1] are sure to keep a >= 0 and s in [0, 1].

    While they do, one step cannot take the peak of a above peak (1 + eta (peak - F - k)); the limit of the next step
    follows from that. Found by bisection.

    Returns:
        eta, and the peak of a that the last step cannot pass.
    """
    f, k, d_a, d_s = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (feed, kill, activator, substrate)))
    low, high = np.zeros(f.shape), positive_step_limit(f, k, d_a, d_s)
    for _ in range(30):
        middle = (low + high) / 2
        fine = np.isfinite(_peak(f, k, d_a, d_s, middle, steps))
        low, high = np.where(fine, middle, low), np.where(fine, high, middle)
    return low, _peak(f, k, d_a, d_s, low, steps)


def _peak(f: Floats, k: Floats, d_a: Floats, d_s: Floats, eta: Floats, steps: int) -> Floats:
    """The bound on a after so many steps, NaN where a step before may be too large."""
    peak = np.ones_like(f)
    for _ in range(steps):
        peak = np.where(eta <= positive_step_limit(f, k, d_a, d_s, peak), peak, np.nan)
        peak = np.maximum(peak * (1 + eta * (peak - f - k)), peak * (1 - eta * (f + k)))
    return peak


def efolding_steps(radius: ArrayLike) -> Floats:
    """Steps until a deviation has fallen (or, where the radius is above 1, has grown) e-fold; infinite at 1."""
    with np.errstate(divide="ignore"):
        return 1 / np.abs(np.log(np.asarray(radius, dtype=np.float64)))
