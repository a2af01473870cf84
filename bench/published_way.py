"""The method computed the published way, in plain PyTorch: every part laid out on a full-size canvas (SPEC 3 to 5).

Written from the specification, for comparison of speed and memory only. Each stage is a step of SPEC 13's table.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from h2k_rt.constants import METHOD, PART_GROUPS
from h2k_rt.networks import HumanNet
from h2k_rt.stopwatch import Stopwatch

N = METHOD.size


def _warp(image: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix, [1, image.shape[1], N, N], align_corners=False)
    return F.grid_sample(
        image.expand(matrix.shape[0], -1, -1, -1), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def _window(height: int, width: int) -> tuple[slice, slice]:
    return slice(N // 2 - height // 2, N // 2 + height // 2), slice(N // 2 - width // 2, N // 2 + width // 2)


def _blur(canvas: Tensor) -> Tensor:
    k = torch.arange(METHOD.blur_taps, dtype=torch.float32) - METHOD.blur_taps // 2
    kernel = torch.exp(-0.5 * (k / METHOD.blur_sigma) ** 2)
    kernel = kernel / kernel.sum()
    kernel = kernel.to(canvas.device)
    radius = METHOD.blur_taps // 2
    padded = F.pad(canvas, [radius] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :])


@torch.no_grad()
def forward(
    net: HumanNet, picture: np.ndarray, to_canvas: np.ndarray, to_part: np.ndarray, watch: Stopwatch, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """From the (N, N, 3) float32 picture and (12, 2, 3) float32 matrices -> fused normals, depth, mask. ``device``: of ``net``."""
    image = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].to(device)
    z, inverse = torch.from_numpy(to_canvas).to(device), torch.from_numpy(to_part).to(device)
    with watch("low normals"):
        low = F.interpolate(image, size=(256, 256), mode="bilinear")
        low_normals = net.img2normal_down(low)
    with watch("low depth"):
        raw = net.ImgNorm_to_Dep(low, low_normals)
        mask = torch.sigmoid(raw[:, 2:])
        depth = F.relu6(raw[:, :2])
        background = torch.tensor([METHOD.front_background, METHOD.back_background], device=device).view(1, 2, 1, 1)
        depth = torch.where(mask > METHOD.mask_threshold, depth, background)
    with watch("warp parts"):
        prior = F.interpolate(low_normals[:, :3], size=(N, N), mode="bilinear")
        warped = [torch.cat([_warp(image, z[i : i + 1]), _warp(prior, z[i : i + 1])], 1) for i in range(12)]
        ones = [_warp(torch.ones(1, 1, N, N, device=device), z[i : i + 1]) for i in range(12)]
        crops = [
            torch.cat([warped[i][:, :, _window(g.height, g.width)[0], _window(g.height, g.width)[1]] for i in g.parts])
            for g in PART_GROUPS
        ]
    normals = []
    for group, crop in zip(PART_GROUPS, crops, strict=True):
        with watch(f"{group.name} normals"):
            normals.append(net.part_net(group.name)(crop))
    with watch("fuse parts"):
        weights, canvases = [], []
        for group, predicted in zip(PART_GROUPS, normals, strict=True):
            rows, columns = _window(group.height - METHOD.window_trim, group.width - METHOD.window_trim)
            full_rows, full_columns = _window(group.height, group.width)
            for slot, part in enumerate(group.parts):
                window = torch.zeros(1, 1, N, N, device=device)
                window[:, :, rows, columns] = ones[part][:, :, rows, columns]
                weights.append(_warp(_blur(window), inverse[part : part + 1]))
                canvas = torch.zeros(1, 6, N, N, device=device)
                canvas[:, :, full_rows, full_columns] = predicted[slot : slot + 1]
                canvases.append(_warp(canvas, inverse[part : part + 1]))
        total = sum(weights)
        assert isinstance(total, Tensor)
        total = torch.where(total == 0, torch.ones_like(total), total)
        fused = sum((w / total * c for w, c in zip(weights, canvases, strict=True)), torch.zeros(1, 6, N, N, device=device))
    with watch("high depth"):
        out = net.refine(depth, fused)
        high, high_mask = F.relu6(out[:, :2]), torch.sigmoid(out[:, 2])
    return {"normals": fused[0].cpu().numpy(), "depth": high[0].cpu().numpy(), "mask": high_mask[0].cpu().numpy()}
