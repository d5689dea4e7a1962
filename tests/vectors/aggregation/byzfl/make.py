"""Make ``vectors.json`` beside this file with ByzFL (``pip install byzfl``)."""

import importlib.metadata
import json
from pathlib import Path

import byzfl
import numpy as np

generator = np.random.default_rng(2024)
cases = []
for count, num_byzantine in ((9, 2), (12, 3), (15, 1)):
    honest = generator.normal(0.5, 1.0, (count - num_byzantine, 7))
    liars = generator.normal(-3.0, 0.2, (num_byzantine, 7))
    vectors = np.vstack([honest[:4], liars, honest[4:]]).round(3)
    made = {
        "mean-around-median": byzfl.Meamed(num_byzantine),
        "minimum-diameter": byzfl.MDA(num_byzantine),
        "monna": byzfl.MoNNA(num_byzantine, 0),
        "trimmed-mean": byzfl.TrMean(num_byzantine),
        "nearest-neighbor-mixing": byzfl.NNM(num_byzantine),
        "static-clipping": byzfl.Clipping(2.5),
        "adaptive-clipping": byzfl.ARC(num_byzantine),
    }
    results = {name: rule(vectors.copy()).tolist() for name, rule in made.items()}
    cases.append({"num_byzantine": num_byzantine, "vectors": vectors.tolist(), "results": results})
content = {"byzfl": importlib.metadata.version("byzfl"), "max_norm": 2.5, "cases": cases}
Path(__file__).with_name("vectors.json").write_text(json.dumps(content, indent=1) + "\n")
