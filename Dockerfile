# The digest is that of the index of all platforms. A newer one:
# docker buildx imagetools inspect golang:1.26-bookworm
ARG GO_IMAGE=golang:1.26-bookworm@sha256:b305420a68d0f229d91eb3b3ed9e519fcf2cf5461da4bef997bf927e8c0bfd2b
FROM ${GO_IMAGE} AS build
ARG VERSION=dev
ARG COMMIT=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -tags lean -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /out/consumer ./cmd/consumer \
 && install -d -m 0700 -o 65532 -g 65532 /out/tmp

FROM scratch
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="consumer" \
      org.opencontainers.image.description="Exports Azure Custom Vision user data into verifiable bundles, on command from NATS JetStream" \
      org.opencontainers.image.source="https://github.com/cvconsumer/cvconsumer" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Blobs above what is held in memory are spooled to /tmp: mount something bigger there where models are big.
COPY --from=build --chown=65532:65532 /out/tmp /tmp
COPY --from=build /out/consumer /consumer
# Set GOMEMLIMIT to nine tenths of the container's memory: docs/operators.md, Memory.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/consumer"]
CMD ["run"]
