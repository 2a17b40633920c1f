"""The same figures as sentences: what regime a model is in, and what that means for what it computes."""

from __future__ import annotations

import math
from typing import Any

#: The paper's best kinetics (Table 7), of which it says that they produce stable patterns.
PAPERS = (0.04, 0.06)


def sentences(summary: dict[str, Any]) -> list[str]:
    """What `rdmf.analysis.summary.summarise` found, the most important first within each part.

    Every number is from the summary; nothing is measured here.
    """
    out = [_smoothing(summary)]
    if summary["cuts"]:
        out.append(
            "Cuts hold the flow back (model.cuts): the waves here are those of a stretch without cuts, a shot. "
            "Through a cut less flows, never more, so that what bounds a step holds there as well."
        )
    if not summary["blocks"]:
        out.append("There is no reaction: fusion.kind is cross-attention, and only temporal diffusion acts along time.")
    for block in summary["blocks"]:
        told = _alike(block, summary) if block["uniform"] else _spread(block, summary)
        out += [f"{block['name'].capitalize()}: {told[0]}", *told[1:]]
    if summary["blocks"]:
        out += _combs(summary) + _constraint(summary)
        if summary["driven_by_queries"] and not summary["queried"]:
            out.append(
                "Every query shifts these coefficients; give a cache with --features to see how they are distributed."
                if any(not block["uniform"] for block in summary["blocks"])
                else "Training moves these coefficients, and every query shifts them; analyse a run to see where to."
            )
    return out


def share(value: float) -> str:
    """A share in percent, rounded so that what is not all or none is not called so."""
    if 0 < value < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < value < 1 else f"{100 * value:.0f}%"


def listed(shares: dict[str, float]) -> str:
    """{"bistable": 0.6, ...} as "60% bistable, ..."."""
    return ", ".join(f"{share(v)} {name}" for name, v in shares.items())


def _smoothing(summary: dict[str, Any]) -> str:
    found = summary["temporal_diffusion"]
    if not found["steps"]:
        return "Temporal diffusion: switched off (diffusion.steps=0)."
    low, mid, high = (found["rate"][q] for q in ("0%", "50%", "100%"))
    rate = f"{mid:.3f}" if math.isclose(low, high, rel_tol=1e-6) else f"{low:.3f} to {high:.3f} (median {mid:.3f})"
    principle = "no value leaves the range of the ones before" if found["maximum_principle"] else "values may overshoot"
    sign = "some waves alternate in sign" if found["alternates"] else "no wave alternates in sign"
    half = found["half_power_wavelength"]["50%"]
    kept = "no wave loses half its power"
    if half:
        kept = f"waves of {half:.1f} clips lose half their power, shorter ones more"
        # A rate near 1/2 turns the shortest waves over with every step and hardly weakens them.
        if abs(1 - 4 * mid) ** (2 * found["steps"]) > 0.5:
            kept += ", but the very shortest hardly any"
    return (
        f"Temporal diffusion: {found['steps']} steps at eta D = {rate}, kept below {found['limit']:g} by construction; "
        f"{principle}, {sign}. {kept[0].upper()}{kept[1:]}."
    )


def _alike(block: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """A block all of whose channels have the same coefficients."""
    point = block["middle"]
    f, k, regime = point["F"], point["k"], point["regime"]["system"]
    lead = f"F = {f:.4f}, k = {k:.4f}: {regime}"
    out = [f"{lead}. {_state(point)}"]
    if math.isclose(f, PAPERS[0], abs_tol=1e-5) and math.isclose(k, PAPERS[1], abs_tol=1e-5):
        out.append(
            "These are the paper's best kinetics (Table 7), said to give stable patterns, and its section 3.4 asks "
            "for eigenvalues with negative real parts. At this point they are not negative. (0.04, 0.05), for one, "
            "is stable."
        )
    out += _step(point, summary) + _turing(point, summary) + _euler(point, summary)
    return out


def _state(point: dict[str, Any]) -> str:
    """Where the equations rest, with trace, determinant and eigenvalues."""
    f, k, regime = point["F"], point["k"], point["regime"]["system"]
    upper, lower = point["states"]["upper"], point["states"]["lower"]
    if upper is None:
        return (
            f"F is below 4 (F + k)^2 = {4 * (f + k) ** 2:.4f}, beyond the fold, so that a = 0, s = 1 is the only "
            "state and every field decays to it."
        )
    at = f"a = {upper['a']:.3f}, s = {upper['s']:.3f}"
    jacobian = f"trace {upper['trace']:+.4f}, determinant {upper['determinant']:.5f}, eigenvalues {_pair(upper)}"
    if regime == "on the fold":
        return (
            f"F = 4 (F + k)^2, where the two non-trivial states have just met in one, {at}: {_signed(upper)}. "
            "It is not stable, and the least more k leaves only the trivial state."
        )
    if upper["stable"]:
        return (
            f"The non-trivial state {at} attracts, for a^2 = {upper['a'] ** 2:.3f} is above F and k ({jacobian}). "
            "The trivial state attracts too, as always: which one a clip goes to depends on where it starts, and "
            f"between them lies the saddle a = {lower['a']:.3f}, s = {lower['s']:.3f}."
        )
    return (
        f"The non-trivial state {at} exists and repels, for a^2 = {upper['a'] ** 2:.3f} is below k ({jacobian}); "
        "fields end in the trivial state or go round."
    )


def _signed(state: dict[str, Any]) -> str:
    return (
        f"determinant 0, trace {state['trace']:+.3f}, so that one eigenvalue is 0 and the other {state['trace']:+.3f}"
    )


def _pair(state: dict[str, Any]) -> str:
    (first, turn), (second, _) = state["eigenvalues"]
    return f"{first:+.4f} +- {abs(turn):.4f} i" if turn else f"{first:+.4f} and {second:+.4f}"


def _step(point: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """What the map does at its own state, and how far N steps go."""
    settings, found = summary["settings"], point["map"]
    name, eta, steps = settings["integrator"], settings["step_size"], settings["steps"]
    out = []
    upper = found["upper"]
    if name == "split":
        regime = point["regime"]["map"]
        rests = f"a = {upper['a']:.3f}, s = {upper['s']:.3f} ({regime})" if upper else "there is no non-trivial state"
        out.append(
            "The split step takes consumption implicitly and so has states of its own, with F / (1 + eta F) in place "
            f"of F in the fold: at eta = {eta:g} {rests}."
        )
    if upper is not None:
        way = "falls" if upper["radius"] < 1 else "grows"
        waves = upper["waves_radius"]
        along = "" if waves is None else f" (the slowest wave along time: by {waves:.4f})"
        out.append(
            f"Near the non-trivial state a step multiplies the slowest deviation by {upper['radius']:.4f} where all "
            f"clips are alike{along}: it {way} e-fold in {_count(upper['efolding_steps'])} steps, and the model "
            f"takes {steps}."
        )
    trivial = found["trivial"]
    out.append(
        f"Towards the trivial state a deviation falls e-fold in {_count(trivial['efolding_steps'])} steps at the "
        f"slowest: after {steps} what the model reads is still on its way."
    )
    return out


def _count(steps: float | None) -> str:
    return "no number of" if steps is None else f"{steps:.0f}"


def _turing(point: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """Turing's condition in words, with the roles and the constraint on the coefficients."""
    waves, settings = point["waves"], summary["settings"]
    out = []
    ratio = point["D_s"] / point["D_a"]
    if waves is None or waves["critical_ratio"] is None:
        out.append(f"Turing's condition needs a stable non-trivial state, and there is none (D_s / D_a = {ratio:.3g}).")
    else:
        critical = waves["critical_ratio"]
        if waves["growing_wavelengths"]:
            at = waves["growing_wavelengths"]
            out.append(
                f"Turing's condition holds: D_s / D_a = {ratio:.3g} is above {critical:.3g}, and waves of "
                f"{at[0]:.3g} to {at[-1]:.3g} clips grow, fastest that of {waves['fastest_wavelength']:.3g} clips, "
                f"by {waves['fastest_growth']:.4f} per unit of time."
            )
        elif waves["condition_met"]:
            out.append(
                f"D_s / D_a = {ratio:.3g} is above Turing's {critical:.3g}, but no wave that {summary['clips']} "
                "clips can carry lies in the growing band."
            )
        else:
            out.append(
                f"Turing's condition does not hold: the substrate would have to diffuse more than {critical:.3g} times "
                f"faster than the activator, and D_s / D_a = {ratio:.3g}. No wave grows."
            )
    if settings["order"] == "paper" and settings["video"] == "activator":
        out.append(
            "Nor can training find it: fusion.order=paper keeps D_video above D_text, and with the video as "
            "activator the activator then always diffuses faster, where Turing's condition needs the substrate to."
        )
    return out


def _euler(point: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    settings, found = summary["settings"], point["euler"]
    eta, steps = settings["step_size"], settings["steps"]
    f, k = point["F"], point["k"]
    if settings["integrator"] == "split":
        return [
            "The split step keeps s in [0, 1] and a between 0 and max(1, 1 / (eta (F + k))) = "
            f"{max(1.0, 1 / (eta * (f + k))):.3g}, whatever the fields."
        ]
    states = point["states"]
    limits = [
        (name, states[name]) for name in ("trivial", "upper") if states[name] is not None and states[name]["stable"]
    ]
    told = ", ".join(f"{s['euler_step_limit']['all waves']:.3g} at the {name} state" for name, s in limits)
    positive, certain = found["positive_step_limit"], found["certain_step"]
    verdict = "within" if eta <= positive else "above"
    return [
        f"Euler's step may be at most {told} for all waves to decay there as they should; it is {eta:g}. That it "
        f"keeps concentrations from going negative is certain for one step up to {positive:.3g} ({eta:g} is "
        f"{verdict} that), and for all {steps} up to {certain:.3g}."
    ]


def _spread(block: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """A block whose coefficients differ between channels or queries."""
    settings, c, shares = summary["settings"], block["coefficients"], block["shares"]
    many = f"{summary['sentences']} sentences x " if summary["queried"] else ""
    pairs = "pairs of sentence and channel" if summary["queried"] else "channels"
    out = [
        f"{many}{block['channels']} channels, F {_range(c['F'])}, k {_range(c['k'])}. Of the {pairs}, as equations: "
        f"{listed(shares['system'])}. As the steps that are taken ({settings['integrator']}, eta = "
        f"{settings['step_size']:g}): {listed(shares['map'])}."
    ]
    turing = shares["system"].get("Turing", 0.0)
    out.append(
        f"The substrate diffuses faster than the activator in {share(shares['substrate_faster'])} of the {pairs}; "
        f"Turing's condition holds, with a wave that {summary['clips']} clips can carry, in {share(turing)}."
    )
    largest, steps = block["map"]["largest_radius"], settings["steps"]
    if largest is not None:
        rest = block["map"]["radius_at_rest"]["50%"]
        far = (
            f"in the {steps} steps taken no wave around one grows more than {largest**steps:.2f}-fold"
            if largest > 1
            else "whatever is near one decays to it"
        )
        out.append(
            f"The largest multiplier of one step at a non-trivial state is {largest:.4f}: {far}. The median is "
            f"{rest:.4f} where all clips are alike, which leaves {share(rest**steps)} of the slowest deviation after "
            f"{steps} steps: what the model reads is a pattern on its way, not an equilibrium."
        )
    return out


def _range(q: dict[str, Any]) -> str:
    return f"{q['5%']:.3f} to {q['95%']:.3f} (median {q['50%']:.3f})"


def _combs(summary: dict[str, Any]) -> list[str]:
    """What several time scales mean for a video of this length."""
    scales = {s["scale"]: s for block in summary["blocks"] for s in block["scales"] if s["scale"]}
    if not scales:
        return []
    last = scales[max(scales)]
    lengths = sorted(set(last["combs"]))
    size = " or ".join(str(n) for n in lengths)
    apart = " Combs of one clip do not diffuse: use longer videos or fewer fusion.scales." if lengths == [1] else ""
    return [
        f"Channels that reach {last['reach_clips']} clips see {summary['clips']} clips as {len(last['combs'])} "
        f"interleaved combs of {size} clips, which exchange nothing with each other in the reaction; waves are those "
        f"of one comb.{apart}"
    ]


def _constraint(summary: dict[str, Any]) -> list[str]:
    kinetics = summary["settings"]["kinetics"]
    if kinetics == "free":
        return [
            "Nothing keeps F and k in the stable set (fusion.kinetics=free); fusion.kinetics=stable does, whatever the "
            "optimiser does."
        ]
    waves = ", and waves of 3 to 4 clips (times the reach) grow where they fit" if kinetics == "turing" else ""
    return [
        f"fusion.kinetics={kinetics}: by construction the non-trivial state exists and attracts, in the equations "
        f"and in the steps taken{waves}."
    ]


def pattern(seen: dict[str, Any]) -> list[str]:
    """What happened in one video (`rdmf.analysis.spacetime.measure`)."""
    out = []
    for run in seen["blocks"]:
        a, s, steps = run["activator_spread"], run["substrate_spread"], len(run["activator_spread"]) - 1
        out.append(
            f"{run['name'].capitalize()}, over {steps} steps: the activator's spread along time goes from {a[0]:.3f} "
            f"to {a[-1]:.3f}, the substrate's from {s[0]:.3f} to {s[-1]:.3f} (standard deviation over clips, mean "
            "over channels). If the steps went on to rest, the activator would live on in "
            f"{share(run['alive_at_rest'])} of the clips and channels."
        )
    return out
