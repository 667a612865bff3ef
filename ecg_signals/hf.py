"""The Hugging Face classes: after `import ecg_signals.hf`, AutoConfig and AutoModel know our folders.

`AutoModel.from_pretrained(FOLDER)` builds the model with `ecg_signals.load_model`; `.last_hidden_state` is the
model's `features`, `.pooler_output` its `pooled`, `.logits` its `logits`.
"""

from ecg_signals.interop.hubert_ecg.classes import HuBERTECG as HuBERTECG
from ecg_signals.interop.hubert_ecg.classes import HuBERTECGClassificationConfig as HuBERTECGClassificationConfig
from ecg_signals.interop.hubert_ecg.classes import HuBERTECGConfig as HuBERTECGConfig
from ecg_signals.interop.hubert_ecg.classes import HuBERTECGForClassification as HuBERTECGForClassification
from ecg_signals.interop.hubert_ecg.classes import HuBERTECGLaterForClassification as HuBERTECGLaterForClassification
from ecg_signals.interop.huggingface.classes import EcgSignalsConfig as EcgSignalsConfig
from ecg_signals.interop.huggingface.classes import (
    EcgSignalsForSequenceClassification as EcgSignalsForSequenceClassification,
)
from ecg_signals.interop.huggingface.classes import EcgSignalsModel as EcgSignalsModel
from ecg_signals.interop.huggingface.classes import EcgSignalsOutput as EcgSignalsOutput
