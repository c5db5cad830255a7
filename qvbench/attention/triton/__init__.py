"""Fused attention kernels for GPUs."""
