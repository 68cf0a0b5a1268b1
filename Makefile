# The gate is .ci/run; these are its parts, for use at the desk.

GO ?= go
FUZZTIME ?= 10s

.PHONY: check long bench fuzz lint qemu

check: lint ## what every change has to pass
	$(GO) build ./...
	$(GO) test ./...
	$(GO) test -race ./internal/seq ./emu/timing ./emu/device
	$(GO) test -race -run "Determinism|Cancel|Progress|LegacyMode" ./replay ./internal/cli

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt -w .'; exit 1; }
	$(GO) vet ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...; fi

long: ## tests that take minutes
	IOMMULAB_LONG=1 $(GO) test -timeout 60m ./...

bench: ## ratios that docs/performance.md states
	$(GO) test -run '^$$' -bench . -benchmem -count 5 ./...

fuzz: ## every fuzz target for FUZZTIME
	@for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "$$p $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
		done; \
	done

qemu: ## the QEMU that tests compare with, for this user only
	.ci/qemu
