# consumer: every task of a developer is a target. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

MODULE  := github.com/cvconsumer/cvconsumer
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT         := bin/golangci-lint-$(GOLANGCI_LINT_VERSION)

# Everything but the tests under the race detector is compiled in one way, and so once: vet, lint,
# cuts, scale and build share it. Compiling takes a large part of `make test` on a new machine.
export CGO_ENABLED := 0
export GOFLAGS     := $(strip $(shell go env GOFLAGS) -trimpath)
race: export CGO_ENABLED := 1

# The two packages that take longest come first: the others are tested beside them.
PKG      ?= ./pkg/handler ./cmd/consumer ./...
FUZZTIME ?= 10s
MATRIX   ?= kinds
SCALE    ?= 100000
IMAGE    ?= cvconsumer:$(VERSION)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build bin/consumer, a static binary, with consumer dev
	go build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/consumer ./cmd/consumer

# Of linux/amd64 as TestLean has it; other platforms are much the same.
MAX_LEAN_BYTES := 25000000
.PHONY: lean
lean: ## Build bin/consumer-lean: the program for production, without consumer dev and its servers
	go build -tags lean -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/consumer-lean ./cmd/consumer
	@bytes=$$(wc -c < bin/consumer-lean); echo "bin/consumer-lean: $$bytes bytes"; \
	[ $$bytes -le $(MAX_LEAN_BYTES) ] || { echo 'more than $(MAX_LEAN_BYTES): docs/performance.md says how to find out why'; exit 1; }

PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
.PHONY: release
release: ## Build dist/release: static binaries for PLATFORMS, without consumer dev, and SHA256SUMS
	rm -rf dist/release && mkdir -p dist/release
	for platform in $(PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/}; suffix=; [ $$os != windows ] || suffix=.exe; \
		GOOS=$$os GOARCH=$$arch go build -tags lean -buildvcs=false -ldflags '$(LDFLAGS)' -o dist/release/consumer-$(VERSION)-$$os-$$arch$$suffix ./cmd/consumer; \
	done
	cd dist/release && sha256sum consumer-* > SHA256SUMS

# In another folder, and compiled afresh.
.PHONY: reproduce
reproduce: ## Build the binary of a clean commit twice, here and elsewhere, and compare (PLATFORMS=linux/amd64: for that)
	@git diff --quiet HEAD || { echo 'commit first: the second build is of HEAD'; exit 1; }
	$(MAKE) --no-print-directory release
	again=$$(mktemp -d); git archive HEAD | tar x -C $$again; \
		GOCACHE=$$again/cache $(MAKE) --no-print-directory -C $$again release VERSION=$(VERSION) COMMIT=$(COMMIT) PLATFORMS='$(PLATFORMS)'; \
		diff dist/release/SHA256SUMS $$again/dist/release/SHA256SUMS; rm -rf $$again
	@echo 'both builds are the same, byte for byte'

CYCLONEDX_VERSION := v1.10.0
CYCLONEDX         := bin/cyclonedx-gomod-$(CYCLONEDX_VERSION)
$(CYCLONEDX):
	GOBIN=$(CURDIR)/bin go install -ldflags '-s -w' github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)
	mv bin/cyclonedx-gomod $@

.PHONY: sbom
sbom: lean $(CYCLONEDX) ## Write dist/consumer.cdx.json: the modules in bin/consumer-lean with their licences, as CycloneDX
	mkdir -p dist
	$(CYCLONEDX) bin -json -licenses -version '$(VERSION)' -output dist/consumer.cdx.json bin/consumer-lean

.PHONY: demo
demo: build ## Export a sample account, delete one of its projects, check the bundles, and leave them below dist/demo
	rm -rf dist/demo
	./bin/consumer dev --demo --dir dist/demo

# Not in `make test`: each version is another program to install. Any version the Go proxy has will do.
NATS_VERSIONS ?= v2.11 v2.12 v2.14 latest
.PHONY: nats-versions
nats-versions: build ## Run the demo against several versions of nats-server, which the first run installs into bin/ (NATS_VERSIONS="v2.10 v2.12.1": others)
	.ci/nats-versions $(NATS_VERSIONS)

# Of Debian's package prometheus, promtool alone: the rest of it is a server and its pages.
PROMTOOL ?= $(or $(shell command -v promtool),bin/promtool)
bin/promtool:
	mkdir -p bin
	cd bin && apt-get download -q prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar x --strip-components=3 ./usr/bin/promtool && rm prometheus_*.deb

# The queries of the dashboard are checked as if they were rules.
.PHONY: alerts
alerts: $(filter bin/promtool,$(PROMTOOL)) ## Check the alert rules of deploy/prometheus with promtool and run their tests; check the queries of deploy/grafana (PROMTOOL=path: another one)
	$(PROMTOOL) check rules deploy/prometheus/alerts.yml
	$(PROMTOOL) test rules deploy/prometheus/alerts_test.yml
	@mkdir -p dist
	jq '{groups: [{name: "dashboard", rules: [[.. | objects | .expr? // empty | gsub("\\$$__rate_interval"; "5m")] | to_entries[] | {record: "query:\(.key)", expr: .value}]}]}' deploy/grafana/dashboard.json > dist/queries.json
	$(PROMTOOL) check rules dist/queries.json

# The test is a module of its own, so that the product depends neither on Helm nor on Kubernetes.
# Their types take minutes to compile: without optimizations it is half as much, and `make test`
# does it while its other targets wait (nice). go vet would read all of them once more.
.PHONY: deploy
deploy: ## Check deploy/: lint the chart, render it, decode what it makes and the manifests strictly; the compose file; the systemd unit (Debian: systemd)
	cd deploy/helm/test && nice go test -vet=off -count=1 -gcflags='k8s.io/...=-N -l -dwarf=false' -ldflags='-s -w' .
	systemd-analyze security --offline=true --threshold=20 deploy/systemd/cvconsumer.service | tail -n 1

.PHONY: dev
dev: build ## Run NATS, S3, a Training API simulator and the consumer on loopback, until interrupted
	./bin/consumer dev

.PHONY: test
test: vet lint race ## Run everything a change has to pass: vet, lint, race, cuts, endurance, programs, scale, browser, alerts, asyncapi, deploy, examples and e2e
	+$(MAKE) --no-print-directory --output-sync=target -j6 deploy examples cuts endurance programs scale browser alerts asyncapi SCALE=20000
	$(MAKE) --no-print-directory e2e

.PHONY: unit
unit: ## Run all tests once, without the race detector (PKG=./pkg/cv/...: the tests of some packages)
	go test $(PKG)

# Tests store many small files. They are in memory, if there is room: a disk takes most of the
# system's time for them.
SCRATCH := $(shell free=$$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 {print $$4}'); [ "$${free:-0}" -gt 4194304 ] && echo /dev/shm || echo "$${TMPDIR:-/tmp}")
race cuts endurance programs scale browser labeller: export TMPDIR := $(SCRATCH)

# Tests whose work is done by the program as a process of its own or with everything that it needs,
# by a hundred command lines, or by floods. Under the race detector they would take a third of
# `make test`; what they run is raced by the other tests.
ENDURANCE := TestSoak|TestAnswersThatAreBombs
PROGRAMS  := TestVerifyWithOpenSSL|TestScripts|TestKillCostsLittle|TestFullStreamsAreWaitedFor|TestHostileTextIsPrintedNowhereRaw|TestFloodOfInvalidMessages|TestNewCommandsWaitForRoom|TestRoles|TestRightsOfEveryCommand|TestRunOnStoresThatRefuse|TestGCRemovesWhatWasLeftBehind|TestRunWaitsForNATSAndComesBack|TestRunOnAStoreThatIgnoresConditions|TestVerifyWithoutLengths|TestVerifyOfWhatCannotBeRead|TestRunWaitsForTheTemporaryFolder|TestRunWaitsForTheBucket|TestDoctorTellsEachUsualMistake|TestLinesAreReadAsKongReadsThem

# Tests with many cases that take the same ways through the code, cuts among them: those that call
# leftOut, and these. \050 is an opening bracket, which make would count.
LARGE  := TestEachBlobIsStoredOnce|TestMalformedCommandsEndToEnd|TestRefusedUnderTheGivenID|TestLabeller|TestImagesComeAndGo|TestPagesThatDoNotOverlap|TestExportBesideALabeller|TestTampering|TestBounded|TestMemoryOfImages|TestModelsKeepTheirNames|TestModelUploadLate|TestModelUploadBeside|TestModelUploadEnds|TestModelUploadFails|TestModelUploadCutShort|TestLongTextInPlaceOfAModel|TestExportOfWhatIsDeniedOnce|TestTextFoundByALaterAttempt|TestAnswersThatAreNoFile|TestStrayText|TestSeveralAnswersMissingAboutOneScope|TestExportFirstMeetsText|TestRequestsOfAnExport|TestManyCommandsWait|TestPagesAreStoredSideBySide|TestForgedSignals|TestCommandsOfTwoNamesMeet
CASES  := $(shell awk '/^func / {name = $$2; sub(/\050.*/, "", name)} /leftOut\050|[\t ]cuts\050t|chooseCuts\050/ && name ~ /^Test/ {print name}' pkg/handler/*_test.go | sort -u | paste -sd '|')
$(if $(CASES),,$(error no test calls leftOut: which are the large tables?))
TABLES := $(LARGE)|$(CASES)

# `go vet` is a target of its own, so no test runs it again (-vet=off).
.PHONY: race
race: ## Run the tests under the race detector, but for large tables (cuts) and programs; a skipped test is an error
	@mkdir -p dist
	@twice=$$(grep -rhoE '^func Test\w+' --include='*_test.go' cmd pkg internal | awk '{print $$2}' | grep -xE '$(ENDURANCE)|$(PROGRAMS)|$(TABLES)|TestScale' | sort | uniq -d); \
	[ -z "$$twice" ] || { echo "two packages have $$twice, which this target leaves out of both"; exit 1; }
	go test -race -vet=off -v -timeout 60m -parallel 6 -skip '^($(ENDURANCE)|$(PROGRAMS)|$(TABLES)|TestScale)$$' $(PKG) > dist/test.log 2>&1 || { grep -vE '^\s*(=== |--- PASS)' dist/test.log; exit 1; }
	@grep -E '^(ok|\?) ' dist/test.log
	@if grep -E '^\s*--- SKIP' dist/test.log; then echo 'tests were skipped: every test must run everywhere'; exit 1; fi

.PHONY: cuts
cuts: ## Kill a replica at each kind of effect of a command, and run a third of the large tables (MATRIX=full: at every effect, all of them, some minutes)
	go test -vet=off -count=1 -timeout 20m -run '^($(LARGE))$$' ./pkg/handler/internal/... ./pkg/sink/... | grep -v 'no test'
	go test -vet=off -count=1 -v -timeout 40m -parallel 6 -run '^($(TABLES))$$' ./pkg/handler -matrix=$(MATRIX) | grep -vE '^\s*(=== |--- PASS: .*/)'

.PHONY: programs
programs: ## Run the command line's stories, floods, and the tests that kill or fill up a consumer
	go test -vet=off -count=1 -v -timeout 20m -parallel 6 -run '^($(PROGRAMS))$$' ./cmd/consumer | grep -vE '^\s*(=== |--- PASS: .*/)'

# They mostly wait, and are a target of their own to do so beside the others.
.PHONY: endurance
endurance: ## Run the soak in short, and what waits for answers that do not end
	go test -vet=off -count=1 -v -timeout 20m -run '^($(ENDURANCE))$$' ./cmd/consumer | grep -vE '^\s*(=== |--- PASS: .*/)'

# Not in `make test`: the SDK is a module of 70 MB. The test is a module of its own for that.
.PHONY: sdk
sdk: ## Have Microsoft's old Go SDK read and delete the simulator's sample account
	cd pkg/cv/cvtest/sdk && go vet ./... && go test -count=1 .

# These tests have a build tag, so that all others run on a machine without a browser.
AXE_VERSION := 4.14.1
AXE         := dist/npm/node_modules/axe-core/axe.min.js
$(AXE):
	npm install --prefix dist/npm --no-save --no-audit --no-fund axe-core@$(AXE_VERSION)

.PHONY: browser
browser: export CVCONSUMER_AXE := $(abspath $(AXE))
browser: $(AXE) ## Open the pages for people in Chromium, at several widths and printed (Debian: chromium; npm, for the checks of accessibility)
	go test -vet=off -count=1 -v -tags browser -run '^TestBrowser' $$(grep -rl '"$(MODULE)/internal/browser"' --include='*_test.go' internal pkg cmd | xargs -n1 dirname | sort -u | sed 's|^|./|') | grep -vE '^\s*(=== |--- PASS: .*/)'

ASYNCAPI_VERSION := 3.6.6
ASYNCAPI         := dist/asyncapi/node_modules/@asyncapi/parser/package.json
$(ASYNCAPI):
	npm install --prefix dist/asyncapi --no-save --no-audit --no-fund --ignore-scripts @asyncapi/parser@$(ASYNCAPI_VERSION)

.PHONY: asyncapi
asyncapi: $(ASYNCAPI) ## Check the AsyncAPI document of all subjects with the parser of its makers (npm)
	node .ci/asyncapi.mjs pkg/handler/contract/schema/asyncapi.yaml

# The nats command line takes 45 s of processor time to compile, also while others wait. Python's
# client is in no package of Debian: EXAMPLES="go node shell python", where nats-py is installed.
EXAMPLES       ?= go node shell guides definitions
NATSCLI        ?= $(or $(shell command -v nats),bin/nats)
NATS_JS        := dist/examples/node_modules/@nats-io/jetstream/package.json
bin/nats:
	GOBIN=$(CURDIR)/bin nice go install -ldflags '-s -w' github.com/nats-io/natscli/nats@v0.5.1
$(NATS_JS):
	npm install --prefix dist/examples --no-save --no-audit --no-fund --ignore-scripts @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0

.PHONY: examples
examples: build $(filter bin/nats,$(NATSCLI)) $(NATS_JS) ## Run the publishers of docs/examples, and the commands for nats in docs/requesters.md and deploy/nats, against consumer dev (npm, jq)
	go build -o dist/examples/publish ./docs/examples/go
	cp docs/examples/node/publish.mjs dist/examples
	PATH=$(dir $(abspath $(NATSCLI))):$$PATH ./bin/consumer dev -- .ci/examples $(EXAMPLES)

# Not a part of `make test`: it takes minutes to build.
COSIGN ?= dist/cosign
dist/cosign:
	GOBIN=$(CURDIR)/dist go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3

.PHONY: cosign
cosign: $(COSIGN) ## Check signed bundles with cosign, good ones and changed ones, as docs/verify.md says (COSIGN=…: a program that is there)
	go test -vet=off -count=1 -v -tags cosign -run '^TestVerifyWithCosign$$' ./cmd/consumer -cosign $(abspath $(COSIGN))

# Not under the race detector: NATS, S3 and the simulator would take many minutes there.
.PHONY: scale
scale: ## Export 100,000 images (make test: 20,000), count the calls, and measure the memory (SCALE=5000: as many)
	go test -vet=off -count=1 -v -timeout 20m -run '^TestScale$$' ./cmd/consumer -images $(SCALE) | grep -vE '^=== '

# Not a part of `make test`: it writes 4.4 GiB below TMPDIR.
.PHONY: pack-scale
pack-scale: ## Pack 70,000 images of 4.4 GiB into one archive, measure the memory, and test the archive with unzip
	go test -vet=off -count=1 -v -timeout 30m -run '^TestPackScale$$' ./pkg/sink/transfer -images 70000 -image-bytes 65536 | grep -vE '^=== '

.PHONY: waiting
waiting: ## Let 10,000 commands wait on one project, and count what each look at the queue costs
	go test -count=1 -v -timeout 20m -run '^TestManyCommandsWait$$' ./pkg/handler -waiting 10000 | grep -vE '^=== '

# Servers of others, for `make stores`. None of them is a dependency of the module.
STORES            := bin/stores
MINIO_VERSION     := v0.0.0-20260212201848-7aac2a2c5b7c
SEAWEEDFS_VERSION := v0.0.0-20261109003541-7506e5f91cd6
RCLONE_VERSION    := v1.76.0
S3RVER_VERSION    := 3.7.1

$(STORES)/minio: PROGRAM := github.com/minio/minio@$(MINIO_VERSION)
$(STORES)/rclone: PROGRAM := github.com/rclone/rclone@$(RCLONE_VERSION)
$(STORES)/minio $(STORES)/rclone:
	GOBIN=$(CURDIR)/$(STORES) GOFLAGS=-trimpath go install -ldflags '-s -w' $(PROGRAM)
# `go install` refuses modules that replace others.
$(STORES)/weed:
	rm -rf $(STORES)/seaweedfs && mkdir -p $(STORES)
	source=$$(cd / && go mod download -json github.com/seaweedfs/seaweedfs@$(SEAWEEDFS_VERSION) | awk -F '"' '$$2 == "Dir" {print $$4}'); cp -r "$$source" $(STORES)/seaweedfs
	chmod -R u+w $(STORES)/seaweedfs
	cd $(STORES)/seaweedfs && go build -ldflags '-s -w' -o ../weed ./weed
$(STORES)/s3rver:
	npm install --prefix $(STORES)/npm --no-audit --no-fund s3rver@$(S3RVER_VERSION)
	ln -sf npm/node_modules/.bin/s3rver $@

# The first run compiles the servers, which takes long: run it by hand.
.PHONY: stores
stores: $(STORES)/rclone $(STORES)/s3rver $(STORES)/minio $(STORES)/weed ## Run an export, a delete and verification on MinIO, SeaweedFS, rclone and s3rver, which the first run installs into bin/stores, and on each quirk of a store
	go test -vet=off -count=1 -v -timeout 40m -run '^(TestRunOnOtherStores|TestRunOnStoresThatRefuse)$$' ./cmd/consumer -stores $(CURDIR)/$(STORES) -quirks | grep -vE '^=== '

# `make endurance` runs the same test in a short form. The recipe leaves out what the S3 server
# reports about uploads that the faults cut short.
SEED ?= 1
.PHONY: soak
soak: ## Run 300 commands on three replicas under kills, restarts, wrong keys and faults for some minutes, then check every promise (SEED=2: other choices)
	go test -count=1 -v -timeout 40m -run '^TestSoak$$' ./cmd/consumer -seed $(SEED) -commands 300 -kills 30 -drains 5 -nats-restarts 5 -s3-restarts 3 -key-swaps 3 -remakes 2 -bursts 6 -soak-limit 15m \
		| grep -vE '^=== |INTERNAL ERROR'

# `make race` runs a few of these. LABELLER_SEED chooses others.
LABELLER_SEED ?= 18
.PHONY: labeller
labeller: ## Run 500 exports and 500 deletes beside a labeller who changes the account between any two calls, and judge each (LABELLER_SEED=1000: others)
	go test -vet=off -count=1 -v -timeout 30m -run '^TestLabeller$$' ./pkg/handler -labeller-runs 500 -labeller-seed $(LABELLER_SEED) | grep -vE '^=== '

# Comments and prose wrap at 100 columns, where a tab counts as four. The check leaves out headings,
# tables, code and links of Markdown, and indented text in comments.
WIDE := if ($$ARGV =~ /\.go$$/) { s/\t/    /g; $$prose = m{^ *// ?\S} } else { $$code = !$$code if /^ *```/; $$prose = !$$code && !/^ *[|\#<>\[]/ } \
	chomp; print "$$ARGV:$$.: $$_\n" if $$prose && length > 100; if (eof) { close ARGV; $$code = 0 }

.PHONY: commands-page
commands-page: ## Write docs/commands.md from what the commands say of themselves
	go test -count=1 -run '^TestCommandsArePublished$$' ./cmd/consumer -args -update-commands

.PHONY: vet
vet: ## Check gofmt, the 100 columns of comments and prose, and go vet
	@files=$$(gofmt -l cmd docs pkg internal); if [ -n "$$files" ]; then echo "not formatted by gofmt:"; echo "$$files"; exit 1; fi
	@wide=$$(git ls-files '*.go' '*.md' | xargs perl -CSD -ne '$(WIDE)'); if [ -n "$$wide" ]; then echo "wider than 100 columns:"; echo "$$wide"; exit 1; fi
	go vet -tags browser ./...

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/bin GOFLAGS=-trimpath go install -ldflags '-s -w' github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/golangci-lint $@

.PHONY: tools
tools: $(GOLANGCI_LINT) ## Fetch all modules and install the linter: what `make test` begins with on a new machine
	go mod download

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run golangci-lint, which the first run installs into bin/
	$(GOLANGCI_LINT) run ./...

.PHONY: e2e
e2e: demo ## Run the demo, and check its bundles with sha256sum
	@find dist/demo/bundle -name manifest-sha256.txt -printf '%h\n' | while read -r bundle; do \
		(cd "$$bundle" && sha256sum --check --strict --quiet manifest-sha256.txt tagmanifest-sha256.txt) \
		&& echo "sha256sum agrees: every file of $$bundle is as its manifests say" || exit 1; \
	done

# Before Go 1.27, fuzzing fails when the time is up while a worker is busy (golang/go#75804). The
# recipe tells that from a real finding, which go test writes to a file.
.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (10s)
	@grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' cmd pkg | xargs -r -n1 dirname | sort -u | while read -r dir; do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$$dir"/*_test.go | sed 's/^func //'); do \
			echo "== $$dir $$target"; mkdir -p dist; \
			go test "./$$dir" -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) 2>&1 | tee dist/fuzz.log && continue; \
			if ! grep -qx ' *context deadline exceeded' dist/fuzz.log || grep -qE 'Failing input|panic:' dist/fuzz.log; then exit 1; fi; \
			echo 'found nothing: the time was up in the middle of an input'; \
		done; \
	done

# Each part is a process of its own, built by the benchmark. It needs Linux, and memory or a disk
# for all images twice (-dir).
BENCH ?=
.PHONY: bench
bench: ## Measure exports against programs that only copy, as a table in Markdown (BENCH='-case 3000x100k -rounds 3': that case, in a minute or two; the contender npm needs Node; BENCH=-h: the flags)
	go run ./internal/bench $(BENCH)

.PHONY: bench-commands
bench-commands: ## Measure small deletes: how many a second, what each costs, and what it asks of others (BENCH='-rounds 1': quickly)
	go run ./internal/bench commands $(BENCH)

.PHONY: bench-scale
bench-scale: ## Measure 1, 2 and 4 replicas, and exports of 10,000, 40,000 and 160,000 images (BENCH='-rounds 1 -case 10000x4k': quickly)
	go run ./internal/bench scale $(BENCH)

.PHONY: bench-parts
bench-parts: ## Run the benchmarks of single parts
	go test -run '^$$' -bench . -benchmem $(PKG)

.PHONY: cover
cover: ## Measure coverage into coverage.html
	go test -coverpkg=./... -coverprofile=coverage.out $(PKG)
	go tool cover -func=coverage.out | tail -n 1
	go tool cover -html=coverage.out -o coverage.html

.PHONY: check
check: vet ## Run vet, and check that go.mod is tidy and the modules are unchanged
	go mod tidy -diff
	go mod verify

.PHONY: image
image: ## Build the container image
	docker build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) -t $(IMAGE) .

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist coverage.out coverage.html
