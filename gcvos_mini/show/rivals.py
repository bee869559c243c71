"""Which memory, when? What each is worth, against what it costs as a video grows (notebook 09)."""

import itertools
import statistics

from matplotlib.figure import Figure

from gcvos_mini.costs import Cost

MARKS = "osD^vP*Xpd"  # for those who see no colours


def accuracy_against_cost(results: list[dict], costs: list[Cost]) -> Figure:
    """Each memory as a path: J&F across, bytes (left) and milliseconds (right) along it.

    results: of compare.py, all seeds; costs: of costs.memory_costs, at several lengths. Memories
    that only one of them has are left out. A path ends where a memory no longer fits the machine.
    """
    figure = Figure(figsize=(6, 4.9), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    trained = dict.fromkeys(result["variant"] for result in results)
    names = [n for n in trained if n in {cost.name for cost in costs}]
    for i, (name, mark) in enumerate(zip(names, itertools.cycle(MARKS))):
        JF = statistics.mean(r["scores"]["1"]["JF_mean"] for r in results if r["variant"] == name)
        path = [cost for cost in costs if cost.name == name]
        timed = [cost for cost in path if cost.seconds is not None]
        along = [1e-6 * c.nbytes for c in path], [1e3 * c.seconds for c in timed]
        for ax, x, shown in zip(axes, along, (path, timed)):
            ax.plot(x, [JF] * len(x), color=f"C{i}", marker=mark, ms=7, alpha=0.8,
                    label=name.rpartition(":")[2])  # fmt: skip
            if x and path[-1].nbytes > path[0].nbytes:
                for end in (0, -1):
                    ax.annotate(f"{shown[end].frames:,}", (x[end], JF), (0, 7), ha="center",
                                fontsize=10, textcoords="offset points")  # fmt: skip
    axes[0].set(xlabel="MB of one object's memory", ylabel="J&F")
    axes[1].set(xlabel="ms for one more frame")
    for ax in axes:
        ax.set_xscale("log")
        ax.margins(0.15, 0.1)  # room for the numbers
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False)  # fmt: skip
    return figure
