"""The options of the CPU's surface stage as the kernels take them."""

from __future__ import annotations

from h2k_kernels.launch.clean_depth import CleanRules
from h2k_kernels.launch.person_colours import ColourRules

from h2k_rt.constants import Method
from h2k_rt.surface.back_colour import DETAIL_LIMIT, DETAIL_REACH, DETAIL_SHARE
from h2k_rt.surface.clean import CleanOptions, nearest_nu
from h2k_rt.surface.colour import DISTINCT, edge_lengths


def clean_rules(method: Method, size: int, options: CleanOptions | None = None) -> CleanRules:
    """Rules for maps cut out of a canvas of ``size`` pixels."""
    options = options or CleanOptions()
    ratio = size / method.size
    outline = round(options.outline_px * ratio)
    return CleanRules(
        nearest=nearest_nu(method),
        thickness=options.min_thickness_px / method.depth_unit_px,
        stand_out=options.stand_out_px / method.depth_unit_px,
        nu_per_px=1 / (method.depth_unit_px * ratio),
        gate_margin=round(options.gate_margin * ratio),
        min_share=options.min_share,
        max_hole=max(round(options.max_hole * ratio * ratio), 1),
        outline=outline - 1 + outline % 2,
        rim=options.rim_px * ratio,
        rim_radius=options.rim_radius_px * ratio,
        limb_radius=options.limb_radius_px * ratio,
        missed=max(round(options.missed_px * ratio), 3) | 1,
        complete=options.complete,
    )


def colour_rules(size: int) -> ColourRules:
    """Rules for maps cut out of a canvas of ``size`` pixels."""
    mixed, core, outside = edge_lengths(size)
    return ColourRules(mixed, core, outside, DISTINCT, DETAIL_REACH, DETAIL_SHARE, DETAIL_LIMIT)
