"""HuBERT-ECG: encoder, pretraining, classifier. Files of its project are read in interop/hubert_ecg."""
