# make help lists the targets. Everything that is installed goes below .tools; nothing but Go is needed for build, quick and demo.
SHELL := /bin/bash
GO    ?= go
TOOLS := $(CURDIR)/.tools
VENV  := $(TOOLS)/venv
export PATH := $(TOOLS)/bin:$(PATH)
# One static binary; the tests are built the same way, so that they share the build cache. The race detector needs cgo.
export CGO_ENABLED := 0

.PHONY: help build quick test race integration integration-rest faults differential chaos chaos-process lint imports fuzz golden demo soak simulate bench bench-history bench-kafka bench-workers conformance tools clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/firn
	$(GO) build -o bin/firn ./cmd/firn

quick: ## the quick tests: Go and nothing else
	$(GO) test ./...

test: tools quick simulate integration plugins ## the whole suite, installing what it needs

race: ## the quick tests with the race detector; of simulations and walks over faults, which run whole without it, a part
	CGO_ENABLED=1 $(GO) test -timeout 30m -race ./...

# Only packages that have such tests are built and linked with them. The tests wait for others most of the time: four at once.
INTEGRATION = $(sort $(dir $(shell grep -rl --include='*_test.go' --exclude-dir=.tools --exclude-dir=custom-processor '^func TestIntegration' .)))
integration: build tools ## tests against programs that are not ours: kcat, librdkafka, kafka-python, pyiceberg, DuckDB, an S3 server
	FIRN_PYTHON=$(VENV)/bin/python FIRN_BIN=$(CURDIR)/bin/firn \
	  $(GO) test -count=1 -timeout 30m -tags integration -parallel 4 -run Integration $(INTEGRATION)

faults: ## ten commits of the sink, and a retry of dead letters, with a fault at every single operation; some minutes
	$(GO) test -count=1 -timeout 60m -tags integration -run AllFaults ./processors/iceberg ./processors/iceberg/deadletter ./processors/iceberg/rebuild

CHAOS ?= ^TestChaos
chaos: build tools ## three brokers killed, paused, cut off from store and etcd; every acknowledged record audited; 25 minutes; CHAOS='^TestChaosStore' takes some
	$(GO) build -tags firn_short_limit -o bin/firn-short ./cmd/firn
	FIRN_PYTHON=$(VENV)/bin/python FIRN_BIN=$(CURDIR)/bin/firn FIRN_SHORT_BIN=$(CURDIR)/bin/firn-short \
	  $(GO) test -count=1 -timeout 90m -tags integration -run '$(CHAOS)' -v ./cmd/firn

chaos-process: build tools ## four workers on one job killed, paused, without etcd, and beside one that knows nothing of them, every offset verified; six minutes
	FIRN_PYTHON=$(VENV)/bin/python FIRN_BIN=$(CURDIR)/bin/firn $(GO) test -count=1 -timeout 60m -tags integration -run '^TestProcessChaos$$' -v ./cmd/firn

integration-rest: .tools/iceberg-rest-1.10.1/ok ## the catalog suite, and a fault at every request of ten commits, on Iceberg's own REST catalog; REST_URI=http://… takes another one, which nobody must need
	$(if $(REST_URI),FIRN_TEST_REST_URI=$(REST_URI),ICEBERG_REST=$(CURDIR)/$(<D) catalog/catalogtest/rest/serve.sh "$$(mktemp -d)") \
	  $(GO) test -count=1 -timeout 60m -tags integration -run REST ./catalog/catalogtest ./processors/iceberg ./processors/iceberg/rebuild

lint: tools ## vet, gofmt and staticcheck
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) vet ./... && $(GO) vet -tags integration ./...
	$(TOOLS)/bin/staticcheck ./... && $(TOOLS)/bin/staticcheck -tags integration ./...

imports: ## who may import whom, uncached
	$(GO) test -count=1 -run ImportRules ./cmd/firn

SEEDS ?= 200
SEED  ?= 0
differential: .tools/kafka-3.9.1/ok ## SEEDS sequences of requests to Firn and to Apache Kafka 3.9.1, from SEED on (0 draws one)
	KAFKA_HOME=$(CURDIR)/$(<D) GO=$(GO) broker/conformance/differential/run.sh $(SEEDS) $(SEED)

soak: SEEDS = 20000
soak: ## the simulations of a journal's owners, of whole brokers and of whole jobs with SEEDS seeds each, 20,000 unless told
	$(GO) test -count=1 -timeout 240m -run '^(TestSimulation|TestBrokers)$$' -v ./broker/journal -sim.seeds $(SEEDS) -brokers.seeds $(SEEDS)
	$(GO) test -count=1 -timeout 240m -run '^TestSimulation$$' -v ./runtime/pipeline -sim.seeds $(SEEDS)

simulate: ## the simulation of whole jobs with 300 seeds; the quick tests run 100
	$(GO) test -count=1 -timeout 30m -run '^TestSimulation$$' ./runtime/pipeline -sim.seeds 300

FUZZTIME ?= 20s
fuzz: ## each fuzz target for FUZZTIME
	@set -e; for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz || true); do \
	  echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

golden: $(TOOLS)/kcat ## write golden files, scripts and captured batches anew
	$(GO) test ./kfs ./broker/group -update
	$(GO) test ./kfs/record -run Captured -update
	$(GO) test ./runtime/tail -run Segments -update

.PHONY: plugins
plugins: $(TOOLS)/postgres ## the example of a program with plug-ins: the suite of sinks, and PostgreSQL under kill -9
	cd examples/custom-processor && $(GO) vet ./... && $(GO) test -count=1 -tags integration ./...

.PHONY: schema
schema: ## write the JSON Schema of job files anew
	$(GO) test -count=1 ./runtime/job -run JSONSchema -update

demo: build ## records in, rows out: the whole path on real earthquakes, in a temporary folder
	$(GO) build -o bin/ ./examples/quickstart/produce ./examples/quickstart/query
	@examples/quickstart/demo.sh

bench: build ## measure, print the tables, and keep them in bench/README.md
	$(GO) run ./bench -firn bin/firn -write bench/README.md

bench-history: build ## old records read back, a thousand partitions, a job far behind, and many commits; the tables are kept in bench/README.md
	$(GO) run ./bench -firn bin/firn -only fetch,partitions,backlog,commits -section "make bench-history" -write bench/README.md

bench-workers: build ## one process and two on a job, each on one thread of Go; the table is kept in bench/README.md
	$(GO) run ./bench -firn bin/firn -only workers -section "make bench-workers" -write bench/README.md

bench-kafka: build .tools/kafka-3.9.1/ok ## the same load to Firn and to Apache Kafka 3.9.1; the table is kept in bench/README.md
	$(GO) run ./bench -firn bin/firn -kafka .tools/kafka-3.9.1 -only beside -section "make bench-kafka" -write bench/README.md

tools: $(TOOLS)/bin/staticcheck $(TOOLS)/bin/versitygw $(VENV)/ok $(TOOLS)/kcat ## install what the whole suite needs

$(TOOLS)/bin/staticcheck:
	GOBIN=$(TOOLS)/bin $(GO) install honnef.co/go/tools/cmd/staticcheck@v0.8.2

$(TOOLS)/bin/versitygw:
	GOBIN=$(TOOLS)/bin $(GO) install github.com/versity/versitygw/cmd/versitygw@v1.8.0

$(VENV)/ok: Makefile
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q "pyiceberg[pyarrow,sql-sqlite,pyiceberg-core]==0.12.0" duckdb==1.5.5 \
	  duckdb-extension-iceberg==1.5.5 duckdb-extension-avro==1.5.5 duckdb-extension-httpfs==1.5.5 \
	  confluent-kafka==2.16.1 kafka-python==3.0.12
	@touch $@

$(TOOLS)/kcat:
	@command -v kcat >/dev/null || { [ "$$(id -u)" = 0 ] || SUDO=sudo; $$SUDO apt-get update -q && $$SUDO apt-get install -y -q kcat; } || \
	  { echo "install kcat (https://github.com/edenhill/kcat) and run this again"; exit 1; }
	@mkdir -p $(TOOLS) && ln -sf "$$(command -v kcat)" $@

IDS ?=
conformance: build .tools/librdkafka-2.15.1/ok .tools/kafka-3.9.1/ok ## librdkafka's own tests against firn broker, half an hour; IDS="0011 0103" takes some
	FIRN=bin/firn LIBRDKAFKA=$(TOOLS)/librdkafka-2.15.1 KAFKA_HOME=$(TOOLS)/kafka-3.9.1 broker/conformance/librdkafka/run.sh $(IDS)

# Apache Kafka's server, tools and Connect, to compare with and to test with: make .tools/kafka-3.9.1/ok, or of another version.
.tools/kafka-%/ok: broker/conformance/kafka/pom.xml
	@command -v java mvn >/dev/null || { echo "install Java 17 and Maven and run this again"; exit 1; }
	mvn -q -B -f $< -Dkafka.version=$* dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(@D)/lib
	@touch $@

# The Iceberg project's own REST catalog.
.tools/iceberg-rest-%/ok: catalog/catalogtest/rest/pom.xml
	@command -v java mvn >/dev/null || { echo "install Java 17 and Maven and run this again"; exit 1; }
	mvn -q -B -f $< -Diceberg.version=$* dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(@D)/lib
	@touch $@

# librdkafka and its own tests, from the sources that come with Confluent's package for Node.
.tools/librdkafka-%/ok:
	broker/conformance/librdkafka/build.sh $(CURDIR)/$(@D) $*
	@touch $@

include broker/conformance/clients/clients.mk

$(TOOLS)/postgres:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] || SUDO=sudo; $$SUDO apt-get update -q && \
	  $$SUDO apt-get install -y -q postgresql; } || { echo "install PostgreSQL and run this again"; exit 1; }
	@mkdir -p $(TOOLS) && touch $@

clean: ## remove what was built; .tools stays
	rm -rf bin
