# The image of Countersign: one program and what it is linked with, nothing else; no shell, no package manager.
#
#   docker build -t countersign:0.1.0 .
#
# The same sources on the same base give the same program. A tag moves, so name the base by its digest where that
# matters: --build-arg RUST_IMAGE=docker.io/library/rust@sha256:…, and --build-arg SOURCE_DATE_EPOCH=$(git log -1
# --format=%ct) for the times of the files.

# It has the C compiler and the make that the build asks for; `-slim` has no make.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY third_party third_party
COPY src src
COPY image image
# Paths of this machine would be part of the program, in what a panic says.
ENV RUSTFLAGS="--remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo"
RUN cargo build --release --locked --bin countersign
ARG SOURCE_DATE_EPOCH=0
RUN image/rootfs.sh target/release/countersign /out

FROM scratch
COPY --from=build /out/root /
COPY --from=build --chown=65532:65532 /out/home /var/lib/countersign
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENV PATH=/usr/local/bin
# A server keeps everything in ./countersign-data, where the command line looks for the first admin's credential.
WORKDIR /var/lib/countersign
EXPOSE 50051 8080
HEALTHCHECK CMD ["countersign", "health"]
ENTRYPOINT ["countersign"]
CMD ["serve", "--listen", "0.0.0.0:50051", "--http-listen", "0.0.0.0:8080"]
