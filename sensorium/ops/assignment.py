"""Linear assignment: which row goes with which column so that the total is best."""

from __future__ import annotations

import numpy as np


def assign(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows and columns one to one, as many as there can be, for the least total cost.

    Shortest augmenting paths with dual variables (Jonker and Volgenant 1987; for rectangles: Crouse 2016,
    https://doi.org/10.1109/TAES.2016.140952), O(n^3). Of solutions that cost the same, this takes the one that
    `scipy.optimize.linear_sum_assignment` takes.

    Args:
        cost: (R, C), finite.

    Returns:
        row and column indices of the pairs, int64 (min(R, C),), rows rising.
    """
    cost = np.asarray(cost, dtype=np.float64)
    if not np.isfinite(cost).all():
        raise ValueError("the costs of an assignment must be finite")
    if cost.shape[0] > cost.shape[1]:
        columns, rows = assign(cost.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    column_of = np.full(rows, -1)
    for start in range(rows):
        # Grow a tree of cheapest paths from this row (Dijkstra on reduced costs) until it meets a free column.
        distance = np.full(columns, np.inf)
        before = np.full(columns, -1)
        outside = np.arange(columns - 1, -1, -1)  # columns not in the tree; backwards, so that ties go forwards
        seen = [start]
        row, least = start, 0.0
        while True:
            offers = least + cost[row, outside] - row_price[row] - column_price[outside]
            better = offers < distance[outside]
            distance[outside[better]] = offers[better]
            before[outside[better]] = row
            reach = distance[outside]
            least = float(reach.min())
            nearest = np.flatnonzero(reach == least)
            free = nearest[row_of[outside[nearest]] < 0]
            place = free[-1] if len(free) else nearest[0]
            column = outside[place]
            if row_of[column] < 0:
                break
            outside[place] = outside[-1]
            outside = outside[:-1]
            row = int(row_of[column])
            seen.append(row)
        # New prices keep the reduced costs of the pairs at zero and all others at or above it.
        row_price[start] += least
        if len(seen) > 1:
            inner = np.array(seen[1:])
            entered = column_of[inner]
            row_price[inner] += least - distance[entered]
            column_price[entered] -= least - distance[entered]
        while True:
            row = int(before[column])
            row_of[column] = row
            column, column_of[row] = column_of[row], column
            if row == start:
                break
    return np.arange(rows), column_of


def best_pairs(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows and columns one to one for the greatest total similarity; pairs without any are left out.

    Args:
        similarity: (R, C), not negative.

    Returns:
        row and column indices of the pairs, int64, rows rising.
    """
    nothing = np.zeros(0, dtype=np.int64)
    if not similarity.size:
        return nothing, nothing
    # Where each row's best column is no other row's best, and the only one, there is nothing to solve.
    best = similarity.max(1)
    rows = np.flatnonzero(best > 0)
    found, columns = np.nonzero(similarity[rows] == best[rows, None])
    if len(found) == len(rows) and np.bincount(columns, minlength=1).max() <= 1:
        return rows, columns
    rows, columns = assign(-similarity)
    kept = similarity[rows, columns] > 0
    return rows[kept], columns[kept]
