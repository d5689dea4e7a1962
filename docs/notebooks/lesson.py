"""One lesson of 45 minutes: who lied? A marimo notebook; see docs/notebooks/README.md."""

import marimo

app = marimo.App(width="medium", app_title="Who lied?")


@app.cell
def _():
    from dataclasses import asdict

    import marimo as mo
    import numpy as np

    from flower_coded.lesson import (
        ask_workers,
        break_a_code,
        lesson_code,
        models_of,
        share_a_number,
        take_a_vote,
    )

    return (
        ask_workers,
        asdict,
        break_a_code,
        lesson_code,
        mo,
        models_of,
        np,
        share_a_number,
        take_a_vote,
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
def _(kind, lesson_code, models_of, np, num_attackers, seed, share_poisoned):
    code = lesson_code(kind.value)
    generator = np.random.default_rng(seed.value)
    attackers = np.sort(generator.choice(code.num_users, num_attackers.value, replace=False)).tolist()
    reached = models_of(code, attackers)
    num_poisoned = int(np.ceil(share_poisoned.value * len(reached)))
    poisoned = generator.permutation(reached)[:num_poisoned].tolist()
    return attackers, code, poisoned


@app.cell
def _(attackers, code, mo, np, poisoned):
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
                f"Orange: a liar. {len(poisoned)} of {code.num_models} models are poisoned. The vote is "
                f"{('**lost**', '**tied**', 'safe')[1 + np.sign(code.num_models - 2 * len(poisoned))]}."
            ),
        ]
    )
    return


@app.cell
def _(asdict, attackers, code, mistakes, mo, poisoned, seed, take_a_vote):
    found = [
        asdict(readout) | {"innocents": len(set(readout.accused) - set(attackers))}
        for readout in take_a_vote(code, attackers, poisoned, mistakes=mistakes.value, seed=seed.value)
    ]
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
def _(break_a_code, lesson_code, mo, pair):
    liars = [int(word) for word in pair.value.split(" and ")]
    plain_code = lesson_code("correction")
    broken = break_a_code(plain_code, liars)
    mo.vstack(
        [
            mo.ui.table(
                [
                    {"decoder": name, f"subsets that fool it, of {broken.num_subsets}": hits}
                    for name, hits in broken.fooled.items()
                ],
                selection=None,
            ),
            mo.md(
                f"Poisoning only {', '.join(f'model {model}' for model in broken.example)} fools the paper's decoder, and its likeliest "
                f"attackers are users {', '.join(map(str, broken.blamed))}: **{len(set(broken.blamed) - set(liars))} of them innocent**. "
                f"This code promises to hold against {plain_code.guarantees.corrected_selective} liars who choose, and the covering decoder keeps that."
                if broken.example
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
def _(mo, secret, share_a_number, together):
    number = int(secret.value) if secret.value.strip().isdigit() else 2026
    shared = share_a_number(number, together.value)
    listed = "\n".join(f"* user {user}: `{share}`" for user, share in enumerate(shared.shares))
    outcome = (
        f"*{shared.refusal}.* And rightly so: for **every** number there are masks that give exactly these shares, each as likely as any other. "
        "Press the slider to and fro: the shares are drawn anew, the secret stays."
        if shared.rebuilt is None
        else f"Together they know the number: **{shared.rebuilt}**."
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
def _(ask_workers, mo, num_liars, size):
    products = ask_workers(num_liars.value, 10.0**size.value)

    def told(product):
        return (
            f"refused: {product.refusal}"
            if product.error is None
            else f"product right to {product.error:.0e}"
        )

    mo.md(
        f"* keys caught workers: **{', '.join(map(str, products.caught)) or 'none'}**, {told(products.by_keys)}\n"
        f"* the code alone: {told(products.by_code)}\n\n*Ask the class:* how many liars does each stand? How small a lie does a key notice?"
    )
    return


if __name__ == "__main__":
    app.run()
