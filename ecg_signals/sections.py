"""The sections that every recipe has, with fairseq-signals' keys and defaults and a few of ours."""

from dataclasses import dataclass, field
from typing import Any

from ecg_signals.config import BaseConfig, option

WINDOW_RULES = ("mean", "max", "mean_logits")  # mean or maximum of the windows' probabilities, or mean of their logits


@dataclass
class CommonConfig(BaseConfig):
    no_progress_bar: bool = option(False, "plain lines instead of a progress bar when log_format is not given")
    log_interval: int = option(100, "updates between two printed lines", least=1)
    log_format: str | None = option(
        None, "how statistics are printed", choices=("json", "none", "simple", "tqdm", "csv")
    )
    log_file: str | None = option(None, "file that also receives every log message")
    tensorboard_logdir: str | None = option(None, "folder for TensorBoard event files", ours=True)
    wandb_project: str | None = option(None, "Weights & Biases project; WANDB_MODE=offline works without network")
    wandb_entity: str | None = option(None, "Weights & Biases entity")
    seed: int = option(1, "seed of every random stream", least=0, most=2**31 - 1)
    cpu: bool = option(False, "train on the CPU although a GPU is there", ours=True)
    fp16: bool = option(False, "half precision with dynamic loss scaling")
    memory_efficient_fp16: bool = option(False, "half precision without a float32 copy of the weights; implies fp16")
    fp16_no_flatten_grads: bool = option(False, "fp16 checkpoints store optimizer state per parameter, not flat")
    fp16_init_scale: int = option(128, "first loss scale", least=1)
    fp16_scale_window: int | None = option(
        None,
        "updates without overflow before the scale doubles; None: 2^14 / ranks / update_freq; 0: it never does",
        least=0,
    )
    fp16_scale_tolerance: float = option(
        0.0, "share of overflows tolerated before the scale is halved", least=0, most=1
    )
    min_loss_scale: float = option(1e-4, "training stops when the loss scale falls to this", least=0)
    threshold_loss_scale: float | None = option(None, "the loss scale is never halved below this")
    bf16: bool = option(False, "bfloat16 autocast; weights, gradients and optimizer stay float32", ours=True)
    memory_efficient_bf16: bool = option(False, "the same as bf16 here", ours=True)
    amp: bool = option(False, "the same as fp16 here: autocast with a dynamic loss scale", ours=True)
    tf32: bool = option(False, "TensorFloat-32 matrix products on GPUs that have them", ours=True)
    compile: bool = option(False, "torch.compile the model", ours=True)
    empty_cache_freq: int = option(0, "updates between two emptyings of the CUDA cache; 0 never")
    profile: bool = option(False, "print where the time of updates 4 to 6 goes, and write a trace of them")
    reset_logging: bool = option(False, "fairseq's log line format instead of hydra's")
    suppress_crashes: bool = option(False, "log an exception and return inf, for sweeps")
    user_dir: str | None = option(None, "folder or module whose registered names are added", ours=True)


@dataclass
class DistributedTrainingConfig(BaseConfig):
    distributed_world_size: int | None = option(None, "processes in all; None: the visible GPUs, else 1")
    distributed_rank: int = option(0, "rank of this node's first process")
    distributed_backend: str = option("nccl", "nccl, or gloo; without a GPU always gloo", choices=("nccl", "gloo"))
    distributed_init_method: str | None = option(None, "rendezvous, such as tcp://host:port")
    distributed_port: int = option(12355, "port of the rendezvous on the first SLURM node")
    distributed_no_spawn: bool = option(False, "never start further processes", ours=True)
    device_id: int = option(0, "GPU of this process; LOCAL_RANK wins")
    ddp_comm_hook: str = option("none", "gradient compression", choices=("none", "fp16"))
    bucket_cap_mb: int = option(25, "megabytes per gradient bucket", least=1)
    gradient_as_bucket_view: bool = option(False, "gradients share memory with the buckets", ours=True)
    find_unused_parameters: bool = option(False, "let DDP look for parameters without a gradient in every update")
    heartbeat_timeout: int = option(-1, "seconds without progress that end the run, naming the rank at fault; -1 never")
    requeue: bool = option(False, "after a signal and its checkpoint: `scontrol requeue` of the SLURM job", ours=True)
    broadcast_buffers: bool = option(False, "synchronise buffers in every forward pass")
    ddp_backend: str = option(
        "pytorch_ddp", "fully_sharded: every rank holds a part of the weights; the others: all of them, torch's DDP",
        choices=("pytorch_ddp", "c10d", "legacy_ddp", "no_c10d", "fully_sharded"), ours=True,
    )  # fmt: skip
    no_reshard_after_forward: bool = option(
        False, "fully_sharded: keep a block's whole weights from its forward to its backward pass", ours=True
    )
    fp32_reduce_scatter: bool = option(False, "fully_sharded, fp16 or bf16: sum gradients in float32", ours=True)
    cpu_offload: bool = option(False, "fully_sharded: weights and optimizer lie in the CPU's memory", ours=True)
    use_sharded_state: bool = option(False, "checkpoints are folders, into which every rank writes its part", ours=True)


@dataclass
class DatasetConfig(BaseConfig):
    """The `dataset` section; a registered dataset's own options extend it."""

    num_workers: int = option(1, "loading processes; 0 loads in the training process", least=0)
    max_tokens: int | None = option(None, "samples per batch: longest length x items", least=1)
    batch_size: int | None = option(
        None, "items per batch and process; for cmsc an item is a pair of segments", least=1
    )
    required_batch_size_multiple: int = option(1, "batch sizes above it are rounded down to a multiple", least=1)
    data_buffer_size: int = option(10, "batches loaded ahead; 0 none", least=0)
    prefetch_to_device: bool = option(True, "copy a batch to the GPU while it works on the one before", ours=True)
    train_subset: str = option("train", "name of the training manifest, without .tsv")
    valid_subset: str = option("valid", "comma-separated manifests to validate on; the first decides best and patience")
    ignore_unused_valid_subsets: bool = option(False, "accept valid*.tsv files that valid_subset does not name")
    validate_interval: int = option(1, "epochs between validations; 0: none because an epoch ends")
    validate_interval_updates: int = option(0, "updates between validations; 0 off")
    validate_after_updates: int = option(0, "no validation before this update")
    fixed_validation_seed: int | None = option(None, "seed of validation's random masks; None: common.seed")
    disable_validation: bool = option(False, "never validate")
    max_tokens_valid: int | None = option(None, "max_tokens of validation", follows="dataset.max_tokens", least=1)
    batch_size_valid: int | None = option(None, "batch_size of validation", follows="dataset.batch_size", least=1)
    max_valid_steps: int | None = option(None, "validation batches per subset at most", least=1)
    window_stride: int | None = option(
        None,
        "samples from one window to the next in which validation, test and prediction see an item",
        least=1,
        ours=True,
    )
    window_count: int | None = option(None, "that many windows instead, evenly spaced", least=1, ours=True)
    window_length: int | None = option(None, "samples of a window; None: of a training crop", least=1, ours=True)
    window_rule: str = option(
        "mean", "how the answers to windows become one, of probabilities or of logits", choices=WINDOW_RULES, ours=True
    )
    crop_starts: str = option(
        "any", "where training crops begin: anywhere, or where the windows do", choices=("any", "windows"), ours=True
    )
    drop_last: bool = option(False, "leave out an epoch's last batch if it has fewer items than batch_size", ours=True)
    cache_features: bool = option(
        True, "compute once what an encoder that never trains answers to items that never change", ours=True
    )
    features_in_memory: float = option(
        2.0, "GB up to which these are kept in memory, not in files of the run", least=0, ours=True
    )
    curriculum: int = option(0, "first epochs in which batches are not shuffled")
    update_ordered_indices_seed: bool = option(
        True, "draw new batches every epoch; false freezes them as published", ours=True
    )


@dataclass
class OptimizationConfig(BaseConfig):
    max_epoch: int = option(0, "stop after this epoch; 0 no limit")
    max_update: int = option(0, "stop after this update; 0 no limit")
    stop_time_hours: float = option(0.0, "stop after this many hours of training in all; 0 no limit")
    clip_norm: float = option(0.0, "largest gradient norm; 0 no clipping")
    update_freq: list[int] = option([1], "batches per update, one entry per epoch; the last one repeats")
    lr: list[float] = option([0.25], "learning rate; for `fixed` one per epoch")
    lr_batch_size: int | None = option(
        None, "items that lr is for: it grows in proportion to those of an update, over all ranks; None: lr as it is",
        least=1, ours=True,
    )  # fmt: skip
    stop_min_lr: float = option(-1.0, "stop when the learning rate falls to this")
    skip_remainder_batch: bool = option(False, "leave out an epoch's last update if it has fewer batches", ours=True)
    skip_nonfinite_updates: bool = option(
        False, "skip an update whose gradient is not finite instead of stopping", ours=True
    )
    run_ahead: bool | None = option(
        None, "begin an update before the numbers of the last one are read; None: on a GPU", ours=True
    )


@dataclass
class CheckpointConfig(BaseConfig):
    save_dir: str = option("checkpoints", "folder for checkpoints")
    restore_file: str = option(
        "checkpoint_last.pt", "file to continue from; the default name means the last one in save_dir, if any"
    )
    continue_once: str | None = option(None, "file to start from when save_dir has no last checkpoint", ours=True)
    finetune_from_model: str | None = option(None, "start from these weights with everything else reset")
    reset_dataloader: bool = option(False, "start the data at epoch 1")
    reset_lr_scheduler: bool = option(False, "forget what the schedule knows of past scores")
    reset_meters: bool = option(False, "forget stored statistics and the best score")
    reset_optimizer: bool = option(False, "forget the stored optimizer state")
    optimizer_overrides: str = option("{}", "options that replace the stored optimizer's, as a dict")
    save_interval: int = option(1, "epochs between saves", least=1)
    save_interval_updates: int = option(0, "updates between saves, which also validate; 0 off")
    keep_interval_updates: int = option(-1, "newest mid-epoch files kept; -1 all")
    keep_interval_updates_pattern: int = option(-1, "mid-epoch files whose update is a multiple of this stay")
    keep_last_epochs: int = option(-1, "newest epoch files kept; 0 or less: all")
    keep_best_checkpoints: int = option(-1, "best files kept by score; 0 or less: only checkpoint_best.pt")
    no_save: bool = option(False, "write no checkpoint")
    no_epoch_checkpoints: bool = option(False, "write only last and best")
    no_last_checkpoints: bool = option(False, "write no checkpoint_last.pt")
    no_save_optimizer_state: bool = option(False, "leave the optimizer's state out")
    best_checkpoint_metric: str = option("loss", "any printed statistic of the first validation subset, such as auroc")
    maximize_best_checkpoint_metric: bool = option(False, "larger is better")
    patience: int = option(-1, "stop after this many validations without improvement; -1 never")
    patience_updates: int = option(
        -1, "stop so many updates after the best validation, at the next one; -1 never", ours=True
    )
    checkpoint_suffix: str = option("", "added to checkpoint names before .pt")
    load_checkpoint_on_all_dp_ranks: bool = option(False, "every rank reads the file, instead of rank 0 sending it")
    write_checkpoints_asynchronously: bool = option(False, "write in a background thread", ours=True)


ABSENT = ("skip", "half", "zero", "nan")  # what becomes of a label that defines no value, see metrics/base.py


@dataclass
class CommonEvalConfig(BaseConfig):
    path: str | None = option(None, "checkpoint to evaluate")
    model_overrides: str = option("{}", "options that replace the stored model's, as a dict")
    extract: list[str] | None = option(None, "what to store: any of output, encoder_out, saliency")
    results_path: str | None = option(None, "folder for what is stored")
    predictions: str | None = option(
        None, "an .npz of ecg-validate for `ecg-test bootstrap`: targets and predictions of every split", ours=True
    )
    metrics: list[str] | None = option(
        None, "registered metrics of validations and of the results by label; None: the usual ones", ours=True
    )
    absent: str = option(
        "skip", "what a label that defines a metric in common_eval.metrics or in the results no value counts in means: "
        "nothing, what a blind guess gets (half), zero, or the mean is not defined (nan)", choices=ABSENT, ours=True,
    )  # fmt: skip
    intervals: int = option(
        200, "rounds of the bootstrap behind the results' 95 % intervals; 0: none", least=0, ours=True
    )
    raw_memmap: bool = option(False, "write fairseq-signals' headerless memmaps instead of .npy", ours=True)


@dataclass
class EmaConfig(BaseConfig):
    store_ema: bool = option(False, "keep an exponential moving average of the weights", ours=True)
    ema_decay: float = option(0.9999, "share of the old average kept per update", ours=True)
    ema_start_update: int = option(0, "before this update the average equals the weights", ours=True)
    ema_update_freq: int = option(1, "updates between two steps of the average", ours=True)
    ema_fp32: bool = option(False, "keep the average in float32", ours=True)


REGISTERED_GROUPS = ("task", "model", "criterion", "optimizer", "lr_scheduler")


@dataclass
class Config(BaseConfig):
    """A whole composed recipe; every section is a typed instance with all references resolved."""

    common: CommonConfig = field(default_factory=CommonConfig)
    common_eval: CommonEvalConfig = field(default_factory=CommonEvalConfig)
    distributed_training: DistributedTrainingConfig = field(default_factory=DistributedTrainingConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    task: Any = None
    model: Any = None
    criterion: Any = None
    optimizer: Any = None
    lr_scheduler: Any = None

    def __post_init__(self) -> None:
        self.ignored: dict[str, dict[str, Any]] = {}  # section -> what the recipe sets of options that do nothing here

    def to_dict(self) -> dict[str, Any]:
        """With what is ignored, so that it is written back to where it came from."""
        found = super().to_dict()
        return found | {group: found[group] | values for group, values in self.ignored.items()}
