# The versions of the tools that are not part of the program.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     = mvdan.cc/gofumpt@v0.12.0

.PHONY: build openssl test prove failover packages lint bench setup

# One static binary, no cgo.
build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/counterfoil ./cmd/counterfoil

# The same, with RSA signatures by the system's OpenSSL: docs/decisions/0004-openssl.md.
openssl: setup
	CGO_ENABLED=1 go build -tags openssl -trimpath -ldflags "-s -w" -o bin/counterfoil-openssl ./cmd/counterfoil

# Everything, under the race detector. Installs what it needs on Debian.
test: setup
	CGO_ENABLED=1 go test -race -count=1 -timeout 30m ./...
	CGO_ENABLED=1 go test -count=1 -tags openssl ./internal/signing

# The promises of docs/rotation.md, checked for so long; docs/correctness.md says how.
PROVE ?= 10m
prove: setup
	go run ./test/prove -budget $(PROVE)

# Packages for Debian and Red Hat, in dist/.
packages:
	packaging/build dist

# Failovers of a real cluster: PostgreSQL, Patroni, etcd, HAProxy and two nodes.
ROUNDS ?= 20
failover: setup
	go test -count=1 -timeout 90m -run TestFailover -v ./test/failover -rounds $(ROUNDS)

# What the tests need of Debian's packages; it says so where it may not install them.
setup:
	@test/setup.sh

lint:
	@files=$$(go run $(GOFUMPT) -l .); [ -z "$$files" ] || { echo "gofumpt would change:"; echo "$$files"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

# What docs/benchmarks.md explains.
bench:
	go test -run '^$$' -bench . -benchtime 2s ./internal/...
