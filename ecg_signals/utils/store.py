"""fairseq-signals' import path of the readers and writers of extracted arrays."""

from ecg_signals.evaluation.store import MemmapBatchWriter, MemmapReader, memmap_batch_process

__all__ = ["MemmapBatchWriter", "MemmapReader", "memmap_batch_process"]
