"""Subset codes: which user trains which model, and how the ensemble's answers are read.

``subset_code`` and ``guarantees`` say what a code is and withstands; ``constructions``, ``tracking``,
``two_stage``, ``known_codes`` make one (with ``covering``, ``geometries``, ``finite_fields``, ``stretching``,
``row_search``, ``column_search``, ``column_growth``, ``column_sums``, ``separable`` below them, and
``bounds``, ``feasibility``, ``trade_off`` beside); ``decoders`` reads an ensemble out (``majority``,
``subset_decoder``, ``covering_decoder``, ``joint_decoder``, with ``answer_likelihood``, ``answer_memory``,
``attacker_sets``, ``coalition_learning``, ``attack_patterns``, ``confusion`` below them); ``accusation``
names users, ``after_naming`` goes on without them and ``certificates`` certify.
"""
