# Every job of this project; CI has none of its own.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
LINT    := scripts/golangci-lint

.DEFAULT_GOAL := help
.PHONY: help try build setup test race mount-test crash fuzz bench lint fmt tidy cover man hooks check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

try: ## build, mount under ./try, and say what to do next
	@scripts/try

build: ## build bin/sinkfs
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sinkfs ./cmd/sinkfs

setup: ## install the system packages that tests use, build the stores
	@scripts/setup
	@go run ./internal/testserver/fetch >/dev/null

test: setup ## run all tests; needs root and /dev/fuse
	go vet ./...
	go test -count=1 -timeout 30m $$(go list ./... | grep -v /test/)
	go test -count=1 -tags faults -run '^TestFault|AtFaultPoints$$' ./internal/fault ./backend/local ./fusefs ./lifecycle/...
	go test -count=1 -timeout 30m -p 1 ./test/... # each of these wants the machine for itself

race: setup ## run all tests under the race detector
	go test -race -timeout 1h -p 1 ./...

mount-test: setup ## run the tests that mount, also on one processor
	go test -count=1 -cpu=2,1 ./fusefs/... ./cmd/... ./test/programs

crash: setup ## kill it at every fault point and 1,600 random instants, cut its power 40 times, its stores for 60 s
	go test -count=1 -timeout 2h -v ./test/crash -args -crash.kills 1000 -crash.stores 200 -crash.cuts 40 -crash.hits 3
	go test -count=1 -timeout 1h -v -run 'TestOutage$$' ./test/stores -args -stores.away 60s

fuzz: ## look for new lines that break the parser of control files, for 30 s
	go test -run '^$$' -fuzz . -fuzztime 30s ./fusefs

bench: setup ## measure, and compare with the goals; ARGS='-full -dir DIR'
	@scripts/setup s3fs
	go run ./test/bench $(ARGS)

lint: ## run the linters
	$(LINT) run ./...

fmt: ## format
	$(LINT) fmt ./...

tidy: ## fail when go.mod is not tidy
	go mod tidy -diff

cover: setup ## show the coverage of all packages, by all tests
	mkdir -p bin
	go test -coverpkg ./... -coverprofile bin/cover.out ./...
	go tool cover -func bin/cover.out | tail -n 1

man: build ## write the man pages to bin/man
	mkdir -p bin/man && bin/sinkfs man bin/man

hooks: ## check every commit, see scripts/hooks
	git config core.hooksPath scripts/hooks

check: test tidy lint ## what CI runs

clean: ## remove what was built
	rm -rf bin
