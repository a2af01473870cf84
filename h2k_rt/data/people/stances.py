"""Random stances: standing on both feet, weight on one leg, a step, a lunge, a knee raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from h2k_rt.data.people.puppet import OUTWARD, SIDES
from h2k_rt.data.people.stance import Leg, Lifted, Planted, Stance
from h2k_rt.data.people.turns import Matrix, turn_x, turn_y, turn_z


def sample_stance(rng: np.random.Generator, hip_width: float, kinds: Mapping[str, float]) -> Stance:
    """Draws a stance.

    Args:
        hip_width: distance of the hip joints, metres; the feet are set in proportion to it.
        kinds: shares of ``STANCES`` to draw from.
    """
    names = list(kinds)
    weights = np.array([kinds[name] for name in names])
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    return STANCES[name](rng, hip_width / 2)


def _pelvis(rng: np.random.Generator, yaw: float = 0.0, roll: float = 0.0, tilt: float = 0.0) -> Matrix:
    yaw, roll, tilt = (mean + _spread(rng, deviation) for mean, deviation in ((yaw, 3.0), (roll, 1.0), (tilt, 3.0)))
    return turn_y(yaw) @ turn_z(roll) @ turn_x(tilt)


def _spread(rng: np.random.Generator, deviation: float) -> float:
    """A normal draw around zero, at most two deviations away."""
    return float(np.clip(rng.normal(), -2, 2) * deviation)


def _either_side(rng: np.random.Generator) -> tuple[str, str]:
    first = SIDES[int(rng.integers(2))]
    return first, SIDES[first == "L"]


def both_feet(rng: np.random.Generator, half: float) -> Stance:
    apart, stagger = half * rng.uniform(0.6, 1.6), _spread(rng, 0.03)
    share = 0.5 + _spread(rng, 0.1)
    legs: dict[str, Leg] = {}
    for side, part in (("L", share), ("R", 1 - share)):
        out = OUTWARD[side]
        spot = (out * apart, out * stagger)
        legs[side] = Planted(spot, out * (9 + _spread(rng, 6)), share=part, bend=float(rng.uniform(2, 9)))
    return Stance(legs, _pelvis(rng), "both_feet")


def one_leg_relaxed(rng: np.random.Generator, half: float) -> Stance:
    """Weight on one leg, the pelvis dropped on the other side, whose knee is bent."""
    loaded, free = _either_side(rng)
    heel = float(rng.uniform(8, 30)) if rng.random() < 0.3 else 0.0
    forward = rng.uniform(0.0, 0.17) if heel == 0.0 else rng.uniform(-0.08, 0.08)
    spot = (OUTWARD[free] * half * rng.uniform(0.9, 1.9), float(forward))
    legs = {
        loaded: Planted(
            (OUTWARD[loaded] * half * rng.uniform(0.4, 0.9), 0.0), OUTWARD[loaded] * (8 + _spread(rng, 5)), share=0.8, bend=3
        ),
        free: Planted(spot, OUTWARD[free] * (18 + _spread(rng, 9)), heel, share=0.2, bend=8),
    }
    roll = OUTWARD[loaded] * rng.uniform(2, 6)
    return Stance(legs, _pelvis(rng, yaw=-OUTWARD[loaded] * rng.uniform(0, 6), roll=roll), "one_leg_relaxed")


def step(rng: np.random.Generator, half: float) -> Stance:
    """Both feet on the floor in mid-walk: the heel of the one behind raised."""
    ahead, behind = _either_side(rng)
    length, narrow = rng.uniform(0.30, 0.62), half * rng.uniform(0.5, 0.9)
    legs = {
        ahead: Planted((OUTWARD[ahead] * narrow, length / 2), OUTWARD[ahead] * (5 + _spread(rng, 3)), -rng.uniform(0, 14), 0.5, 5),
        behind: Planted(
            (OUTWARD[behind] * narrow, -length / 2), OUTWARD[behind] * (6 + _spread(rng, 3)), rng.uniform(18, 38), 0.5, 6
        ),
    }
    return Stance(legs, _pelvis(rng, yaw=-OUTWARD[ahead] * rng.uniform(3, 9), tilt=2), f"step_{ahead}")


def swing(rng: np.random.Generator, half: float) -> Stance:
    """Mid-walk on one leg, the other passing it."""
    planted, lifted = _either_side(rng)
    legs: dict[str, Leg] = {
        planted: Planted((OUTWARD[planted] * half * 0.5, 0.0), OUTWARD[planted] * 6, share=1.0, bend=6),
        lifted: Lifted(
            float(rng.uniform(5, 35)), float(rng.uniform(0, 3)), 4, float(rng.uniform(35, 65)), float(rng.uniform(5, 25))
        ),
    }
    return Stance(legs, _pelvis(rng, tilt=2), f"swing_{lifted}")


def run(rng: np.random.Generator, half: float) -> Stance:
    planted, lifted = _either_side(rng)
    legs: dict[str, Leg] = {
        planted: Planted((OUTWARD[planted] * half * 0.5, 0.0), OUTWARD[planted] * 5, rng.uniform(0, 25), 1.0, rng.uniform(15, 35)),
        lifted: Lifted(float(rng.uniform(-15, 50)), 1, 3, float(rng.uniform(70, 100)), float(rng.uniform(5, 30))),
    }
    return Stance(legs, _pelvis(rng, tilt=float(rng.uniform(4, 12))), f"swing_{lifted}")


def wide(rng: np.random.Generator, half: float) -> Stance:
    """A lunge or a guard: feet wide apart, knees bent."""
    ahead, behind = _either_side(rng)
    apart, length, bend = half * rng.uniform(1.6, 3.0), rng.uniform(0.0, 0.5), rng.uniform(10, 40)
    heel = float(rng.uniform(0, 30)) if rng.random() < 0.5 else 0.0
    legs = {
        ahead: Planted((OUTWARD[ahead] * apart, length / 2), OUTWARD[ahead] * (14 + _spread(rng, 6)), 0.0, 0.5, bend),
        behind: Planted((OUTWARD[behind] * apart, -length / 2), OUTWARD[behind] * (28 + _spread(rng, 8)), heel, 0.5, bend * 0.6),
    }
    return Stance(legs, _pelvis(rng, yaw=-OUTWARD[ahead] * rng.uniform(0, 15), tilt=5), "wide")


def bent(rng: np.random.Generator, half: float) -> Stance:
    """Half a squat or a bow: hips and knees bent, the trunk forward."""
    bend = rng.uniform(10, 75)
    apart = half * rng.uniform(1.1, 2.2)
    legs: dict[str, Leg] = {
        side: Planted((OUTWARD[side] * apart, _spread(rng, 0.03)), OUTWARD[side] * (16 + _spread(rng, 6)), share=0.5, bend=bend)
        for side in SIDES
    }
    return Stance(legs, _pelvis(rng, tilt=float(rng.uniform(10, 38))), "bent")


def knee_up(rng: np.random.Generator, half: float) -> Stance:
    planted, lifted = _either_side(rng)
    legs: dict[str, Leg] = {
        planted: Planted((OUTWARD[planted] * half * 0.4, 0.0), OUTWARD[planted] * 8, share=1.0, bend=4),
        lifted: Lifted(
            float(rng.uniform(45, 95)), float(rng.uniform(2, 15)), 8, float(rng.uniform(50, 105)), float(rng.uniform(0, 25))
        ),
    }
    return Stance(legs, _pelvis(rng, roll=-OUTWARD[lifted] * 2), "knee_up")


STANCES: Mapping[str, Callable[[np.random.Generator, float], Stance]] = {
    "both_feet": both_feet,
    "one_leg_relaxed": one_leg_relaxed,
    "step": step,
    "swing": swing,
    "run": run,
    "wide": wide,
    "bent": bent,
    "knee_up": knee_up,
}
