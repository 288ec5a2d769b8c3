# Clients that are not ours, installed below .tools, and what they do with a broker of Firn. Included by the Makefile.
CONFORMANCE := broker/conformance
INSTALLED   := $(TOOLS)/clients

CLIENTS ?= kcat console-3.9.1 console-4.3.0 confluent-kafka-python kafka-python kafka-python-ng aiokafka kafkajs kafka-javascript \
  sarama kafka-go franz-go rskafka

# What each of them needs.
needs-kcat                   := $(TOOLS)/kcat
needs-console-3.9.1          := .tools/kafka-3.9.1/ok
needs-console-4.3.0          := .tools/kafka-4.3.0/ok
needs-confluent-kafka-python := $(INSTALLED)/python/ok
needs-kafka-python           := $(INSTALLED)/python/ok
needs-kafka-python-ng        := $(INSTALLED)/python-ng/ok
needs-aiokafka               := $(INSTALLED)/python/ok
needs-kafkajs                := $(INSTALLED)/node/ok
needs-kafka-javascript       := $(INSTALLED)/node/ok
needs-sarama                 := $(INSTALLED)/go
needs-kafka-go               := $(INSTALLED)/go
needs-franz-go               := $(INSTALLED)/go
needs-rskafka                := $(INSTALLED)/rskafka/debug/roundtrip

.PHONY: clients
clients: build $(sort $(foreach c,$(CLIENTS),$(needs-$c))) ## round trips of real clients against a broker; some of them: make clients CLIENTS="kcat sarama"
	@TOOLS=$(TOOLS) FIRN=$(CURDIR)/bin/firn $(CONFORMANCE)/clients/run.sh $(CLIENTS)

$(INSTALLED)/python/ok: $(CONFORMANCE)/clients/python/requirements.txt
$(INSTALLED)/python-ng/ok: $(CONFORMANCE)/clients/python/requirements-ng.txt
$(INSTALLED)/python/ok $(INSTALLED)/python-ng/ok:
	python3 -m venv $(@D)
	$(@D)/bin/pip install -q -r $<
	@touch $@

# kafka-javascript builds librdkafka with the system's libraries; what it would download instead is not everywhere to be had.
$(INSTALLED)/node/ok: $(CONFORMANCE)/clients/node/package.json
	@for f in zlib openssl/ssl zstd; do [ -e /usr/include/$$f.h ] || { \
	  echo "install Node 20, build-essential, zlib1g-dev, libssl-dev, libzstd-dev and libcurl4-openssl-dev and run this again"; exit 1; }; done
	@mkdir -p $(@D) && cp $< $(@D)
	cd $(@D) && CKJS_LINKING=dynamic npm install --silent
	@touch $@

$(INSTALLED)/go: $(wildcard $(CONFORMANCE)/clients/go/*.go) $(CONFORMANCE)/clients/go/go.mod
	cd $(CONFORMANCE)/clients/go && $(GO) build -o $@ .

$(INSTALLED)/rskafka/debug/roundtrip: $(addprefix $(CONFORMANCE)/clients/rskafka/,Cargo.toml Cargo.lock src/main.rs)
	cd $(CONFORMANCE)/clients/rskafka && CARGO_TARGET_DIR=$(INSTALLED)/rskafka cargo build --quiet --locked
	@touch $@
