"""Backdoors against FedAvg and against a coded ensemble."""
