"""The inner loops of the engine: compiled by numba where it is installed, else written in numpy."""

from __future__ import annotations

from typing import Protocol, cast

from service.engine.arrays import ByteArray, FloatArray, IndexArray


class Kernels(Protocol):
    """The interface of both backends. Shapes: image h x w x 3; everything per patch (h-PATCH+1) x (w-PATCH+1)."""

    STRIDE_WHEN_FINE: int
    """Only every so many-th patch is searched in x and y at levels finer than 600 px."""

    def minimum_barrier(self, image: FloatArray, passes: int) -> FloatArray:
        """Per pixel, the least contrast that a path to the border must cross, summed over the channels.

        A raster-scan approximation of the minimum barrier distance (Zhang et al., "Minimum Barrier Salient
        Object Detection at 80 FPS", ICCV 2015). Returns h x w in units of ``image``.
        """
        ...

    def search(
        self,
        query: FloatArray,
        exemplar: FloatArray,
        query_mean: FloatArray,
        exemplar_mean: FloatArray,
        active: ByteArray,
        allowed: ByteArray,
        rows: IndexArray,
        columns: IndexArray,
        costs: FloatArray,
        expected_rows: FloatArray,
        seed: int,
        first_sweep: int,
        sweeps: int,
        radius: int,
        row_weight: float,
        stride: int,
    ) -> None:
        """Improves, in place, which exemplar patch (``rows``, ``columns``) stands for each active query patch.

        PatchMatch (Barnes et al., SIGGRAPH 2009): good matches spread to neighbours, random ones are tried
        within ``radius``. The cost of a pair, written to ``costs``, is
        sum((q - s - shift)^2) + MEAN_SHIFT_COST * PATCH^2 * shift^2 + row_weight * (row - expected row)^2
        with shift = clip(mean(q) - mean(s), +-MEAN_SHIFT_LIMIT): patches may get lighter or darker, so that
        no seam is left in a sky. ``expected_rows`` keeps skies above meadows.
        """
        ...

    def vote(
        self,
        query: FloatArray,
        exemplar: FloatArray,
        query_mean: FloatArray,
        exemplar_mean: FloatArray,
        active: ByteArray,
        unknown: ByteArray,
        confidence: FloatArray,
        rows: IndexArray,
        columns: IndexArray,
        costs: FloatArray,
        window: FloatArray,
        sharpen: bool,
    ) -> None:
        """Sets each unknown pixel of ``query``, in place, to the weighted mean of the patches that cover it.

        A patch weighs its centre's ``confidence`` over its cost, squared when ``sharpen``, times ``window``
        (PATCH x PATCH). Pixels that no patch covers stay.
        """
        ...


def _choose() -> Kernels:
    # A module fulfils the protocol as well as an object does.
    try:
        from service.engine import kernels_numba as compiled
    except ImportError:
        from service.engine import kernels_numpy

        return cast(Kernels, kernels_numpy)
    return cast(Kernels, compiled)


kernels = _choose()
