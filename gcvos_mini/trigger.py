"""SwiftNet's variation-aware trigger: write a frame only once enough has changed. Notebook 09.

Wang et al. 2021 sum over pixels how much frame and mask vary from one frame to the next, and update
the memory when the running sum passes a threshold. Their formulas are not in the text at hand, nor
are values. Our reading: a pixel varies where its colour changes by more than `frame_change`, or an
object's mask by more than `mask_change`. The running sum P adds the share of the pixels that vary;
past `enough` the frame is written, and P starts again from 0.
"""

from torch import Tensor


class VariationTrigger:
    """Whether a frame is to be written, from it and the one before.

    frame_change: of a pixel's mean over R, G and B, in [0, 1]; mask_change: of an object's
    probability; enough: of P, in frames of which every pixel varies: at 0.5 a cut is written at
    once, and a quarter of all frames is (`benchmark trigger`). Any object's mask counts: all
    objects of a video are written together.
    """

    def __init__(self, frame_change: float = 0.1, mask_change: float = 0.3, enough: float = 0.5):
        self.frame_change, self.mask_change, self.enough = frame_change, mask_change, enough
        self.before = None  # the last frame and its masks
        self.variation = 0.0  # P

    def __call__(self, frame: Tensor, masks: Tensor) -> bool:
        """frame (1, 3, H, W) in [0, 1], soft masks (O, H, W) -> write it? Yes for the first.

        A video's objects may become more: a new one varies wherever it is.
        """
        if self.before is None:
            self.before = frame, masks
            return True
        last_frame, last_masks = self.before
        self.before = frame, masks
        moved = (frame - last_frame).abs().mean(dim=1)[0] > self.frame_change  # (H, W)
        known = len(last_masks)
        changed = (masks[:known] - last_masks).abs().amax(dim=0) > self.mask_change  # (H, W)
        if len(masks) > known:
            changed |= masks[known:].amax(dim=0) > self.mask_change
        self.variation += (moved | changed).float().mean().item()
        if self.variation <= self.enough:
            return False
        self.variation = 0.0
        return True
