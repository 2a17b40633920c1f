"""Kinetics that cannot leave the stable set: a smooth map from the plane onto pairs (F, k) whose upper state attracts.

**The set.** Write c = F + k. A state with a > 0 rests where a s = c and F (1 - s) = c a, that is c a^2 - F a + F c =
0: two roots, the upper one and the lower one (a saddle), whose product is F. Let p in (0, 1) be lower root / upper
root and a the upper one. Then F = p a^2 and, from the roots' sum F / c, c = p a / (1 + p): (p, a) determines (F, k)
and is determined by it. In these coordinates

    the fold F = 4 c^2                   is  p = 1,
    the determinant c (a^2 - F)          is  c a^2 (1 - p), positive for every p < 1,
    the trace k - a^2 is negative        iff a > p / (1 + p)^2   (put k = c - F; divide by a),
    k is positive                        iff a < 1 / (1 + p).

So the pairs with a stable upper state are those of p in (0, 1) and a = (p + q) / (1 + p)^2 with q in (0, 1), and no
others: with a sigmoid for p and one for q the map is smooth, one to one and onto. In the set F < 1/4 and k <= 1/16.

**The steps that the network takes** have conditions of their own. By Jury's criterion both multipliers of the Jacobian
M of one step (`rdmf.analysis.discrete`) lie inside the unit circle iff

    1 - tr M + det M > 0,   1 + tr M + det M > 0,   det M < 1.

- Euler rests where the system rests, M = 1 + eta J. The first says det J > 0; the second holds for eta <= 2, since
  tr J > -1; the third says eta det J < -tr J, in p and q: q > K (p + q)^2 with K = eta p (1 - p) / (1 + p)^4. Of the
  roots of this quadratic the larger lies above 1: q is taken between the smaller one and 1.
- The split step rests where a s = c (1 + eta a^2), which is the equation above with E = F / (1 + eta F) in place of F.
  So now p a^2 = E, F = E / (1 - eta E), again c = p a / (1 + p), and k > 0 iff eta p a^2 + (1 + p) a < 1. The first
  condition says p < 1; the second always holds, eta c and eta F being below 1/2; the third says
  (a^2 + F - c) + eta F (c + a^2 (1 - eta c)) > 0, and holds for a > p / (1 + p)^2, where a^2 + F > a^2 + E > c. The
  system itself is stable there too, for its own upper state lies above the step's.

**Turing.** At such a state wave mu grows iff a quadratic in mu is negative whose leading coefficient is positive: if it
is so at both ends of an interval, then also inside. The coefficients of diffusion are kept where it is negative at
mu = 2 and mu = 3, wavelengths of 4 and 3 clips; between these every video of six clips or more has a mode. (In channel
group g of several time scales: wavelengths 2^g times as long, videos of 6 * 2^g clips.)

The margins below keep what the algebra cannot cross from being crossed by rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rdmf.sections import FusionConfig

#: Limits of p: how near the lower state is to the upper (1: the fold).
NEARNESS = (0.01, 0.95)
#: Limits of how far the upper state lies from the least (0: loss of stability) to the greatest (1: k = 0) that p
#: allows.
DEPTH = (0.05, 0.98)
#: Settings outside the set start training this share of the way in.
INSIDE = 0.1
#: Under turing: how far D_s lies from its least value to its limit, and which share D_a is of its greatest.
SUBSTRATE_SHARE, ACTIVATOR_SHARE = (0.05, 0.98), (0.02, 0.9)
#: Under turing: the upper state stays below this share of where no allowed D_s would let a wave grow.
ROOM = 0.9
#: Under turing these mu and all between them grow: 4 sin^2(pi / wavelength) of 4 and of 3 clips.
GROWING = (2.0, 3.0)


def between(raw: Tensor, limits: tuple[float, float]) -> Tensor:
    """Any real number to one between the limits, which a saturated sigmoid reaches."""
    return limits[0] + (limits[1] - limits[0]) * torch.sigmoid(raw)


def raw_between(value: float, limits: tuple[float, float]) -> float:
    """The number that `between` turns into `value`; one at or beyond a limit is taken INSIDE it.

    At the limits themselves a sigmoid has no slope, and training could not leave the place where it starts.
    """
    share = (value - limits[0]) / (limits[1] - limits[0])
    if not 1e-3 < share < 1 - 1e-3:
        share = INSIDE if share < 0.5 else 1 - INSIDE
    return math.log(share / (1 - share))


@dataclass(frozen=True)
class StableSet:
    """The set for one way of taking steps. All tensors broadcast against each other.

    Attributes:
        step: eta, at most 2. integrator: "euler" or "split". turing: whether waves are to grow.
        limit: of eta * D, at most 1/4.
    """

    step: float
    integrator: str
    turing: bool
    limit: float

    @staticmethod
    def of(config: FusionConfig, limit: float) -> StableSet:
        """The set that `fusion.kinetics` asks for."""
        return StableSet(config.step_size, config.integrator, config.kinetics == "turing", limit)

    def kinetics(self, raw_feed: Tensor, raw_kill: Tensor) -> tuple[Tensor, Tensor]:
        """Any two real numbers to (F, k) inside the set."""
        return self.at(between(raw_feed, NEARNESS), between(raw_kill, DEPTH))

    def at(self, p: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """(F, k) at the coordinates p in (0, 1) and depth in (0, 1)."""
        least, greatest = self.states(p)
        a = least + (greatest - least) * depth
        effective = p * a**2  # E, which for Euler is F
        feed = effective / (1 - self.step * effective) if self.integrator == "split" else effective
        return feed, p * a / (1 + p) - feed

    def states(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest upper state `a` of a given p: between them it attracts and k > 0."""
        step = self.step
        if self.integrator == "euler":
            crowding = step * p * (1 - p) / (1 + p) ** 4
            q = 2 * crowding * p**2 / (1 - 2 * crowding * p + torch.sqrt(1 - 4 * crowding * p))
            least, greatest = (p + q) / (1 + p) ** 2, 1 / (1 + p)
            room = 1 / (2 * step * (1 - p))
        else:
            least, greatest = p / (1 + p) ** 2, 2 / (1 + p + torch.sqrt((1 + p) ** 2 + 4 * step * p))
            room = 1 / (step * (1 + torch.sqrt(1 - p)))
        return least, torch.minimum(greatest, ROOM * torch.sqrt(room)) if self.turing else greatest

    def coordinates(self, feed: float, kill: float) -> tuple[float, float]:
        """(p, depth) of a pair inside the set; else of the one with the same F and the nearest k that is well INSIDE.

        An F for which there is no such k is brought inside too.
        """
        effective = feed / (1 + self.step * feed) if self.integrator == "split" else feed

        def depth(p: float) -> float:
            least, greatest = (float(a) for a in self.states(torch.tensor(p, dtype=torch.float64)))
            return (math.sqrt(effective / p) - least) / (greatest - least)

        apart = math.sqrt(max(1 - 4 * (feed + kill) ** 2 / effective, 0.0))
        p = min(max((1 - apart) / (1 + apart), NEARNESS[0]), NEARNESS[1])
        if not DEPTH[0] <= depth(p) <= DEPTH[1]:
            share = INSIDE if depth(p) < DEPTH[0] else 1 - INSIDE
            wanted = DEPTH[0] + share * (DEPTH[1] - DEPTH[0])
            low, high = NEARNESS
            for _ in range(60):  # at one F the depth falls as p rises
                p = (low + high) / 2
                low, high = (p, high) if depth(p) > wanted else (low, p)
        return p, min(max(depth(p), DEPTH[0]), DEPTH[1])

    def diffusion(
        self, raw_activator: Tensor, raw_substrate: Tensor, feed: Tensor, kill: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Any two real numbers to (eta * D_a, eta * D_s) with which all waves of GROWING grow at (F, k) of the set."""
        parts = self._parts(feed, kill)
        least = self._least_substrate(parts)
        substrate = least + (self.limit - least) * between(raw_substrate, SUBSTRATE_SHARE)
        return self._greatest_activator(substrate, parts) * between(raw_activator, ACTIVATOR_SHARE), substrate

    def start(self, config: FusionConfig, raw: Tensor) -> Tensor:
        """The (4,) parameters (video, text, feed, kill) of the settings' coefficients, or of the nearest inside.

        Args:
            raw: the parameters without the constraint; under stable the two of diffusion stay as they are.
        """
        p, depth = self.coordinates(config.feed, config.kill)
        video, text = raw[0].item(), raw[1].item()
        if self.turing:
            feed, kill = self.at(torch.tensor(p, dtype=torch.float64), torch.tensor(depth, dtype=torch.float64))
            parts = self._parts(feed, kill)
            d_video, d_text = self.step * config.d_video, self.step * config.d_text
            d_a, d_s = (d_video, d_text) if config.video == "activator" else (d_text, d_video)
            least = float(self._least_substrate(parts))
            raw_s = raw_between((d_s - least) / (self.limit - least), SUBSTRATE_SHARE)
            share = between(torch.tensor(raw_s, dtype=torch.float64), SUBSTRATE_SHARE)
            raw_a = raw_between(
                d_a / float(self._greatest_activator(least + (self.limit - least) * share, parts)), ACTIVATOR_SHARE
            )
            video, text = (raw_a, raw_s) if config.video == "activator" else (raw_s, raw_a)
        return torch.tensor([video, text, raw_between(p, NEARNESS), raw_between(depth, DEPTH)])

    def _parts(self, feed: Tensor, kill: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(g, n, x): M at the upper state is [[1 + g, *], [*, 1 - n]], and x = -M12 M21."""
        c, step = feed + kill, self.step
        effective = feed / (1 + step * feed) if self.integrator == "split" else feed
        a = effective * (1 + torch.sqrt(1 - 4 * c**2 / effective)) / (2 * c)
        reach = step * a**2
        if self.integrator == "euler":
            return step * c, reach + step * feed, 2 * step * c * reach
        kept = 1 / (1 + reach)  # 1 - kept is written as reach * kept, which loses no digits for a small step
        return step * c * (2 * kept - 1), reach * kept + step * feed, 2 * step * c * kept * reach * kept

    def _least_substrate(self, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The eta * D_s above which, with D_a small enough, the longest wave of GROWING grows, and so the others."""
        g, n, x = parts
        if self.integrator == "euler":
            return (x / g - n) / GROWING[0]
        at_rest = x - g * n  # 1 - tr M + det M
        return at_rest / (g + at_rest) / GROWING[0]

    def _greatest_activator(self, substrate: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The eta * D_a below which both ends of GROWING grow, for a given eta * D_s; at most the limit."""
        g, n, x = parts
        bounds = [torch.full_like(substrate, self.limit)]
        for mu in GROWING:
            sigma = mu * substrate
            if self.integrator == "euler":  # (mu D_a - g) (sigma + n) + x < 0
                bounds.append((g - x / (sigma + n)) / mu)
            else:  # (mu D_a (1 + g) - g) (n + sigma - n sigma) + x (1 - mu D_a) (1 - sigma) < 0
                v, y = n + sigma - n * sigma, x * (1 - sigma)
                bounds.append((g * v - y) / ((1 + g) * v - y) / mu)
        return torch.stack(bounds).amin(0)
