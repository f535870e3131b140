# make run          the gateway under clawinit, as PID 1 of its own namespace, on port 8888
# make test         every test; engines that are absent are skipped, one line each
# make test-fast    the state machine and the units (seconds), then real namespaces (a minute or two)
# make simulate     the loop over a simulated kernel: N=1000000 schedules with faults, from SEED=1 on
# make test-engines Docker, Compose, Podman, Kubernetes manifests, systemd, deployment, monitoring
# make test-openclaw the published OpenClaw under clawinit, where npm is reachable (3.2 GB, once)
# make conformance  what users rely on, beside tini, dumb-init and catatonit: docs/conformance.md
# make images       clawinit:scratch, clawinit:debian, clawinit:alpine-like in the local Docker
# make bench        every cost beside tini, dumb-init, catatonit; docs/benchmarks (minutes)
#                   make bench QUICK=1: a tenth of the samples, nothing written there
# make bench-gateway the gateway's answers under load beside nginx
# make size         size, memory and start beside Debian's tini
# make attack       what an exporter, and an attack on it, do to PID 1
# make lint         format, clippy, licences and sources of dependencies, documentation
# make setup        installs what all of these need on a Debian machine

ARCH   := $(shell uname -m)
TARGET := $(ARCH)-unknown-linux-musl
CARGO  := cargo
export TARGET

.PHONY: build build-all run test test-fast simulate test-engines test-openclaw conformance images bench bench-gateway size attack lint setup clean

build:
	@scripts/setup build
	$(CARGO) build --release --locked --workspace --target $(TARGET)

# Both targets, with the linker that rustup brings.
build-all:
	@scripts/setup build
	$(CARGO) build --release --locked --workspace --target x86_64-unknown-linux-musl
	$(CARGO) build --release --locked --workspace --target aarch64-unknown-linux-musl

run: build
	@scripts/run

test: build
	@scripts/test all

test-fast: build
	@scripts/test fast

simulate:
	@scripts/simulate $(or $(N),1000000) $(or $(SEED),1)

test-engines: build
	@scripts/test engines

test-openclaw: build
	@scripts/openclaw test

conformance: build
	CONFORMANCE=write CLAWINIT_BIN=$(CURDIR)/target/$(TARGET)/release/clawinit \
		$(CARGO) test --quiet --locked --target $(TARGET) -p clawinit --test conformance

images: build
	@scripts/images

bench: build
	@scripts/bench $(if $(QUICK),quick,all)

bench-gateway: build
	@scripts/bench-gateway

size: build
	@scripts/size

attack: build
	@scripts/attack

lint:
	@scripts/lint

setup:
	@scripts/setup all

clean:
	$(CARGO) clean
