"""One lesson of 45 minutes: who lied? A marimo notebook; see docs/notebooks/README.md."""

import marimo

app = marimo.App(width="medium", app_title="Who lied?")


@app.cell
def _():
    import itertools

    import marimo as mo
    import numpy as np

    from flower_coded.codes import (
        RealErrorLocatingCode,
        backdoor_correction_code,
        backdoor_tracking_code,
        make_decoder,
    )
    from flower_coded.codes.real.verification_keys import VerificationKey
    from flower_coded.crypto import RampSharing
    from flower_coded.crypto.field_vectors import from_ints, to_ints
    from flower_coded.errors import FlowerCodedError

    return (
        FlowerCodedError,
        RampSharing,
        RealErrorLocatingCode,
        VerificationKey,
        backdoor_correction_code,
        backdoor_tracking_code,
        from_ints,
        itertools,
        make_decoder,
        mo,
        np,
        to_ints,
    )


@app.cell
def _(mo):
    mo.md("""
    # Who lied?

    Twelve users train models together, and some of them lie. Move the sliders; everything below them follows.
    Four parts of about ten minutes: **a vote and its limits**, **break a code**, **share a secret**, **make a worker lie**.
    """)
    return


@app.cell
def _(mo):
    kind = mo.ui.dropdown(
        {"correction, 12 users, k = 4": "correction", "tracking, 16 users, k = 2": "tracking"},
        value="correction, 12 users, k = 4",
        label="code",
    )
    num_attackers = mo.ui.slider(0, 4, value=2, label="attackers", show_value=True)
    share_poisoned = mo.ui.slider(
        0.1, 1.0, step=0.1, value=1.0, label="share of their models they poison", show_value=True
    )
    mistakes = mo.ui.slider(
        0.0, 0.2, step=0.01, value=0.03, label="mistakes of clean models", show_value=True
    )
    seed = mo.ui.slider(1, 20, value=1, label="seed", show_value=True)
    mo.vstack(
        [
            mo.md(
                "## 1. A vote and its limits (12 minutes)\n\nA row is a model, a filled cell a user whom it learns from. Attackers teach "
                "a trigger to the models that they reach: such a model answers 8 to every triggered image, whatever it shows."
            ),
            kind,
            num_attackers,
            share_poisoned,
            mistakes,
            seed,
        ]
    )
    return kind, mistakes, num_attackers, seed, share_poisoned


@app.cell
def _(
    backdoor_correction_code, backdoor_tracking_code, kind, mistakes, np, num_attackers, seed, share_poisoned
):
    code = (
        backdoor_correction_code(4, 4, 12) if kind.value == "correction" else backdoor_tracking_code(2, 4, 16)
    )
    generator = np.random.default_rng(seed.value)
    attackers = np.sort(generator.choice(code.num_users, num_attackers.value, replace=False))
    reached = np.flatnonzero(code.matrix[:, attackers].any(axis=1))
    poisoned = generator.permutation(reached)[: int(np.ceil(share_poisoned.value * len(reached)))]
    truth = generator.integers(0, 10, 400)
    answers = np.where(
        generator.random((code.num_models, 400)) < mistakes.value,
        generator.integers(0, 10, (code.num_models, 400)),
        truth,
    )
    is_triggered = np.arange(400) >= 200  # the second half of the images carries the trigger
    answers[np.ix_(poisoned, np.flatnonzero(is_triggered))] = 8
    confusion = np.full((code.num_models, 10, 10), mistakes.value / 9)
    confusion[:, np.arange(10), np.arange(10)] = 1 - mistakes.value
    return answers, attackers, code, confusion, is_triggered, poisoned, truth


@app.cell
def _(attackers, code, mo, poisoned):
    def cell(model, user):
        color = "#fff" if not code.matrix[model, user] else "#d55e00" if user in attackers else "#0072b2"
        return f'<td style="background:{color};border:1px solid #ccd;width:1.3em;height:1.1em"></td>'

    rows = "".join(
        f'<tr>{"".join(cell(model, user) for user in range(code.num_users))}<td style="padding-left:.6em">'
        f"{'poisoned' if model in poisoned else ''}</td></tr>"
        for model in range(code.num_models)
    )
    mo.vstack(
        [
            mo.Html(f"<table style='border-collapse:collapse'>{rows}</table>"),
            mo.md(
                f"Orange: a liar. {len(poisoned)} of {code.num_models} models are poisoned. A majority of the models is "
                f"{'**lost**' if 2 * len(poisoned) >= code.num_models else 'clean'}."
            ),
        ]
    )
    return


@app.cell
def _(answers, attackers, code, confusion, is_triggered, make_decoder, mo, np, truth):
    def measure(name):
        decoded = make_decoder(name, code, confusion).decode(answers)
        counted = is_triggered & (truth != 8)
        accused = np.flatnonzero(decoded.named[is_triggered].mean(axis=0) > 0.5)
        return {
            "decoder": name,
            "accuracy, no trigger": round(float((decoded.labels == truth)[~is_triggered].mean()), 3),
            "accuracy, trigger": round(float((decoded.labels == truth)[counted].mean()), 3),
            "the attack succeeds": round(float((decoded.labels == 8)[counted].mean()), 3),
            "accused": " ".join(map(str, accused)) or "nobody",
            "innocents among them": int((~np.isin(accused, attackers)).sum()),
        }

    found = [measure(name) for name in ("majority", "posterior", "unknown-obedience", "covering", "joint")]
    mo.vstack(
        [
            mo.ui.table(found, selection=None),
            mo.md(
                f"The liars are {', '.join(map(str, attackers)) or 'nobody'}. *Ask the class:* with how many attackers does the vote fall? "
                "Lower the share of poisoned models: who believes the liars then, and whom does he accuse?"
            ),
        ]
    )
    return


@app.cell
def _(mo):
    pair = mo.ui.dropdown(
        [f"{a} and {b}" for a in range(4) for b in range(a + 1, 6)],
        value="0 and 1",
        label="the liars are users",
    )
    mo.vstack(
        [
            mo.md(
                "## 2. Break a code (10 minutes)\n\nThe paper's decoder believes that a liar spoils *every* model that he belongs to. "
                "Whoever has read it spoils only some. Here all subsets of two liars' models are tried against it, models that never err."
            ),
            pair,
        ]
    )
    return (pair,)


@app.cell
def _(backdoor_correction_code, itertools, make_decoder, mo, np, pair):
    plain_code = backdoor_correction_code(4, 4, 12)
    liars = [int(word) for word in pair.value.split(" and ")]
    their_models = np.flatnonzero(plain_code.matrix[:, liars].any(axis=1))
    subsets = [
        np.array(chosen, dtype=int)
        for size in range(1, len(their_models) + 1)
        for chosen in itertools.combinations(their_models, size)
    ]
    tried = np.zeros((plain_code.num_models, len(subsets)), dtype=int)  # the truth is 0 ...
    for column, chosen in enumerate(subsets):
        tried[chosen, column] = 8  # ... and the liars want 8
    sure = np.tile(np.eye(10), (plain_code.num_models, 1, 1))
    fooled = {
        name: make_decoder(name, plain_code, sure).decode(tried).labels == 8
        for name in ("majority", "posterior", "unknown-obedience", "covering")
    }
    paper = make_decoder("posterior", plain_code, sure).decode(tried)
    framing = int(np.argmax(fooled["posterior"] & (len(their_models) - tried.astype(bool).sum(axis=0) >= 0)))
    blamed = np.flatnonzero(paper.suspects[framing])
    mo.vstack(
        [
            mo.ui.table(
                [
                    {"decoder": name, f"subsets that fool it, of {len(subsets)}": int(hits.sum())}
                    for name, hits in fooled.items()
                ],
                selection=None,
            ),
            mo.md(
                f"Poisoning only {', '.join(f'model {model}' for model in subsets[framing])} fools the paper's decoder, and its likeliest attackers are users "
                f"{', '.join(map(str, blamed))}: **{len(set(blamed) - set(liars))} of them innocent**. "
                f"This code promises to hold against {plain_code.guarantees.corrected_selective} liars who choose, and the covering decoder keeps that."
                if fooled["posterior"].any()
                else "No subset fools the paper's decoder here. Try other liars."
            ),
        ]
    )
    return


@app.cell
def _(mo):
    secret = mo.ui.text("2026", label="a secret number")
    together = mo.ui.slider(1, 7, value=2, label="users who put their shares together", show_value=True)
    mo.vstack(
        [
            mo.md(
                "## 3. Share a secret (10 minutes)\n\nSeven users get a share each; any two learn nothing, any three know the number."
            ),
            secret,
            together,
        ]
    )
    return secret, together


@app.cell
def _(FlowerCodedError, RampSharing, from_ints, mo, secret, to_ints, together):
    sharing = RampSharing(num_users=7, num_parts=1, num_colluders=2)
    number = int(secret.value) if secret.value.strip().isdigit() else 2026
    parts = sharing.split(from_ints([number]))
    shares = sharing.share(parts, sharing.draw_masks(1))
    listed = "\n".join(f"* user {user}: `{to_ints(shares[user])[0]}`" for user in range(together.value))
    try:
        rebuilt = to_ints(
            sharing.join(
                sharing.reconstruct(shares[: together.value], users=list(range(together.value))), length=1
            )
        )[0]
        outcome = f"Together they know the number: **{rebuilt}**."
    except FlowerCodedError as refusal:
        outcome = (
            f"*{refusal}.* And rightly so: for **every** number there are masks that give exactly these shares, each as likely as any other. "
            "Press the slider to and fro: the shares are drawn anew, the secret stays."
        )
    mo.md(f"{listed}\n\n{outcome}")
    return


@app.cell
def _(mo):
    size = mo.ui.slider(-9, 3, value=0, label="size of the lie, power of ten", show_value=True)
    num_liars = mo.ui.slider(0, 5, value=2, label="workers that lie", show_value=True)
    mo.vstack(
        [
            mo.md(
                "## 4. Make a worker lie (10 minutes)\n\nSeven workers multiply a table by a vector. The code has room for two liars, if it "
                "has to find them by itself. With *keys*, a secret check of every answer, a liar is only somebody whose answer is missing."
            ),
            size,
            num_liars,
        ]
    )
    return num_liars, size


@app.cell
def _(FlowerCodedError, RealErrorLocatingCode, VerificationKey, mo, np, num_liars, size):
    coded = RealErrorLocatingCode(7, 2)
    draw = np.random.default_rng(5)
    table, vector = draw.normal(size=(30, 4)), draw.normal(size=4)
    workers = coded.encode(table)
    keys = [VerificationKey.of_share(own, generator=draw) for own in workers]
    sent = workers @ vector
    sent[: num_liars.value] += 10.0**size.value * draw.normal(size=(num_liars.value, sent.shape[1]))
    caught = [not key.check(one, vector).is_passed for key, one in zip(keys, sent, strict=True)]

    def outcome_of(**options):
        try:
            decoded_product = coded.decode(sent, len(table), tolerance=1e-9, **options)
            return f"product right to {np.abs(decoded_product.values - table @ vector).max():.0e}"
        except FlowerCodedError as refusal:
            return f"refused: {refusal}"

    with_keys = coded.recover(sent, len(table), np.array(caught)) if sum(caught) <= coded.num_checks else None
    error = (
        "too few left"
        if with_keys is None
        else f"product right to {np.abs(with_keys - table @ vector).max():.0e}"
    )
    mo.md(
        f"* keys caught workers: **{', '.join(str(w) for w, is_caught in enumerate(caught) if is_caught) or 'none'}**, {error}\n"
        f"* the code alone: {outcome_of()}\n\n*Ask the class:* how many liars does each stand? How small a lie does a key notice?"
    )
    return


if __name__ == "__main__":
    app.run()
