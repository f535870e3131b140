# make run          the gateway under clawinit, as PID 1 of its own namespace, on port 8888
# make test         every test; engines that are absent are skipped, one line each
# make test-fast    the state machine and the units (seconds), then real namespaces (a minute or two)
# make simulate     the loop over a simulated kernel: N=1000000 schedules with faults, from SEED=1 on
# make test-engines Docker, Compose, Podman, Kubernetes manifests, systemd, deployment, monitoring
# make test-openclaw the published OpenClaw under clawinit, where npm is reachable (3.2 GB, once)
# make conformance  what users rely on, beside tini, dumb-init and catatonit: docs/conformance.md
# make load         100,000 orphans, 10,000 restarts, storms of signals, how exact a grace is (minutes)
# make soak         a mixture of everything, for an hour; make soak TIME=10m SEED=7
# make demo-restart restarts and crashes under a steady load, with --listen and without (minutes)
# make faults       every error of every system call of PID 1, and what it needs used up or absent
#                   make faults FULL=1 SEED=N: each error at each place (a quarter of an hour)
# make images       clawinit:scratch, clawinit:debian, clawinit:alpine-like in the local Docker
# make bench        every cost beside tini, dumb-init, catatonit; docs/benchmarks (minutes)
#                   make bench QUICK=1: a tenth of the samples, nothing written there
# make bench-gateway the gateway's answers under load beside nginx
# make size         size, memory and start beside Debian's tini
# make attack       what an exporter, and an attack on it, do to PID 1
# make model        the state machine's table and every state it can come to; how many there are
# make fuzz         what reads bytes of others, on any bytes: TIME=600 seconds a target, TARGET=… for one
# make mutants      each small change of the state machine: is there a test that notices it?
# make gateway-crashes N=10000 SEED=…  kill -9 of the gateway in every phase of its life; also
# make gateway-faults, gateway-drains, gateway-crowd, gateway-reliability (all four; half an hour)
# make lint         format, clippy, licences and sources of dependencies, documentation
# make audit        advisories, yanked and newer versions, what is linked into each binary
# make miri         Miri over every unit test that it can run (nightly)
# make sanitize     AddressSanitizer (nightly) and valgrind over what Miri cannot run
# make setup        installs what all of these need on a Debian machine

ARCH   := $(shell uname -m)
TARGET := $(ARCH)-unknown-linux-musl
CARGO  := cargo
export TARGET

.PHONY: build build-all run test test-fast test-engines test-openclaw conformance images bench \
	bench-gateway size attack model fuzz mutants audit miri sanitize load soak demo-restart faults \
	gateway-crashes gateway-faults gateway-drains gateway-crowd gateway-reliability simulate lint \
	setup clean

build:
	@scripts/setup build
	$(CARGO) build --release --locked -p clawinit -p openclaw --target $(TARGET)

# Both targets, with the linker that rustup brings.
build-all:
	@scripts/setup build
	$(CARGO) build --release --locked -p clawinit -p openclaw --target x86_64-unknown-linux-musl
	$(CARGO) build --release --locked -p clawinit -p openclaw --target aarch64-unknown-linux-musl

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

load: build
	LOAD=full CLAWINIT_BIN=$(CURDIR)/target/$(TARGET)/release/clawinit \
		$(CARGO) test --quiet --locked --target $(TARGET) -p clawinit --test load

soak: build
	@scripts/soak $(or $(TIME),1h)

demo-restart: build
	@scripts/demo-restart

faults: build
	SEED=$(or $(SEED),1) FULL=$(FULL) CLAWINIT_BIN=$(CURDIR)/target/$(TARGET)/release/clawinit \
		$(CARGO) test --quiet --locked --target $(TARGET) -p clawinit --test faults

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

# One generation more of children that say how they do than the ordinary run has.
model:
	GENERATIONS_HEARD=2 $(CARGO) test --quiet --locked -p clawinit --test model -- --nocapture

fuzz:
	@scripts/fuzz $(or $(TIME),600) $(filter-out $(ARCH)-unknown-linux-musl,$(TARGET))

mutants:
	@scripts/mutants

gateway-crashes: build
	@N="$(N)" SEED="$(SEED)" scripts/gateway-reliability kills

gateway-faults: build
	@N="$(N)" SEED="$(SEED)" scripts/gateway-reliability faults

gateway-drains: build
	@N="$(N)" SEED="$(SEED)" scripts/gateway-reliability drains

gateway-crowd: build
	@SEED="$(SEED)" scripts/gateway-reliability crowd

gateway-reliability: build
	@SEED="$(SEED)" scripts/gateway-reliability all

lint:
	@scripts/lint

audit:
	@scripts/audit

miri:
	@scripts/miri

sanitize:
	@scripts/sanitize

setup:
	@scripts/setup all

clean:
	$(CARGO) clean
