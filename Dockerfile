# docker build --tag unispeech-ft . && docker run --rm --volume "$PWD:/speech" unispeech-ft doctor
# For a CPU. espeak-ng comes with the package espeakng-loader, and decoders with soundfile and PyAV: nothing of Debian's is needed.
FROM python:3.11-slim

COPY setup.cfg pyproject.toml README.md LICENSE /src/
COPY configs /src/configs
COPY recipes /src/recipes
COPY unispeech_ft /src/unispeech_ft
RUN pip install --no-cache-dir uv \
    && uv pip install --system --no-cache --torch-backend cpu "/src[av]" \
    && rm -r /src

RUN useradd --create-home --uid 1000 speech
USER speech
# What is trained and cached stays in the folder that is mounted here.
WORKDIR /speech
ENTRYPOINT ["unispeech-ft"]
CMD ["--help"]
