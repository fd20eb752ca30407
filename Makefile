# SPDX-License-Identifier: MIT
# Everything that can be done here; `make` alone lists it. Output goes to build/ (or OVERLAYROOT_BUILD).

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup init ctl deb image kernel boot demo test campaign lint test-rust test-uml test-virt bench test-board test-writes test-layer fuzz clean distclean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install the Debian packages that builds and tests need (as root)
	scripts/host-packages lint rust fuzz layer uml virt deb image board

init: ## build the init for every architecture
	scripts/host-packages rust
	@for arch in armhf arm64 amd64; do scripts/build-init $$arch || exit 1; done

ctl: ## build the command-line tool for every architecture
	scripts/host-packages rust
	@for arch in armhf arm64 amd64; do scripts/build-ctl $$arch || exit 1; done

deb: ## build the Debian packages for boards, for every architecture (build/deb)
	scripts/host-packages rust deb
	@for arch in armhf arm64 amd64; do scripts/build-deb $$arch || exit 1; done

image: ## build the SD image (build/image)
	scripts/host-packages rust deb image
	scripts/build-image

kernel: ## compile a kernel of the layer's fragments (an hour or two)
	scripts/build-kernel

boot: ## console of an emulated board with that image
	scripts/board

demo: ## build everything, boot it, pull the plug, and show that nothing happened
	scripts/demo

test: ## every test that this machine can run
	scripts/test

lint: ## static checks
	scripts/host-packages lint
	scripts/lint

test-rust: ## tests of the Rust code
	scripts/test rust

test-uml: ## scenarios on a real kernel in User-Mode Linux
	scripts/test uml

test-virt: ## 64-bit ARM, and the boot script in a real U-Boot
	scripts/test virt

test-board: ## end to end on the emulated board
	scripts/test board

test-writes: ## every medium that a cut may leave of what writes, in any order of writes (an hour)
	OVERLAYROOT_STATES=all scripts/pytest tests/uml -k 'orders or replay_cut' -n auto -rP

bench: ## what protection costs at a boot, in instructions, beside the floor, the limit and its peers
	scripts/benchmark

N ?= 1000
campaign: ## N=1000 power cuts, at random moments and the worst ones, on top of those of the last time
	scripts/campaign --cuts $(N)

test-layer: ## the layer with BitBake itself: parses, expands, builds, boots (hours)
	scripts/test-layer

fuzz: ## hostile input for every parser, a minute each (scripts/fuzz --help)
	scripts/host-packages rust fuzz
	scripts/fuzz

clean: ## remove what was built; keep downloads and what takes hours (kernel, test-layer, campaign, inputs of fuzz)
	rm -rf build/benchmark build/uml build/cargo build/cargo-ctl-* build/ctl build/deb build/init build/image build/demo build/board build/test build/fuzz/cargo

distclean: ## remove build/ altogether
	rm -rf build
