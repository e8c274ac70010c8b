# drvhost as one static binary in an image of its own. docs/containers.md says what a container
# must allow.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /drvhost ./cmd/drvhost

FROM scratch
COPY --from=build /drvhost /drvhost
ENV DRVHOST_RUNTIME_DIR=/run/drvhost
VOLUME /run/drvhost
ENTRYPOINT ["/drvhost"]
CMD ["doctor"]
