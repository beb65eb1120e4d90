# syntax=docker/dockerfile:1
# Two stages: one with npm that bundles, one with nothing but the runtime, the bundle, koffi's native library, and the
# programs that set up interface and rules. `node scripts/try-image.ts` does these steps without an engine.
#
# The base is pinned by whoever releases, with the digest that he has looked at and can repeat; a build without one stops:
#
#   digest=$(docker buildx imagetools inspect debian:bookworm-slim --format '{{.Manifest.Digest}}')
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --build-arg BASE=debian:bookworm-slim@$digest .
#
# The digest is that of the index, so one holds for both platforms. Each stage runs on the platform that it is for: npm gets that
# platform's Node.js and native library.
ARG BASE
FROM ${BASE} AS build
ARG BASE
RUN case "$BASE" in *@sha256:*) ;; *) echo "BASE must name a digest: see the head of the Dockerfile" >&2; exit 1 ;; esac
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates nodejs npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
COPY scripts/setup.mjs scripts/
RUN npm run -s setup
COPY cmd cmd
COPY src src
COPY scripts scripts
COPY tsconfig.json ./
# The node package pins the runtime; it, not Debian's, builds and goes into the image.
RUN npm run -s build && cp node_modules/node/bin/node /usr/local/bin/node-pinned
# Of koffi what runs: its loader, and the native library of this platform.
RUN mkdir -p runtime && cp -r --parents node_modules/koffi/package.json node_modules/koffi/index.* node_modules/koffi/src node_modules/koffi/lib node_modules/@koromix runtime/
# Fails where the native library is not that of this platform.
RUN cd runtime && /usr/local/bin/node-pinned -e "require('koffi').load(null)"

FROM ${BASE}
ARG BASE
LABEL org.opencontainers.image.title="nodelocal-mcs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="$BASE"
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates iproute2 iptables nftables \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/node-pinned /usr/local/bin/node
COPY --from=build /src/dist/*.js /src/dist/*.LEGAL.txt /src/dist/nodelocal-mcs.cdx.json /app/dist/
COPY --from=build /src/runtime/node_modules /app/node_modules
COPY package.json LICENSE /app/
ENV NODE_ENV=production
# Port 53 needs NET_BIND_SERVICE; the manifests give it. Everywhere else an ordinary user is enough.
USER 65532:65532
# For engines that look at it; Kubernetes has probes of its own, and the manifests' cost less than a process each time.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/local/bin/node", "/app/dist/nodelocal-mcs.js", "healthcheck", "--config", "/etc/nodelocal-mcs/config.yaml"]
# One thread beside the event loop for the compiler and the garbage collector, not four: where they share its core, it waits for each of them.
ENTRYPOINT ["/usr/local/bin/node", "--v8-pool-size=1", "/app/dist/nodelocal-mcs.js"]
CMD ["run", "--config", "/etc/nodelocal-mcs/config.yaml"]
