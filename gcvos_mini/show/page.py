"""Pictures on the pages of the course, each with the words that stand in for it.

A notebook that ends a cell with one of these stores a picture with its alternative text, for
people who hear a page and for phones that load no pictures.
"""

import io

import numpy as np
from IPython.display import Image
from matplotlib import pyplot as plt
from PIL import Image as Pillow

from gcvos_mini.show.render import to_jpeg

LARGEST = 600_000  # bytes of a moving picture: a page has several, and phones load them


def picture(figure, alt: str) -> Image:
    """A Matplotlib figure as a PNG; the figure is closed."""
    png = io.BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight", dpi=figure.dpi)
    plt.close(figure)
    return Image(png.getvalue(), format="png", alt=alt)


def photo(pixels: np.ndarray, alt: str) -> Image:
    """Pixels, uint8 (H, W, 3), as a JPEG."""
    return Image(to_jpeg(pixels), format="jpeg", alt=alt)


def movie(frames: list[np.ndarray], alt: str, milliseconds: int = 150, colours: int = 128) -> Image:
    """Frames, uint8 (H, W, 3) each, as a GIF that goes round; ValueError above LARGEST bytes.

    It is stored under the name of a PNG: GitHub and nbconvert show no output that is called a GIF,
    and every browser goes by the bytes.
    """
    images = [Pillow.fromarray(frame) for frame in frames]
    palette = one_palette(np.concatenate(frames), colours)  # of each its own, and it flickers
    images = [image.quantize(palette=palette, dither=0) for image in images]
    gif = io.BytesIO()
    images[0].save(gif, format="GIF", save_all=True, append_images=images[1:], loop=0,
                   duration=milliseconds)  # fmt: skip
    if gif.tell() > LARGEST:
        raise ValueError(f"{gif.tell()} bytes: smaller frames, fewer frames or fewer colours")
    return Image(gif.getvalue(), format="png", alt=alt)


def one_palette(pixels: np.ndarray, colours: int) -> Pillow.Image:
    """Palette for pixels, uint8 (H, W, 3): three quarters for what is common, a quarter for what
    is rare, such as the few wrong pixels that a legend names."""
    image, few = Pillow.fromarray(pixels), colours // 4
    common = image.quantize(colours - few).getpalette()[: 3 * (colours - few)]
    rare = image.quantize(few, method=Pillow.Quantize.MAXCOVERAGE).getpalette()[: 3 * few]
    palette = Pillow.new("P", (1, 1))
    palette.putpalette(common + rare)
    return palette
