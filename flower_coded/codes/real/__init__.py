"""Codes over the reals: products from workers who lie.

``real_error_locating`` (with ``locator_matrix``, ``error_location``, ``staged_location``, ``real_tables``)
encodes a table for exact matrix products; ``analog_lagrange`` and ``dft_code`` (with ``dft_localization``,
``dft_correction``, ``index_assignment``, ``analog_privacy``) compute polynomials of hidden data;
``verification_keys``, ``coded_keys`` and ``summation`` check a worker without any code.
"""
