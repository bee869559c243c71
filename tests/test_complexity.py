"""Table 1 and Table 2 against the printed paper, and the counts against torch's own counter."""

import dataclasses
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gcvos_mini import complexity
from gcvos_mini.complexity import MIB
from gcvos_mini.config import PAPER
from gcvos_mini.memory import GlobalContext, SpaceTime, make_memory

# Table 1 as printed (384x384): t, FLOPS in G, memory in MB. The GC row has no t.
PRINTED = [("STM", 0, "0.2", "4"), ("STM", 10, "2.1", "40"), ("STM", 100, "21.2", "394"),
           ("GC", None, "0.04", "1")]  # fmt: skip


def as_printed(row):
    digits = 1 if row.method == "STM" else 2
    giga, mib = row.operations / 1e9, row.nbytes / MIB
    return row.method, row.frames, f"{giga:.{digits}f}", f"{mib:.0f}"


def test_table_1_gives_all_eight_printed_entries():
    assert [as_printed(row) for row in complexity.table_1()] == PRINTED


def test_other_conventions_do_not_give_table_1():
    """Each choice named in the module docstring matters: undone, a printed number is missed."""
    n, value_dim, frames = 24 * 24, 512, 100
    operations = complexity.stm_read_operations(24, 24, frames)
    nbytes = complexity.stm_read_bytes(24, 24, frames)
    assert f"{operations / 1e9:.1f}" == "21.2" and f"{nbytes / MIB:.0f}" == "394"
    assert f"{2 * operations / 1e9:.1f}" != "21.2"  # floating-point operations
    assert f"{n * n * frames * value_dim / 1e9:.1f}" != "21.2"  # section 3.1.3's formula alone
    assert f"{complexity.stm_read_operations(24, 24, 0) / 1e9:.1f}" != "0.2"  # T = t
    assert f"{complexity.stm_read_operations(24, 24, 11) / 1e9:.1f}" != "2.1"  # T = t + 1
    assert f"{nbytes / 1e6:.0f}" != "394"  # megabytes of 10^6
    assert f"{(nbytes - 4 * n * n * frames) / MIB:.0f}" != "394"  # softmax in place
    assert f"{(nbytes + 4 * n * value_dim) / MIB:.0f}" != "394"  # with the context read
    write_and_read = complexity.gc_read_operations(24, 24) + complexity.gc_write_operations(24, 24)
    assert f"{write_and_read / 1e9:.2f}" != "0.04"


@pytest.mark.parametrize("height,width,frames,key_dim,value_dim",
                         [(3, 4, 1, 8, 16), (5, 2, 7, 4, 4), (6, 6, 3, 32, 8)])  # fmt: skip
def test_operations_agree_with_torch_flop_counter(height, width, frames, key_dim, value_dim):
    """torch counts two floating-point operations for each multiply-accumulate."""
    pixels = height * width
    query, key = torch.rand(pixels, key_dim), torch.rand(frames * pixels, key_dim)
    value = torch.rand(frames * pixels, value_dim)
    dims = key_dim, value_dim

    with FlopCounterMode(display=False) as stm:
        (query @ key.T).softmax(1) @ value
    expected = complexity.stm_read_operations(height, width, frames, *dims)
    assert stm.get_total_flops() == 2 * expected

    with FlopCounterMode(display=False) as write:
        context = key[:pixels].T @ value[:pixels]
    assert write.get_total_flops() == 2 * complexity.gc_write_operations(height, width, *dims)

    with FlopCounterMode(display=False) as read:
        query @ context
    assert read.get_total_flops() == 2 * complexity.gc_read_operations(height, width, *dims)


@pytest.mark.parametrize("name", ["gc", "stm", "stm-linear"])
def test_operations_asked_of_a_memory_are_those_of_the_formulas(name):
    """Of one write and one read, for two objects; it holds the frame afterwards."""
    height, width, *dims = 4, 5, 6, 7
    memory = make_memory(name)
    key, value, query = (torch.rand(2, c, height, width) for c in (*dims, dims[0]))
    for frames in (1, 2, 3):
        counted = complexity.operations_of(memory, key, value, query)
        one = complexity.stm_read_operations(height, width, frames, *dims)
        if name == "gc":
            one = complexity.gc_write_operations(height, width, *dims)
            one += complexity.gc_read_operations(height, width, *dims)
        assert counted == 2 * one and memory.frames == frames


@pytest.mark.parametrize("frames", [1, 7])
def test_counts_of_both_orders(frames):
    """T writes and one read, or STM's read; the context needs the larger of write and read."""
    size = 24, 24, frames, 128, 512
    context, similarity = complexity.counted_operations(*size)
    assert context == (frames + 1) * 576 * 128 * 512
    assert similarity == complexity.stm_read_operations(*size)
    alive = 576 * (128 + 512) + 2 * 128 * 512  # key, value, this frame's context, running mean
    for nbytes in (4, 2):
        stm = complexity.stm_read_bytes(*size, dtype_bytes=nbytes)
        assert complexity.counted_bytes(*size, nbytes) == (nbytes * alive, stm)


def test_bytes_agree_with_real_tensors():
    height, width, frames, key_dim, value_dim = 3, 5, 4, 6, 7
    pixels = height * width
    query, key = torch.rand(pixels, key_dim), torch.rand(frames * pixels, key_dim)
    value = torch.rand(frames * pixels, value_dim)
    logits = query @ key.T
    alive = [query, key, value, logits, logits.softmax(1)]
    shape = height, width, frames, key_dim, value_dim
    assert complexity.stm_read_bytes(*shape) == sum(x.nbytes for x in alive)
    assert complexity.stm_read_bytes(*shape, dtype_bytes=2) == sum(x.half().nbytes for x in alive)

    key, value = key[:pixels], value[:pixels]
    context = key.T @ value
    shape = height, width, key_dim, value_dim
    mean = context.clone()
    assert complexity.gc_write_bytes(*shape) == sum(x.nbytes for x in (key, value, context, mean))
    assert complexity.gc_read_bytes(*shape) == query.nbytes + context.nbytes


def test_break_even_is_where_the_two_orders_cost_the_same():
    for height, width in [(24, 24), (30, 54), (11, 10)]:
        for key_dim, value_dim in [(128, 512), (64, 64)]:
            dims = key_dim, value_dim
            frames = complexity.break_even_frames(height, width, *dims)
            write = complexity.gc_write_operations(height, width, *dims)
            read = complexity.gc_read_operations(height, width, *dims)
            stm = complexity.stm_read_operations(height, width, frames, *dims)
            assert stm == pytest.approx(frames * write + read)
            running = complexity.break_even_frames_running(height, width, *dims)
            stm = complexity.stm_read_operations(height, width, running, *dims)
            assert stm == pytest.approx(write + read)
    assert complexity.break_even_frames(24, 24) < 1  # at 384x384 GC is cheaper from frame one
    assert complexity.break_even_frames(5, 5) == math.inf  # 25 pixels: N (128 + 512) < 128 * 512


@pytest.mark.parametrize("height,width", [(5, 5), (11, 10), (24, 24)])
@pytest.mark.parametrize("key_dim,value_dim", [(128, 512), (64, 256)])
def test_break_even_in_bytes(height, width, key_dim, value_dim):
    """Kept: the memories' own bytes, frame by frame. In a read: the two counts of Table 1."""
    shape = height, width, key_dim, value_dim
    kept, operations = (
        f(*shape) for f in (complexity.break_even_frames_kept, complexity.break_even_frames)
    )
    space_time, context = SpaceTime(), GlobalContext()
    key, value = (torch.zeros(1, dim, height, width) for dim in (key_dim, value_dim))
    for frames in range(1, 9):
        space_time.write(key, value)
        context.write(key, value)
        assert (space_time.nbytes < context.nbytes) == (frames < kept)
    if operations == math.inf:
        assert kept >= 1
    else:
        assert 1 / operations == pytest.approx(1 / kept - 1)
    alive = complexity.break_even_frames_alive(*shape)
    stm = complexity.stm_read_bytes(height, width, alive, key_dim, value_dim)
    assert stm == pytest.approx(complexity.gc_read_bytes(*shape)) and alive < kept


def test_map_size_covers_inputs_that_are_not_multiples_of_the_stride():
    assert complexity.map_size(384, 384) == (24, 24)
    assert complexity.map_size(480, 854) == (30, 54)
    assert complexity.map_size(1080, 1920) == (68, 120)


def test_table_2_counts_the_real_networks():
    rows = complexity.table_2()
    assert rows == [(512, 128, 38_922_434), (512, 512, 46_001_090)]
    assert [f"{count // 10**6} M" for *_, count in rows] == ["38 M", "46 M"]  # rounded down


@pytest.mark.parametrize("first,second", [
    ({"key_dim": 512, "value_dim": 128}, {"key_dim": 512}),  # C_key and C_value swapped
    ({"value_dim": 128}, {"key_dim": 512, "value_dim": 512}),  # values as wide as keys
    ({"local_dim": 128}, {"key_dim": 512, "local_dim": 512}),
    ({"local_dim": 256}, {"key_dim": 512, "local_dim": 256}),
    ({"decoder_dim": 128}, {"key_dim": 512, "decoder_dim": 128}),
    ({"backbone": "resnet18"}, {"key_dim": 512, "backbone": "resnet18"}),
])  # fmt: skip
def test_other_readings_do_not_give_table_2(first, second):
    counts = [complexity.parameters(dataclasses.replace(PAPER, **s)) for s in (first, second)]
    assert [count // 10**6 for count in counts] != [38, 46]


def test_table_2_decides_the_heads():
    """By the layers' shapes: what the two counts leave of each reading of section 3.2."""
    (*_, narrow), (*_, broad) = complexity.table_2()
    head = {c: 3 * 3 * 1024 * c + c for c in (128, 512)}  # a 3x3 convolution from res4
    assert broad - narrow == 2 * (head[512] - head[128])  # key and query grow, nothing else

    def fits(less):
        return [(narrow - less[0]) // 10**6, (broad - less[1]) // 10**6] == [38, 46]

    assert fits((0, 0))
    assert not fits((head[128], head[512]))  # one head for key and query
    assert not fits((head[512] + 2304 * 512,) * 2)  # no local feature, nor its way to 256
    assert not fits((128 + 128 + 512 + 512, 512 * 4))  # heads without biases
    assert fits((-7 * 7 * 64,) * 2)  # one more input channel, as in STM's code: cannot be told


def test_command_prints_markdown_tables(capsys):
    complexity.main()
    printed = capsys.readouterr().out
    assert printed.count("| STM | 100 |") == 3
    assert "| STM | 100 | 21.23 G | 394.0 MiB |" in printed
    assert "| 512x128 | 38,922,434 |" in printed
