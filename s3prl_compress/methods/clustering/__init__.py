"""Data-free clustering of channels by k-means."""

from .method import ClusteringConfig, clustering

__all__ = ["ClusteringConfig", "clustering"]
