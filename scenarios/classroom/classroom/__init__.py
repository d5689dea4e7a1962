"""A lecture: one federated training, attacked and defended in a prologue and four acts."""
