"""A trigger whose pixels are searched: the mark from which A3FL starts.

A3FL [1]_ does not keep the patch that colluders drew. In every round it changes the patch's pixels by
gradient steps, so that the global model of that round, and one that was just trained to ignore the patch,
both give the target class. What is here is the patch before any search, mid-gray as in the authors' code, at
a place drawn from the colluders' seed; the search needs models and gradients and is in
:mod:`flower_coded.learning.trigger_search`.

References
----------
.. [1] H. Zhang, J. Jia, J. Chen, L. Lin, D. Wu, "A3FL: adversarially adaptive backdoor attacks to federated
   learning", NeurIPS 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flower_coded.attacks.triggers import PixelTrigger

__all__ = ["AdversarialTrigger"]


@dataclass(frozen=True, eq=False)
class AdversarialTrigger(PixelTrigger):
    """A patch to be searched; attributes are those of :class:`~flower_coded.attacks.triggers.PixelTrigger`.

    Examples
    --------
    >>> trigger = AdversarialTrigger.draw((1, 8, 8), np.random.default_rng(1))
    >>> trigger.pattern.tolist()
    [[[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]]
    """

    @classmethod
    def draw(
        cls, image_shape: tuple[int, int, int], generator: np.random.Generator, *, size: int = 3
    ) -> AdversarialTrigger:
        """Mid-gray patch at the place where a pixel trigger of the same draws would be."""
        drawn = PixelTrigger.draw(image_shape, generator, size=size)
        return cls(np.full_like(drawn.pattern, 0.5), drawn.row, drawn.column)
