"""Server-side measurement of a coded ensemble on held-out data, clean and triggered.

One half of the held-out samples estimates the models' confusion matrices, which the posterior decoder
needs; the other half measures (the paper's protocol, Sec. 6: 5,000 test images each). Per call: accuracy
of the decoded ensemble and of a plain majority vote; with a trigger at hand also accuracy under attack,
attack success rate, the posterior attack probability of clean and of triggered samples, and the users the
decoder names. All measured samples, clean and triggered, are one stream to a decoder that learns from what it
sees. What it leaves out: finding a trigger nobody gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.data import Trigger
from flower_coded.codes import (
    DEFAULT_DECODER,
    Decoded,
    SubsetCode,
    calibrated_options,
    confusion_counts,
    majority_vote,
    make_decoder,
    reliability,
)
from flower_coded.codes.subset.after_naming import Verdict, judge_retrained
from flower_coded.codes.subset.decoders import check_decoder
from flower_coded.errors import ParameterError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["EnsembleEvaluation", "EnsembleEvaluator", "model_predictor"]

Predict = Callable[[Mapping[str, NDArray[Any]], NDArray[np.float32]], NDArray[np.int64]]


Measured = float | list[float] | list[int]


@dataclass(frozen=True)
class EnsembleEvaluation:
    """One measurement.

    Parameters
    ----------
    metrics : dict
        Numbers and lists of numbers; names in :class:`EnsembleEvaluator`.
    confusion : ndarray of shape (m, c, c), int64
        Counts of (model, true class, answer) on the calibration half.
    """

    metrics: dict[str, Measured]
    confusion: NDArray[np.int64]


class EnsembleEvaluator:
    """Measure stacked states on held-out samples.

    Parameters
    ----------
    code : SubsetCode
        ``m`` models, ``n`` users.
    predict : callable
        ``predict(stacked_state, images) -> ndarray of shape (m, B), int``; for torch models see
        :func:`model_predictor`.
    images : ndarray of shape (B, C, H, W), float32
        Held-out images in [0, 1], never trained on.
    labels : ndarray of shape (B,), int64
        Their classes, ``0 .. num_classes - 1``.
    num_classes : int
        ``c``.
    trigger : object with ``apply(images) -> images``, optional
        The backdoor to test against.
    target : int or sequence of int, optional
        The class the trigger aims at; needed with ``trigger``. Several, where ``trigger`` marks images with
        as many triggers in turn (:class:`~flower_coded.attacks.TriggersInTurn`).
    source : int, optional
        The only class that the trigger is for; success is then measured on its images.
    attackers : sequence of int
        The true attackers, where an experiment knows them: true and false positives are then counted.
    calibration_share : float in (0, 1)
        Share of the samples that estimates the confusion matrices.
    seed : int
        Draws the split.
    decoder : str
        One of :data:`~flower_coded.codes.DECODER_NAMES`.
    decoder_options : mapping
        Keyword arguments of that decoder.
    triggered_images : int, optional
        How many of the measured samples are shown with the trigger too; all if not given. Few test a
        decoder that learns.

    Notes
    -----
    Metrics, all on the measuring half:

    ``ensemble-accuracy``, ``majority-accuracy``
        Share of clean samples given their label, by the decoder and by majority vote.
    ``model-accuracies``
        Of every model alone, a list of ``m``.
    ``attack-probability-clean``, ``attack-probability-triggered``
        Mean posterior probability that a sample carries a trigger.
    ``label-calibration-error``, ``attack-calibration-error``
        How far the probabilities of the labels given, and of an attack, are from what came true
        (:func:`~flower_coded.codes.reliability`), over clean and triggered samples. The second needs a
        trigger and attackers, who are taken to have planted it; triggered samples of the target class do not
        count, since a trigger changes no answer there.
    ``accuracy-under-attack``, ``majority-accuracy-under-attack``
        Share of triggered samples given their true label.
    ``attack-success-rate``, ``majority-attack-success-rate``
        Share of triggered samples of other classes given the target.
    ``suspect-rates``, ``suspected-users``
        Of the samples held for attacked (posterior above 1/2; of the triggered ones where there is a
        trigger, else of the clean ones): the share that names each user, a list of ``n``; and the users
        named by more than half, together with those whose columns of the code are the same (the decoder
        names the first of them). The second is left out when it would be empty.
    ``true-positives``, ``false-positives``
        Right and wrong accusations per triggered sample of another class, on average, by the decoder's
        standard of proof. Users whose columns are the same are one accusation, which is right if one of them
        attacks. On images of the target class a trigger changes no answer, so they tell of nobody.
    ``suspected-attackers``, ``suspected-innocents``
        The same of the likeliest set, of which nothing is proved (the paper's Table 1).
    ``run-suspected-attackers``, ``run-suspected-innocents``
        The same of ``suspected-users``: one answer for the whole stream.
    ``named-users``
        Users accused by the decoder's standard of proof on more than half of the samples held for attacked,
        with those whose columns are the same. Left out when it would be empty: nobody, or "cannot tell".
    ``framed-rate``
        Share of all samples, clean and triggered, on which somebody is accused whose column is no
        attacker's; where ``attackers`` are given, or nobody attacks.

    Raises
    ------
    ParameterError
        If images, labels and parameters do not fit together.

    Examples
    --------
    >>> from flower_coded.codes import backdoor_correction_code
    >>> code = backdoor_correction_code(1, 2, 3)
    >>> labels = np.arange(40) % 4
    >>> images = labels.astype(np.float32).reshape(-1, 1, 1, 1)
    >>> def perfect(state, images):  # three models that read the label off the image
    ...     return np.tile(images.reshape(1, -1).astype(np.int64), (3, 1))
    >>> evaluator = EnsembleEvaluator(code, perfect, images, labels, 4)
    >>> evaluator.evaluate({}).metrics["ensemble-accuracy"]
    1.0
    """

    def __init__(
        self,
        code: SubsetCode,
        predict: Predict,
        images: NDArray[np.float32],
        labels: NDArray[np.int64],
        num_classes: int,
        *,
        trigger: Trigger | None = None,
        target: int | Sequence[int] | None = None,
        source: int | None = None,
        attackers: Sequence[int] = (),
        calibration_share: float = 0.5,
        seed: int = 0,
        decoder: str = DEFAULT_DECODER,
        decoder_options: Mapping[str, Any] | None = None,
        triggered_images: int | None = None,
    ) -> None:
        if len(images) != len(labels) or len(labels) < 2:
            raise ParameterError("images", f"must be one per label, at least 2 ({len(labels)})", len(images))
        if not 0 < calibration_share < 1:
            raise ParameterError("calibration_share", "must lie in (0, 1)", calibration_share, hint="0.5")
        if (trigger is None) != (target is None):
            raise ParameterError("target", "must be given with trigger, and only then", target)
        if not all(0 <= user < code.num_users for user in attackers):
            raise ParameterError("attackers", f"must be users 0 .. {code.num_users - 1}", list(attackers))
        self.code, self.num_classes, self.target, self.source = code, num_classes, target, source
        self.attackers = sorted(set(attackers))
        check_decoder(decoder, decoder_options)
        if triggered_images is not None and triggered_images < 1:
            raise ParameterError("triggered_images", "must be at least 1", triggered_images)
        self.decoder, self.decoder_options = decoder, dict(decoder_options or {})
        self._predict = predict
        order = np.random.default_rng(seed).permutation(len(labels))
        count = min(max(1, round(calibration_share * len(labels))), len(labels) - 1)
        self._calibration = (images[order[:count]], labels[order[:count]])
        self._measuring = (images[order[count:]], labels[order[count:]])
        self._triggered = None if trigger is None else trigger.apply(self._measuring[0][:triggered_images])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the held-out images."""
        channels, height, width = self._measuring[0].shape[1:]
        return channels, height, width

    @property
    def measuring(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Images (B, C, H, W), without trigger, and labels (B,) of the half that measures.

        The other half has estimated the confusion matrices: figures about the decoder belong on this one.
        """
        return self._measuring

    def confusion(self, stacked_state: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Count (model, true class, answer) on the calibration half; shape (m, c, c)."""
        return self._calibration_counts(stacked_state)[1]

    def calibrated(
        self, stacked_state: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Give confusion counts and the decoder's options, with what the calibration half tells of both."""
        answers, confusion = self._calibration_counts(stacked_state)
        options = calibrated_options(self.decoder, self.code, confusion, answers, self.decoder_options)
        return confusion, options

    def _calibration_counts(
        self, stacked_state: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Answers (m, B) to the calibration half, and their counts (m, c, c)."""
        images, labels = self._calibration
        answers = self._predict(stacked_state, images)
        return answers, confusion_counts(answers, labels, self.num_classes)

    def evaluate(
        self, stacked_state: Mapping[str, NDArray[Any]], *, alone: bool = False
    ) -> EnsembleEvaluation:
        """Measure one stacked state.

        Parameters
        ----------
        stacked_state : mapping of str to ndarray of shape (m, ...)
            The ensemble.
        alone : bool
            Whether a decoder that learns sees the clean samples only, and then decodes every triggered one by
            itself, without having observed it: what an attack on a single sample does, which nothing repeats.
            It needs a trigger to make a difference.

        Returns
        -------
        EnsembleEvaluation
        """
        confusion, options = self.calibrated(stacked_state)
        decoder = make_decoder(self.decoder, self.code, confusion, options)
        labels = self._measuring[1]
        stream = self._stream(stacked_state)
        memory = decoder.observe(decoder.init(), stream[:, : len(labels)] if alone else stream)
        answers = stream[:, : len(labels)]
        triggered = None if self._triggered is None else stream[:, len(labels) :]
        decoded = decoder.decode(answers, memory)
        metrics: dict[str, Measured] = {
            "ensemble-accuracy": _share(decoded.labels == labels),
            "majority-accuracy": _share(majority_vote(answers, self.num_classes).labels == labels),
            "model-accuracies": [_share(row == labels) for row in answers],
            "attack-probability-clean": float(decoded.attack_probability.mean()),
        }
        parts = [decoded]
        if triggered is not None:
            decoded = decoder.decode(triggered, memory)
            metrics |= self._attack_metrics(triggered, decoded)
            parts.append(decoded)
            if self.attackers:
                metrics["attack-calibration-error"] = self._attack_calibration(*parts)
        is_right = np.concatenate([part.labels == labels[: len(part.labels)] for part in parts])
        told = np.concatenate([part.label_probabilities.max(axis=1) for part in parts])
        metrics["label-calibration-error"] = reliability(told, is_right).calibration_error
        if self.attackers or triggered is None:
            named = np.vstack([part.named for part in parts])
            metrics["framed-rate"] = _share(named[:, ~self._is_guilty()].any(axis=1))
        return EnsembleEvaluation(metrics | self._suspects(decoded), confusion)

    def judge(
        self,
        stacked_state: Mapping[str, NDArray[Any]],
        retrained: Mapping[str, NDArray[Any]],
        *,
        max_obedience: float = 0.1,
    ) -> Verdict:
        """Ask the ensemble whether a model that was trained without some users still obeys them.

        Parameters
        ----------
        stacked_state : mapping of str to ndarray of shape (m, ...)
            The ensemble, which is the referee.
        retrained : mapping of str to ndarray of shape (1, ...)
            The model.
        max_obedience : float
            See :func:`~flower_coded.codes.subset.after_naming.judge_retrained`.

        Returns
        -------
        Verdict
            From the same stream that :meth:`evaluate` measures; neither true labels nor the trigger's place
            in it are used.
        """
        decoder = make_decoder(self.decoder, self.code, *self.calibrated(stacked_state))
        stream = self._stream(stacked_state)
        decoded = decoder.decode(stream, decoder.observe(decoder.init(), stream))
        return judge_retrained(
            decoded,
            stream,
            self._stream(retrained)[0],
            max_obedience=max_obedience,
        )

    def _stream(self, stacked_state: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Answers to all measured samples, clean ones first, then those with the trigger."""
        answers = self._predict(stacked_state, self._measuring[0])
        if self._triggered is None:
            return answers
        return np.hstack([answers, self._predict(stacked_state, self._triggered)])

    def _is_guilty(self) -> NDArray[np.bool_]:
        """Tell whose column is an attacker's, (n,): naming one of these is right."""
        return np.asarray(self.code.alike[self.attackers].any(axis=0))

    def _attack_metrics(self, answers: NDArray[np.int64], decoded: Decoded) -> dict[str, Measured]:
        labels = self._measuring[1][: answers.shape[1]]
        vote = majority_vote(answers, self.num_classes).labels
        targets, others = self._targets(labels)
        metrics: dict[str, Measured] = {
            "accuracy-under-attack": _share(decoded.labels == labels),
            "majority-accuracy-under-attack": _share(vote == labels),
            "attack-success-rate": _share(decoded.labels[others] == targets[others]),
            "majority-attack-success-rate": _share(vote[others] == targets[others]),
            "attack-probability-triggered": float(decoded.attack_probability.mean()),
        }
        if self.attackers:
            right, wrong = self._right_and_wrong(decoded.named[others])
            metrics |= {"true-positives": right, "false-positives": wrong}
            right, wrong = self._right_and_wrong(decoded.suspects[others])
            metrics |= {"suspected-attackers": right, "suspected-innocents": wrong}
            of_run = np.isin(
                np.arange(self.code.num_users), self._suspects(decoded).get("suspected-users", [])
            )
            right, wrong = self._right_and_wrong(of_run[None])
            metrics |= {"run-suspected-attackers": right, "run-suspected-innocents": wrong}
        return metrics

    def _targets(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Give what the trigger asks of each triggered sample, and where that is not its own class."""
        assert self.target is not None, "given with the trigger"
        targets = np.resize(self.target, len(labels))
        return targets, labels != targets if self.source is None else labels == self.source

    def _attack_calibration(self, clean: Decoded, triggered: Decoded) -> float:
        """Return the calibration error of attack probabilities, clean samples against triggered ones."""
        _, others = self._targets(self._measuring[1][: len(triggered.labels)])
        told = np.concatenate([clean.attack_probability, triggered.attack_probability[others]])
        is_attack = np.arange(len(told)) >= len(clean.labels)
        return reliability(told, is_attack).calibration_error

    def _right_and_wrong(self, marked: NDArray[np.bool_]) -> tuple[float, float]:
        """Mean number of right and of wrong marks per sample (B, n), one per set of equal columns."""
        columns, group_of = np.unique(self.code.matrix, axis=1, return_inverse=True)
        member = group_of.ravel() == np.arange(columns.shape[1])[:, None]  # (groups, n)
        # One mark or several within a group say the same: one of these did it.
        marks = (marked[:, None] & member).any(axis=2).sum(axis=0) / max(1, len(marked))
        is_right = member[:, self.attackers].any(axis=1)
        return float(marks[is_right].sum()), float(marks[~is_right].sum())

    def _suspects(self, decoded: Decoded) -> dict[str, Measured]:
        attacked = decoded.attack_probability > 0.5
        number = max(1, int(attacked.sum()))
        suspected = decoded.suspects[attacked].sum(axis=0) / number
        named = decoded.named[attacked].sum(axis=0) / number
        lists = {
            "suspected-users": np.flatnonzero(self.code.alike @ suspected > 0.5),
            "named-users": np.flatnonzero(named > 0.5),
        }
        rates: dict[str, Measured] = {"suspect-rates": [float(share) for share in suspected]}
        return rates | {key: [int(user) for user in users] for key, users in lists.items() if len(users)}


def model_predictor(model: nn.Module, *, device: str = "cpu", batch_size: int = 1024) -> Predict:
    """Make ``predict(stacked_state, images)`` from one torch model, one state after the other.

    Parameters
    ----------
    model : torch.nn.Module
        Any classifier with logits of shape (B, c), batch normalization included; its weights are overwritten.
    device : str
        ``"cpu"`` or ``"cuda"``.
    batch_size : int
        Images at a time.

    Returns
    -------
    callable
        ``(stacked_state, images (B, C, H, W)) -> ndarray of shape (m, B), int64``.

    Examples
    --------
    >>> from torch import nn
    >>> predict = model_predictor(nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)))
    >>> two_models = {"1.weight": np.stack([np.eye(2), -np.eye(2)]).astype(np.float32)}
    >>> predict(two_models, np.array([[[[1.0, 0.0]]]], dtype=np.float32)).tolist()  # brighter, then darker
    [[0], [1]]
    """
    from flower_coded.learning.models import set_state, unstack_states
    from flower_coded.learning.training import predict_labels

    def predict(stacked_state: Mapping[str, NDArray[Any]], images: NDArray[np.float32]) -> NDArray[np.int64]:
        answers = []
        for state in unstack_states(stacked_state):
            set_state(model, state)
            answers.append(predict_labels(model, images, batch_size=batch_size, device=device))
        return np.stack(answers)

    return predict


def _share(hits: NDArray[np.bool_] | np.bool_) -> float:
    return float(hits.mean()) if hits.size else 0.0
