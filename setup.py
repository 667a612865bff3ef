"""Maps the top-level `configs/` and `examples/sample/` folders into the package; all metadata is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ecg_signals", "ecg_signals.*"]), "ecg_signals.configs", "ecg_signals.sample"],
    package_dir={"ecg_signals.configs": "configs", "ecg_signals.sample": "examples/sample"},
    package_data={
        "ecg_signals": ["py.typed", "answer.schema.json"],
        "ecg_signals.evaluation.report": ["style.css"],
        "ecg_signals.signal": ["labels.csv"],
        "ecg_signals.evaluation.benchmarks": ["merl_splits.*"],
        "ecg_signals.labeler": ["word_lists.json", "ecg_fm.txt", "mimic_iv_ecg/*"],
        "ecg_signals.configs": ["**/*.yaml"],
        "ecg_signals.sample": ["**/*"],
    },
)
