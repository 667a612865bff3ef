"""Identification by nearest neighbour: whose recording is this?"""

import numpy as np


def retrieve(probe: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """probe [probes, dim], gallery [gallery, dim] -> dot products [probes, gallery], best gallery row [probes]."""
    similarity = np.asarray(probe) @ np.asarray(gallery).T  # [probes, gallery]
    return similarity, similarity.argmax(axis=1)


def retrieval_accuracy(probe: np.ndarray, gallery: np.ndarray, probe_id: np.ndarray, gallery_id: np.ndarray) -> float:
    """Share of probes whose most similar gallery row is of the same patient.

    Args:
        probe: [probes, dim]; fairseq-signals compares cosines with the training identities, one per identity.
        gallery: [gallery, dim].
        probe_id: [probes], patient of each probe.
        gallery_id: [gallery], patient of each gallery row.
    Raises: ValueError when either set is empty or an id is missing.
    """
    if not len(probe) or not len(gallery):
        raise ValueError(f"identification needs both sets; found {len(probe)} probes and {len(gallery)} gallery items")
    if len(probe) != len(probe_id) or len(gallery) != len(gallery_id):
        raise ValueError("every probe and every gallery item needs one patient id")
    _, best = retrieve(probe, gallery)
    return float(np.mean(np.asarray(gallery_id)[best] == np.asarray(probe_id)))
