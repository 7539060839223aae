# make test installs nothing and hides nothing: what a test needed and did not find is named at the end.
GO      ?= go
PKGS    ?= ./...
TIMEOUT ?= 20m
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always 2>/dev/null || echo dev)

.PHONY: all build device test test-race bench lint fuzz vectors install clean

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o slipstream ./cmd/slipstream

# The client alone, for kiosks, edge and other devices: no server, no publisher, no admin.
device:
	CGO_ENABLED=0 $(GO) build -tags device -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o slipstream-device ./cmd/slipstream

test:
	@sh scripts/test-js.sh build $(PKGS)
	@sh scripts/test.sh $(GO) $(TIMEOUT) $(PKGS)
	@sh scripts/test-js.sh test $(PKGS)

test-race:
	$(GO) test -race -timeout $(TIMEOUT) $(PKGS)

# The figures of docs/benchmarks.md. Bounded in count and time, loopback only.
bench:
	@sh scripts/bench.sh $(GO)

lint:
	@sh scripts/lint.sh $(GO)

# A bounded run of every fuzz target; FUZZTIME=60s for longer.
fuzz:
	@sh scripts/fuzz.sh $(GO) $(or $(FUZZTIME),10s)

# Writes testdata/vectors anew; the tests fail when it differs from what the code says.
vectors:
	$(GO) test ./sign ./decide ./client/trial ./publish/delta -run 'Vectors|Golden' -update

install: build
	install -m 0755 slipstream $(DESTDIR)$(PREFIX)/bin/slipstream

clean:
	rm -f slipstream slipstream-device
