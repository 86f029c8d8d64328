# kdsweep with Ray and CUDA, as a user without root's rights; docs/cluster.md has its use.
#   docker build -t kdsweep .
#   docker run --gpus all --shm-size 8g -v "$PWD:/work" -w /work kdsweep kdsweep run SPEC --dir D --data DATA
# Machines whose NVIDIA driver is older than torch's CUDA: docker build --build-arg TORCH=2.4.1 -t kdsweep .

ARG RAY=2.60.0
FROM rayproject/ray:${RAY}-py311-gpu
ARG RAY
ARG TORCH=
ARG EXTRAS=report,query,gpu

USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends procps \
    && rm -rf /var/lib/apt/lists/*
USER ray

COPY --chown=ray pyproject.toml README.md LICENSE kdsweep_start.py /home/ray/kdsweep/
COPY --chown=ray analysis /home/ray/kdsweep/analysis
COPY --chown=ray kdtrain /home/ray/kdsweep/kdtrain
COPY --chown=ray sweeps /home/ray/kdsweep/sweeps
RUN pip install --no-cache-dir "/home/ray/kdsweep[${EXTRAS}]" "ray[default]==${RAY}" "torch${TORCH:+==${TORCH}}" \
    && kdsweep --version \
    && python -c "import timm"  # fails where torchvision does not fit torch

CMD ["kdsweep", "--help"]
