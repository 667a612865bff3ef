# Jupyter with ecg-signals and its notebooks, on a CPU: make build-jupyter, make run-jupyter.
# A smaller image, without CUDA: make build-jupyter \
#   ARGS="--build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /workspace
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY ecg_signals ecg_signals
COPY configs configs
COPY examples examples
RUN python -m pip install -c constraints.txt torch setuptools wheel
RUN python -m pip install -c constraints.txt --no-build-isolation -e ".[hf]" notebook ipykernel
RUN ecg-list model hubert_ecg_classifier > /dev/null && python -m notebook --version
EXPOSE 8888
CMD ["python", "-m", "notebook", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--allow-root", "--notebook-dir=examples/notebooks"]
