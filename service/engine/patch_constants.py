"""Numbers that the search and the votes of both kernel implementations share.

numba keeps compiled code for as long as ``kernels_numba.py`` itself is unchanged: change that file (its release
marker) along with any number here, or old code will go on with the old ones.
"""

from __future__ import annotations

PATCH = 7
"""Side of a patch in pixels. Patches are addressed by their top left pixel."""

MEAN_SHIFT_LIMIT = 0.05
"""The limit to which a patch's mean colour may be shifted to fit its new surroundings, per channel in 0..1."""

MEAN_SHIFT_COST = 0.6
"""The cost of shifting a patch, relative to a mismatch of the same size."""

MINIMUM_COST = 0.02
"""Added to costs before dividing by them, so that a perfect match does not outvote all others."""
