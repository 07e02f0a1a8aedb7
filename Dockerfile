# syntax=docker/dockerfile:1
#
#   docker build --target service  --tag fashion-mnist-service  .
#   docker build --target training --tag fashion-mnist-training .
#
# Every package comes from requirements/, pinned with hashes, and no file contains a build time: the
# same commit gives the same image if the builder writes no times either (docs/deploy.md).
# `--build-arg LOCK=service-extras` adds gRPC, the model stores s3:// and gs://, signed models and
# OpenTelemetry.
# `--build-arg REVISION="$(git rev-parse HEAD)"` records the commit.

FROM python:3.13.14-slim-trixie AS base
LABEL org.opencontainers.image.version="1.0.0" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13.14-slim-trixie"
ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# Installs the packages, and records them.
FROM base AS tools
COPY requirements/build.txt /requirements/
RUN ["python", "-m", "venv", "/build"]
RUN ["/build/bin/pip", "install", "--quiet", "--require-hashes", "--requirement", "/requirements/build.txt"]

FROM tools AS wheel
COPY . /source/
RUN ["/build/bin/pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "/wheels", "/source"]

# The project comes last, so that a change reinstalls nothing else. Bytecode contains no times.
FROM tools AS service-environment
ARG LOCK=service
COPY requirements/${LOCK}.txt /requirements/
RUN ["python", "-m", "venv", "--without-pip", "/opt/fashion-mnist"]
RUN /build/bin/pip --python /opt/fashion-mnist install --quiet --no-compile --require-hashes \
        --requirement /requirements/${LOCK}.txt
COPY --from=wheel /wheels /wheels
RUN /build/bin/pip --python /opt/fashion-mnist install --quiet --no-compile --no-deps /wheels/*.whl && \
    /build/bin/cyclonedx-py environment --output-reproducible \
        --output-file /opt/fashion-mnist/sbom.cdx.json /opt/fashion-mnist && \
    python -m compileall -qq --invalidation-mode unchecked-hash /opt/fashion-mnist/lib

FROM tools AS training-environment
COPY requirements/training.txt /requirements/
RUN ["python", "-m", "venv", "--without-pip", "/opt/fashion-mnist"]
RUN /build/bin/pip --python /opt/fashion-mnist install --quiet --no-compile --require-hashes \
        --requirement /requirements/training.txt
COPY --from=wheel /wheels /wheels
RUN /build/bin/pip --python /opt/fashion-mnist install --quiet --no-compile --no-deps /wheels/*.whl && \
    /build/bin/cyclonedx-py environment --output-reproducible \
        --output-file /opt/fashion-mnist/sbom.cdx.json /opt/fashion-mnist && \
    python -m compileall -qq --invalidation-mode unchecked-hash /opt/fashion-mnist/lib

# Trains and publishes; contains TensorFlow and the data set.
FROM base AS training
LABEL org.opencontainers.image.title="Fashion-MNIST training" \
      org.opencontainers.image.description="Trains a Keras network on Fashion-MNIST and publishes it for the service."
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends dataset-fashion-mnist && \
    rm -rf /var/lib/apt/lists/* && \
    # Any user of the container may write there; a new volume copies the mode.
    install --directory --mode 1777 /training /training/runs
COPY --from=training-environment /opt/fashion-mnist /opt/fashion-mnist
ENV HOME=/tmp PATH=/opt/fashion-mnist/bin:$PATH
WORKDIR /training
USER 10001:10001
ENTRYPOINT ["/opt/fashion-mnist/bin/fashion-mnist-training"]
CMD ["--help"]
ARG REVISION=unknown
LABEL org.opencontainers.image.revision=$REVISION

# Serves, without TensorFlow, compiler, pip or a need for a shell. The last stage is the default.
FROM base AS service
LABEL org.opencontainers.image.title="Fashion-MNIST service" \
      org.opencontainers.image.description="Classifies images of clothes over HTTP; the model is inside."
COPY --from=service-environment /opt/fashion-mnist /opt/fashion-mnist
ENV FASHION_HOST=0.0.0.0 \
    FASHION_PORT=8000 \
    FASHION_CACHE=/tmp/models
WORKDIR /
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["/opt/fashion-mnist/bin/python", "-m", "fashion_mnist_service.healthcheck"]
ENTRYPOINT ["/opt/fashion-mnist/bin/fashion-mnist-service"]
ARG REVISION=unknown
LABEL org.opencontainers.image.revision=$REVISION
