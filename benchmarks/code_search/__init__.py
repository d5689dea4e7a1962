"""Search for codes with few rows; see ``python benchmarks/search_codes.py --help``."""
