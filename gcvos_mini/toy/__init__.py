"""The embedded data set: rendered clips, from a seed, with no download (render.py)."""

from gcvos_mini.toy.render import FRAMES, Clip, clip_frames, find_clip, render_clips, width_of
from gcvos_mini.toy.scenes import TRAIN, VAL

__all__ = ["FRAMES", "TRAIN", "VAL", "Clip", "clip_frames", "find_clip", "render_clips", "width_of"]
