# Clients that are not ours, installed below .tools, and what they do with a broker of Firn. Included by the Makefile, and so are
# connect, apicurio and franz, which are of the same kind.
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

.PHONY: clients connect apicurio franz
clients: build $(sort $(foreach c,$(CLIENTS),$(needs-$c))) ## round trips of real clients against a broker; some of them: make clients CLIENTS="kcat sarama"
	@TOOLS=$(TOOLS) FIRN=$(CURDIR)/bin/firn $(CONFORMANCE)/clients/run.sh $(CLIENTS)

connect: build .tools/kafka-3.9.1/ok .tools/kafka-4.3.0/ok ## Kafka Connect 3.9 and 4.3, from a file to a topic to a file
	KAFKA_HOME=$(TOOLS)/kafka-3.9.1 FIRN=$(CURDIR)/bin/firn $(CONFORMANCE)/connect/run.sh
	KAFKA_HOME=$(TOOLS)/kafka-4.3.0 FIRN=$(CURDIR)/bin/firn $(CONFORMANCE)/connect/run.sh

apicurio: build .tools/apicurio-3.3.3/ok ## Apicurio Registry with its storage in topics; needs a Java of 21 or newer (JAVA25=its home)
	APICURIO=$(TOOLS)/apicurio-3.3.3 FIRN=$(CURDIR)/bin/firn $(CONFORMANCE)/apicurio/run.sh

STEPS ?= others etl etl10
franz: build .tools/franz-go-1.22.2/ok ## the tests of franz-go's client, three quarters of an hour; STEPS="others" takes some: others, etl, etl10
	FRANZ=$(TOOLS)/franz-go-1.22.2 FIRN=$(CURDIR)/bin/firn $(CONFORMANCE)/franz/run.sh $(STEPS)

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

# The tar.gz has all that the registry needs; the pom names repositories other than Central.
.tools/apicurio-%/ok:
	mvn -q -B dependency:get -Dtransitive=false -Dartifact=io.apicurio:apicurio-registry-app:$*:tar.gz:all
	mvn -q -B dependency:copy -Dartifact=io.apicurio:apicurio-registry-app:$*:tar.gz:all -DoutputDirectory=$(CURDIR)/$(@D)
	tar -xzf $(@D)/apicurio-registry-app-$*-all.tar.gz -C $(@D) && rm $(@D)/apicurio-registry-app-$*-all.tar.gz
	@touch $@

.tools/franz-go-%/ok:
	$(CONFORMANCE)/franz/build.sh $(CURDIR)/$(@D) $*
	@touch $@
