"""Figs. 1, 2 and 3 of the paper in our own drawing, and the strip at the head of each notebook.

    python notebooks/figures/draw.py        writes fig-1 to fig-3 and strip-01 to strip-10, all .svg

Sizes come from `gcvos_mini.config`, thumbnails from the bunny, whose masks are painted by hand.
"""

from pathlib import Path

from pieces import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE_INK,
    arrow,
    box,
    matrix,
    page,
    panel,
    rule,
    text,
    thumb,
)  # fmt: skip

from gcvos_mini.config import MINI, PAPER, STRIDE

FOLDER = Path(__file__).parent
N = (384 // STRIDE) ** 2  # positions of a frame of 384 x 384 pixels, the size of Table 1
WIDE = (480 // STRIDE) * -(-854 // STRIDE)  # positions of a frame of DAVIS, 854 x 480 pixels
KEY, VALUE, LOCAL = PAPER.key_dim, PAPER.value_dim, PAPER.local_dim


# ---- the figures ---------------------------------------------------------------------------------


def megabytes(numbers):
    """Bytes of so many float32 numbers, in MB."""
    return f"{numbers * 4 / 1e6:.{2 if numbers < 2.5e5 else 1}f} MB"


def figure_1():
    """Two ways to remember."""
    parts = []
    for y, h, colour, title in (
        (12, 226, BLUE, "STM keeps the key *k* and the value *v* of every frame"),
        (468, 186, GREEN, "GC keeps one matrix *G*, the mean of all *k*^{T}*v*"),
    ):
        parts.append(panel(12, y, 696, h, colour))
        parts.append(text(26, y + 26, title, 21, colour, "start", True))
    for i, t in enumerate((0, 7, 14, 21)):
        x = 24 + 171 * i
        middle = x + 78
        parts += [thumb(x, 276, 156, t, "both"), text(middle, 412, f"frame {t}, mask")]
        parts.append(arrow((middle, 274), (middle, 240), colour=BLUE))
        parts.append(arrow((middle, 428), (middle, 466), colour=GREEN))
        for k in range(i + 1):  # the stack grows upwards
            y = 166 - 30 * k
            parts.append(box(x + 16, y, 34, 24, "*k*", BLUE, 18, corner=3))
            parts.append(box(x + 54, y, 86, 24, "*v*", BLUE, 18, corner=3))
        parts.append(text(middle, 212, megabytes((i + 1) * WIDE * (KEY + VALUE))))
        parts.append(box(x + 38, 524, 80, 66, "*G*", GREEN, 24, corner=3))
        parts.append(text(middle, 620, megabytes(KEY * VALUE)))
        if i:
            parts.append(arrow((x - 51, 557), (x + 36, 557), colour=GREEN))
    return page(
        720, 712, "Fig. 1: two ways to remember",
        "Four frames of a video with their masks, from left to right in time. Above them, what the "
        "space-time memory (STM) keeps: a stack of keys and values, one layer higher with every "
        "frame. Below them, what the global context (GC) keeps: one matrix G, always of one size. "
        f"The bytes beside both are for frames of 854 x 480 pixels, with {KEY} channels in the key "
        f"and {VALUE} in the value, at {WIDE} positions.",
        *parts,
        text(360, 676, f"frames of 854 × 480 pixels; *k* has {KEY} channels, *v* {VALUE}", 18,
             PALE_INK),
    )  # fmt: skip


def figure_2():
    """The whole pipeline."""
    left, right = 170, 520
    return page(
        720, 866, "Fig. 2: the whole method",
        "Two columns that meet. On the left, the past: a frame and its mask go through the memory "
        "encoder, which gives a key and a value; the write of equations 1 and 2 adds them to one "
        "matrix G. On the right, the present: a frame goes through the query encoder, which gives "
        "a query and a local feature. The read of equation 3 multiplies the query by G. The "
        "context that was read and the local feature are concatenated and decoded to a mask, with "
        "skip connections from the query encoder. The mask goes back to the left for the next "
        "write.",
        text(left, 26, "Past: write", 22, BLUE, bold=True),
        text(right, 26, "Present: read", 22, ORANGE, bold=True),
        thumb(34, 46, 132, 21, "frame"), thumb(174, 46, 132, 21, "mask"),
        text(100, 160, "frame *t* − 1"), text(240, 160, "its mask"),
        thumb(454, 46, 132, 28, "frame"), text(right, 160, "frame *t*"),
        arrow((left, 174), (left, 200)), arrow((right, 174), (right, 200)),
        box(54, 202, 232, 64, ["memory encoder", "4 channels in"], BLUE),
        box(404, 202, 232, 64, ["query encoder", "3 channels in"], ORANGE),
        arrow((100, 266), (100, 304)), arrow((240, 266), (240, 304)),
        arrow((452, 266), (452, 304)), arrow((588, 266), (588, 304)),
        box(48, 306, 104, 56, ["key *k*", f"{KEY}"], BLUE),
        box(188, 306, 104, 56, ["value *v*", f"{VALUE}"], BLUE),
        box(396, 306, 112, 56, ["query *q*", f"{KEY}"], ORANGE),
        box(532, 306, 112, 56, ["local", f"{LOCAL}"], ORANGE),
        arrow((100, 362), (100, 396)), arrow((240, 362), (240, 396)),
        box(28, 398, 284, 122, "", GREEN),
        text(left, 420, "global context *G*", 21, bold=True),
        text(left, 458, ["mean of all *k*^{T}*v* so far:", f"one matrix, {KEY} × {VALUE}"], 20),
        text(left, 500, "eq. 1, 2", 18, GREEN, bold=True),
        arrow((452, 362), (452, 424)), arrow((312, 459), (384, 459), colour=GREEN),
        box(386, 426, 132, 66, ["read *qG*", "eq. 3"], GREEN),
        arrow((452, 492), (452, 540)), arrow((588, 362), (588, 540)),
        text(440, 517, "context", 18, anchor="end"),
        box(386, 542, 268, 38, f"concatenate: {VALUE} + {LOCAL}", GREY),
        arrow((right, 580), (right, 612)),
        box(404, 614, 232, 64, ["decoder", f"{PAPER.decoder_dim} channels"], GREY),
        arrow((636, 234), (704, 234), (704, 646), (638, 646), colour=ORANGE, dashes=True),
        text(647, 452, ["skip", "connections"], 17, ORANGE),
        arrow((right, 678), (right, 710)),
        thumb(454, 712, 132, 28, "mask"), text(right, 828, "mask of frame *t*"),
        arrow((452, 762), (14, 762), (14, 96), (32, 96), dashes=True),
        text(232, 744, "it becomes the mask of the next write", 18),
        text(left, 632, ["Numbers are channels of PAPER.",
                         f"MINI: key {MINI.key_dim}, value {MINI.value_dim},",
                         f"local {MINI.local_dim}, decoder {MINI.decoder_dim}."], 18, PALE_INK),
    )  # fmt: skip


def figure_3():
    """Inside both memories."""
    parts = []
    for x, colour, name in (
        (10, BLUE, "Space-time memory (STM)"),
        (366, GREEN, "Global context (GC)"),
    ):
        parts += [panel(x, 12, 344, 720, colour), rule(x, 348, x + 344, 348, colour, 2)]
        parts.append(text(x + 172, 40, name, 23, colour, bold=True))
        parts.append(text(x + 16, 76, "Write a past frame", 19, INK, "start", True))
        parts.append(text(x + 16, 374, "Read for the present frame", 19, INK, "start", True))
    nt = f"{N}*T*"
    return page(
        720, 800, "Fig. 3: inside the two memories",
        "Left, the space-time memory. Write: the key and the value of a frame are appended to "
        "those of all frames before. Read: the query is multiplied by the keys of all frames, a "
        "softmax makes weights of the products, and the weights are multiplied by all values. "
        "Right, the global context. Write: the transposed key of a frame times its value is one "
        "small matrix C, and G is the mean of all of these. Read: the query is multiplied by G. "
        "Both give one context vector for each position of the present frame.",
        *parts,
        # STM: write, then read
        text(182, 110, "append *k*_{t} and *v*_{t}", 20),
        matrix(28, 134, 150, 44, "*K*^{T}", f"{KEY} × {nt}", BLUE, "|"),
        matrix(222, 134, 100, 130, "*V*", f"{nt} × {VALUE}", BLUE, "-"),
        text(103, 250, ["one slice for each", "of *T* past frames"], 18, PALE_INK),
        matrix(50, 398, 44, 66, "*q*_{t}", f"{N} × {KEY}", ORANGE), text(128, 431, "·", 30),
        matrix(164, 409, 150, 44, "*K*^{T}", f"{KEY} × {nt}", BLUE, "|"),
        arrow((103, 492), (103, 532)),
        text(118, 510, "softmax over all past positions", 17, anchor="start"),
        matrix(28, 536, 150, 66, "weights", f"{N} × {nt}", GREY), text(200, 569, "·", 30),
        matrix(222, 524, 100, 90, "*V*", f"{nt} × {VALUE}", BLUE, "-"),
        arrow((182, 626), (182, 648)),
        matrix(132, 650, 100, 50, "*R*_{t}", f"{N} × {VALUE}", GREY),
        # GC: write, then read
        text(538, 110, "*C*_{t} = *k*_{t}^{T}*v*_{t}     (eq. 1)", 20),
        matrix(384, 145, 66, 44, "*k*_{t}^{T}", f"{KEY} × {N}", BLUE), text(466, 167, "·", 30),
        matrix(482, 134, 100, 66, "*v*_{t}", f"{N} × {VALUE}", BLUE), text(596, 167, "=", 24),
        matrix(612, 145, 88, 44, "*C*_{t}", f"{KEY} × {VALUE}", GREEN),
        text(538, 248, "*G*_{t} = mean of *C*_{1} … *C*_{t}     (eq. 2)", 20),
        matrix(491, 268, 94, 44, "*G*_{t}", f"{KEY} × {VALUE}, always", GREEN),
        matrix(420, 398, 44, 66, "*q*_{t}", f"{N} × {KEY}", ORANGE), text(500, 431, "·", 30),
        matrix(546, 409, 94, 44, "*G*_{t−1}", f"{KEY} × {VALUE}", GREEN),
        text(538, 520, "*R*_{t} = *q*_{t}*G*_{t−1}     (eq. 3)", 20),
        arrow((538, 544), (538, 648)), text(552, 594, "no softmax", 18, anchor="start"),
        matrix(488, 650, 100, 50, "*R*_{t}", f"{N} × {VALUE}", GREY),
        text(360, 758, f"{N} = 24 × 24 positions of a frame of 384 × 384 pixels; "
             f"{KEY} = C_key, {VALUE} = C_value", 17, PALE_INK),
    )  # fmt: skip


# ---- the strips ----------------------------------------------------------------------------------

PARTS = {  # the parts of the method: what each is for those who hear it
    "past": "a past frame with its mask", "encode": "the memory encoder", "key": "key and value",
    "memory": "the memory", "now": "the present frame", "look": "the query encoder",
    "query": "the query", "read": "the read", "decode": "the decoder", "mask": "the mask found",
}  # fmt: skip
ALL = " ".join(PARTS)
STRIPS = {  # which parts a notebook is about, what its corner says, whose memory it is
    "01": ("past now mask", ["The task:", "one mask in,", "all others out"], ""),
    "02": ("memory read", ["STM: the memory", "keeps all frames"], "STM"),
    "03": ("key memory read", ["GC: write and read", "eq. 1, 2, 3"], "GC"),
    "04": ("memory read", ["GC beside STM:", "what is equal?"], "GC, STM"),
    "05": ("encode look key query decode", ["The network", "around the memory"], ""),
    "06": (ALL, ["Training: the error", "goes all the way back"], ""),
    "07": ("mask", ["Is the mask right?", "J and F"], ""),
    "08": ("key", ["What does a key", "look at?"], ""),
    "09": ("memory read", ["Other memories,", "same place"], "PAM, …"),
    "10": (ALL, ["The whole method", "on your video"], ""),
}


def strip(number):
    """The pipeline of Fig. 2 in small, with the parts of one notebook in colour."""
    names, corner, whose = STRIPS[number]
    up, down, h = 14, 112, 72  # the two rows
    boxes = {
        "encode": (138, up, 122, "encode", BLUE), "look": (138, down, 122, "encode", ORANGE),
        "key": (288, up, 132, ["key,", "value"], BLUE), "query": (288, down, 132, "query", ORANGE),
        "memory": (448, up, 132, ["memory", whose] if whose else "memory", GREEN),
        "read": (448, down, 132, "read", GREEN), "decode": (608, down, 132, "decode", GREY),
    }  # fmt: skip
    parts = [text(740, up + h / 2, corner, 25, bold=True)]
    for name, (x, y, w, words, colour) in boxes.items():
        parts.append(box(x, y, w, h, words, colour, 25, name in names.split()))
    for name, x, y, t, kind in (("past", 12, up, 21, "both"), ("now", 12, down, 28, "frame"),
                                ("mask", 778, down, 28, "mask")):  # fmt: skip
        parts.append(thumb(x, y, 96, t, kind, name in names.split(), 120))
    for x, row in [(x, row) for x in (110, 262, 422) for row in (up, down)] + [(582, down)]:
        parts.append(arrow((x, row + h / 2), (x + 25, row + h / 2), colour=GREY))
    parts.append(arrow((742, down + h / 2), (776, down + h / 2), colour=GREY))
    parts.append(arrow((514, up + h + 2), (514, down - 2), colour=GREY))
    if number == "06":
        back = (826, down + h + 3), (826, 198), (199, 198), (199, down + h + 3)
        parts.append(arrow(*back, colour=ORANGE, dashes=True))
    return page(
        890, 222, f"Where notebook {number} stands. {' '.join(corner)}",
        "The method in two rows. Above, the past: frame with mask, encoder, key and value, memory. "
        "Below, the present: frame, encoder, query, read from the memory, decoder, mask. "
        f"In colour: {', '.join(PARTS[name] for name in names.split())}.",
        *parts,
    )  # fmt: skip


def drawings():
    """{name: SVG} of all that this file draws."""
    figures = {"fig-1": figure_1(), "fig-2": figure_2(), "fig-3": figure_3()}
    return figures | {f"strip-{number}": strip(number) for number in STRIPS}


if __name__ == "__main__":
    for name, svg in drawings().items():
        (FOLDER / f"{name}.svg").write_text(svg)
        print(FOLDER / f"{name}.svg", len(svg))
