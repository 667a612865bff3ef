"""Self-supervised pretraining on ECG segments."""

from dataclasses import dataclass
from typing import Any

from ecg_signals.config import BaseConfig, option
from ecg_signals.registry import register_task
from ecg_signals.tasks.base import BaseTask


@dataclass
class EcgPretrainingConfig(BaseConfig):
    options_of = ("transform", "")

    data: str = option("???", "folder of the manifests, <split>.tsv")
    leads_to_load: Any = option(None, "leads by name or index, a list or a string such as 'I,II'; None: all 12")
    leads_bucket: Any = option(None, "leads of which one is drawn per item; it comes last")
    sample_rate: int | None = option(None, "Hz every file must have; None: the first file's")
    filter: bool = option(False, "high-pass at 0.5 Hz and remove 50 Hz")
    normalize: bool = option(False, "standardise with the values of mean_path and std_path")
    mean_path: str | None = option(None, "text file, one mean per lead")
    std_path: str | None = option(None, "text file, one standard deviation per lead")
    enable_padding: bool = option(False, "pad shorter items with zeros instead of cropping to the shortest")
    enable_padding_leads: bool = option(False, "put the loaded leads into 12 rows, the others zero")
    max_sample_size: int | None = option(None, "longest item, samples; longer ones are cropped at random")
    min_sample_size: int | None = option(None, "shorter items are left out, samples")
    num_batch_buckets: int = option(0, "pad batches to one of this many lengths; 0 off")
    perturbation_mode: list[str] | None = option(None, "augmentations in the order they are applied")
    p: list[float] = option([1.0], "probability of each augmentation; one value serves all")
    inferred_3kg_config: dict[str, Any] | None = option(None, "angle (degrees), scale and mask_ratio of 3KG's views")
    criterion_name: str | None = option(None, "copied from the criterion", follows="criterion._name")


@register_task("ecg_pretraining", dataclass=EcgPretrainingConfig)
class EcgPretraining(BaseTask):
    """The criterion's usual dataset: pairs for CMSC, two views for SimCLR and 3KG, else one segment per item."""
