# The package with its pinned requirements, on a CPU: docker build -t ecg-signals . ; docker run --rm ecg-signals ecg-list
# For a GPU, start from an image that has Python 3.11 and torch, which is kept: docker build --build-arg BASE=IMAGE -t ecg-signals .
ARG BASE=python:3.11-slim
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends make libsndfile1 && rm -rf /var/lib/apt/lists/*
WORKDIR /ecg-signals
COPY . .
RUN make install VENV=/opt/venv
ENV PATH=/opt/venv/bin:$PATH
CMD ["ecg-list"]
