"""Run-config keys of adversarial training, for every ClientApp that trains on images.

==========================  ==========  ===============================================================
key                         default     meaning
==========================  ==========  ===============================================================
``adversarial-training``    ``none``    ``madry`` (the loss at the worst image found) or ``trades``
``adversarial-epsilon``     ``0.0314``  radius of the maximum-norm ball, in units of the pixel range
``adversarial-step-size``   ``0``       length of a step of the search; 0: 2.5 radii over the steps
``adversarial-steps``       ``7``       steps of the search, each as dear as a step of plain training
``adversarial-beta``        ``6``       weight of TRADES' divergence
==========================  ==========  ===============================================================

See :mod:`flower_coded.learning.adversarial_training`.
"""

from __future__ import annotations

from flower_coded.clients.run_config import RunConfig, read_choice, read_float, read_int
from flower_coded.learning.adversarial_training import ADVERSARIAL_METHODS, AdversarialTraining

__all__ = ["ADVERSARIAL_KEYS", "adversarial_training"]

ADVERSARIAL_KEYS = (
    "adversarial-training",
    "adversarial-epsilon",
    "adversarial-step-size",
    "adversarial-steps",
    "adversarial-beta",
)
"""Every key above."""

_USUAL_REACH = 2.5  # steps together over the radius (Madry et al., Appendix C)


def adversarial_training(run_config: RunConfig) -> AdversarialTraining:
    """Read how training images are attacked.

    Raises
    ------
    ParameterError
        If a value is not what its key wants, or the steps cannot reach the radius.

    Examples
    --------
    >>> adversarial_training({"adversarial-training": "madry", "adversarial-epsilon": 0.1}).num_steps
    7
    """
    num_steps = read_int(run_config, "adversarial-steps", AdversarialTraining.num_steps, least=1)
    epsilon = read_float(run_config, "adversarial-epsilon", AdversarialTraining.epsilon, most=1.0)
    step_size = read_float(run_config, "adversarial-step-size", 0.0, most=1.0)
    return AdversarialTraining(
        method=read_choice(run_config, "adversarial-training", "none", ADVERSARIAL_METHODS),
        epsilon=epsilon,
        step_size=step_size or min(1.0, _USUAL_REACH * epsilon / num_steps),
        num_steps=num_steps,
        beta=read_float(run_config, "adversarial-beta", AdversarialTraining.beta),
    )
