"""The compiled loops of sparse inference: products and LSTM time steps.

A matrix `[in, out]` is stored as panels of `width` neighbouring columns. A
panel lists its rows that are not all zero: their indices, and `width` values
each. Two ways to multiply, chosen by `lanes`:

- `lanes == 1`: x is `[batch, in]`. The panel's columns are one vector, which
  a few rows of x share while their sums stay in registers.
- `lanes > 1`, for panels too narrow to fill a vector: x is
  `[tiles, in * lanes]`, `lanes` batch rows side by side, and the batch is the
  vector. The shape of the blocks then costs nothing, single weights included.

The innermost loops are written as LLVM vectors of fixed length, which LLVM
maps onto the registers of the machine (AVX2, AVX-512, NEON). All products are
added to what `y` holds.
"""

import functools
from typing import Callable

from llvmlite import ir
import numba
from numba import prange
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
import numpy as np

WIDTHS = (16, 8, 4, 2, 1)
_ROWS_TOGETHER = (6, 4, 2, 1)  # batch rows that share a panel's weights
_MAX_LANES = {16: 8, 8: 8, 4: 24, 2: 32, 1: 32}
_VECTORS_AT_ONCE = 8  # hides the latency of the multiply-adds

_FLOAT, _INT32, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_ONE = np.float32(1)


def layout(width: int, batch: int) -> tuple[int, int]:
    """(lanes, tiles) that suit panels of a width and a batch."""
    if width >= 8 or batch <= 1:
        return 1, batch
    tiles = -(-batch // _MAX_LANES[width])
    return 4 * -(-batch // (4 * tiles)), tiles


def row_block(nbytes: int) -> int:
    """Batch rows to take through all panels before the next ones.

    Few, so that their x stays close, when the weights (`nbytes`) stay in the
    L3 cache anyway; many when the weights come from memory each time.
    """
    return 24 if nbytes < 8 << 20 else 192


def _vector(length: int) -> ir.VectorType:
    return ir.VectorType(_FLOAT, length)


def _vector_at(builder, pointer, index, length: int):
    """Pointer to `length` floats from pointer[index]."""
    return builder.bitcast(
        builder.gep(pointer, [index]), _vector(length).as_pointer()
    )


def _splat(builder, scalar, length: int):
    empty = ir.Constant(_vector(length), ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(empty, scalar, _INT32(0)),
        empty,
        ir.Constant(ir.VectorType(_INT32, length), [0] * length),
    )


def _multiply_add(builder, a, b, total):
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(total.type, [total.type] * 3),
        f"llvm.fmuladd.v{total.type.count}f32",
    )
    return builder.call(function, [a, b, total])


def _lane_vectors(lanes: int) -> list[tuple[int, int]]:
    """(offset, length) of the vectors that make up `lanes` floats."""
    parts, offset = [], 0
    while offset < lanes:
        length = next(n for n in (16, 8, 4) if n <= lanes - offset)
        parts.append((offset, length))
        offset += length
    return parts


class _Tile:
    """Emits one panel times a few batch rows (or one tile of lanes)."""

    def __init__(self, builder, arrays, strides, width, lanes, panel):
        self.builder = builder
        self.x, self.indices, self.values, self.y = arrays
        self.x_stride, self.y_stride = strides
        self.width, self.lanes = width, lanes
        column = builder.mul(panel, _INT64(width * lanes))
        self.y = builder.gep(self.y, [column])

    def emit(self, row, height, start, stop):
        """y[row : row + height, panel] += x[row : row + height] @ panel."""
        b = self.builder
        rows = [b.add(row, _INT64(r)) for r in range(height)]
        xs = [b.gep(self.x, [b.mul(r, self.x_stride)]) for r in rows]
        ys = [b.gep(self.y, [b.mul(r, self.y_stride)]) for r in rows]
        if self.width == self.lanes == 1:
            self._emit_dot(xs[0], ys[0], start, stop)
            return
        if self.lanes == 1:
            targets = [_vector_at(b, y, _INT64(0), self.width) for y in ys]
            factors = functools.partial(self._column_factors, xs)
        else:
            parts = _lane_vectors(self.lanes)
            targets = [
                _vector_at(b, ys[0], _INT64(c * self.lanes + offset), length)
                for c in range(self.width)
                for offset, length in parts
            ]
            factors = functools.partial(self._lane_factors, xs[0], parts)
        floats = sum(t.type.pointee.count for t in targets)
        unroll = max(
            1, min(4, 8 * _VECTORS_AT_ONCE // max(floats, 8 * len(targets)))
        )
        totals = [
            [self._zero(t.type.pointee) for t in targets] for _ in range(unroll)
        ]
        for target in targets:
            self._prefetch(target)

        def step(k, lane):
            for total, (a, w) in zip(totals[lane], factors(k)):
                b.store(_multiply_add(b, a, w, b.load(total)), total)

        self._loop(start, stop, unroll, step)
        for i, target in enumerate(targets):
            total = b.load(totals[0][i])
            for more in totals[1:]:
                total = b.fadd(total, b.load(more[i]))
            b.store(b.fadd(total, b.load(target, align=4)), target, align=4)

    def _column_factors(self, xs, k):
        b = self.builder
        index = self._index(k)
        weights = b.load(
            _vector_at(
                b, self.values, b.mul(k, _INT64(self.width)), self.width
            ),
            align=4,
        )
        return [
            (_splat(b, b.load(b.gep(x, [index])), self.width), weights)
            for x in xs
        ]

    def _lane_factors(self, x, parts, k):
        b = self.builder
        index = b.mul(self._index(k), _INT64(self.lanes))
        inputs = [
            b.load(
                _vector_at(b, x, b.add(index, _INT64(offset)), length), align=4
            )
            for offset, length in parts
        ]
        weight = b.gep(self.values, [b.mul(k, _INT64(self.width))])
        weights = [
            b.load(b.gep(weight, [_INT64(c)])) for c in range(self.width)
        ]
        return [
            (_splat(b, w, length), value)
            for w in weights
            for value, (_, length) in zip(inputs, parts)
        ]

    def _emit_dot(self, x, y, start, stop):
        """One column of single weights, four at a time."""
        b = self.builder
        totals = [self._zero(_vector(4)) for _ in range(2)]
        rest = cgutils.alloca_once_value(b, ir.Constant(_FLOAT, 0.0))
        stop_fours = b.sub(stop, b.urem(b.sub(stop, start), _INT64(8)))

        def fours(k, lane):
            k = b.add(start, b.mul(b.sub(k, start), _INT64(4)))
            inputs = ir.Constant(_vector(4), ir.Undefined)
            for i in range(4):
                value = b.load(b.gep(x, [self._index(b.add(k, _INT64(i)))]))
                inputs = b.insert_element(inputs, value, _INT32(i))
            weights = b.load(_vector_at(b, self.values, k, 4), align=4)
            b.store(
                _multiply_add(b, inputs, weights, b.load(totals[lane])),
                totals[lane],
            )

        def single(k, _):
            product = b.fmul(
                b.load(b.gep(x, [self._index(k)])),
                b.load(b.gep(self.values, [k])),
            )
            b.store(b.fadd(b.load(rest), product), rest)

        count = b.udiv(b.sub(stop_fours, start), _INT64(4))
        self._loop(start, b.add(start, count), 2, fours)
        self._loop(stop_fours, stop, 1, single)
        total = b.fadd(*(b.load(t) for t in totals))
        value = b.fadd(b.load(rest), b.load(y))
        for i in range(4):
            value = b.fadd(value, b.extract_element(total, _INT32(i)))
        b.store(value, y)

    def _index(self, k):
        b = self.builder
        return b.zext(b.load(b.gep(self.indices, [k])), _INT64)

    def _prefetch(self, pointer):
        """Fetches what is added to only at the end of the panel."""
        byte = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32]),
            "llvm.prefetch.p0i8",
        )
        write, keep, data = _INT32(1), _INT32(3), _INT32(1)
        self.builder.call(
            function, [self.builder.bitcast(pointer, byte), write, keep, data]
        )

    def _zero(self, vector_type):
        zeros = ir.Constant(vector_type, [0.0] * vector_type.count)
        return cgutils.alloca_once_value(self.builder, zeros)

    def _loop(self, start, stop, unroll, step):
        """step(k, k % unroll) for k in start..stop."""
        b = self.builder
        middle = b.sub(stop, b.urem(b.sub(stop, start), _INT64(unroll)))
        with cgutils.for_range_slice(
            b, start, middle, _INT64(unroll), _INT64
        ) as (k, _):
            for lane in range(unroll):
                step(b.add(k, _INT64(lane)), lane)
        if unroll > 1:
            with cgutils.for_range_slice(
                b, middle, stop, _INT64(1), _INT64
            ) as (k, _):
                step(k, 0)


@intrinsic(prefer_literal=True)
def _multiply_panel(
    context, x, indptr, indices, values, y, panel, first, last, width, lanes
):
    """Adds x[first:last] @ panel to y[first:last]."""
    signature = types.void(
        x,
        indptr,
        indices,
        values,
        y,
        types.int64,
        types.int64,
        types.int64,
        width,
        lanes,
    )
    columns, side_by_side = width.literal_value, lanes.literal_value
    heights = _ROWS_TOGETHER if side_by_side == 1 and columns >= 8 else (1,)

    def generate(context, builder, signature, args):
        arrays = [
            context.make_array(signature.args[i])(context, builder, args[i])
            for i in range(5)
        ]
        x, indptr, indices, values, y = arrays
        strides = [cgutils.unpack_tuple(builder, a.shape, 2)[1] for a in (x, y)]
        panel, row, last = args[5:8]
        start, stop = (
            builder.load(
                builder.gep(indptr.data, [builder.add(panel, _INT64(i))])
            )
            for i in range(2)
        )
        tile = _Tile(
            builder,
            [a.data for a in (x, indices, values, y)],
            strides,
            columns,
            side_by_side,
            panel,
        )
        for height in heights:
            whole = builder.mul(
                _INT64(height),
                builder.udiv(builder.sub(last, row), _INT64(height)),
            )
            end = builder.add(row, whole)
            with cgutils.for_range_slice(
                builder, row, end, _INT64(height), _INT64
            ) as (r, _):
                tile.emit(r, height, start, stop)
            row = end
        return context.get_dummy_value()

    return signature, generate


@numba.njit(nogil=True)
def _multiply_panels(
    x, indptr, indices, values, y, first, last, block, width, lanes
):
    numba.literally(width)
    numba.literally(lanes)
    rows = x.shape[0]
    for row in range(0, rows, block):
        for panel in range(first, last):
            _multiply_panel(
                x,
                indptr,
                indices,
                values,
                y,
                panel,
                row,
                min(row + block, rows),
                width,
                lanes,
            )


@functools.cache
def product(width: int, lanes: int, parallel: bool = False) -> Callable:
    """Compiled `multiply(x, indptr, indices, values, bounds, block, y)`.

    Adds x @ W to y, `block` rows at a time.

    Args:
      width: columns of a panel.
      lanes: batch rows side by side, see the module's text.
      parallel: panels `bounds[i]:bounds[i + 1]` go to thread i.
    """

    @numba.njit(parallel=parallel, cache=True, nogil=True)
    def multiply(x, indptr, indices, values, bounds, block, y):
        # numba's cache tells functions apart by what they enclose, not by
        # their options: without this use of `parallel` the two would mix.
        chunks = len(bounds) - 1 if parallel else 1
        for i in prange(chunks):
            _multiply_panels(
                x,
                indptr,
                indices,
                values,
                y,
                bounds[i],
                bounds[i + 1],
                block,
                width,
                lanes,
            )

    return multiply


@numba.njit(fastmath={"contract"}, error_model="numpy")
def _exp(x):
    """e**x in float32; written out so that loops over it vectorise."""
    x = np.float32(88) if x > np.float32(88) else x
    x = np.float32(-87) if x < np.float32(-87) else x
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    # n * ln 2 in two parts, the first exact.
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    series = np.float32(1 / 5040)
    series = series * r + np.float32(1 / 720)
    series = series * r + np.float32(1 / 120)
    series = series * r + np.float32(1 / 24)
    series = series * r + np.float32(1 / 6)
    series = series * r + np.float32(1 / 2)
    series = (series * r + _ONE) * r + _ONE
    power = (np.int32(n) + np.int32(127)) << np.int32(23)
    return series * np.int32(power).view(np.float32)


@numba.njit(fastmath={"contract"}, error_model="numpy")
def _sigmoid(x):
    return _ONE / (_ONE + _exp(-x))


@numba.njit(fastmath={"contract"}, error_model="numpy")
def _tanh(x):
    return np.float32(2) * _sigmoid(np.float32(2) * x) - _ONE


@numba.njit(fastmath={"contract"}, error_model="numpy")
def _lstm_units(i, f, g, o, c):
    """Updates c and leaves the output h in o."""
    for k in range(len(c)):
        cell = _sigmoid(f[k]) * c[k] + _sigmoid(i[k]) * _tanh(g[k])
        c[k] = cell
        o[k] = _sigmoid(o[k]) * _tanh(cell)


@numba.njit(nogil=True)
def _lstm_gates(z, c, h, first, last):
    """Units first:last of one step; gate order i, f, c, o."""
    units = c.shape[1]
    for row in range(c.shape[0]):
        i = z[row, first:last]
        f = z[row, units + first : units + last]
        g = z[row, 2 * units + first : 2 * units + last]
        o = z[row, 3 * units + first : 3 * units + last]
        _lstm_units(i, f, g, o, c[row, first:last])
        h[row, first:last] = o


@numba.njit(cache=True, nogil=True)
def lstm_gates(z, c, h):
    """One step's gates: z `[batch, 4 n]`; updates c and h, `[batch, n]`."""
    _lstm_gates(z, c, h, 0, c.shape[1])


@functools.cache
def lstm(width: int, lanes: int, parallel: bool = False) -> Callable:
    """Compiled `run(z, *panels, h, c, outputs)`.

    All time steps of an LSTM layer. With rows = batch, or tiles of lanes:
      z: `[time, rows, 4 n (padded) * lanes]`, the input's part of the gates;
        overwritten.
      panels: indptr, indices, values, bounds, block of the recurrent matrix.
      h, c: `[rows, n * lanes]`; left at their final values.
      outputs: `[time, rows, n * lanes]`.
    """

    @numba.njit(parallel=parallel, cache=True, nogil=True)
    def run(z, indptr, indices, values, bounds, block, h, c, outputs):
        chunks = len(bounds) - 1 if parallel else 1
        units = c.shape[1]
        for t in range(z.shape[0]):
            for i in prange(chunks):
                _multiply_panels(
                    h,
                    indptr,
                    indices,
                    values,
                    z[t],
                    bounds[i],
                    bounds[i + 1],
                    block,
                    width,
                    lanes,
                )
            for i in prange(chunks):
                _lstm_gates(
                    z[t], c, h, i * units // chunks, (i + 1) * units // chunks
                )
            outputs[t] = h

    return run
